"""Every format of a data folder, from the files as they are handed round to experts that route, by the documented commands."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from made_up_photos import SHAPES, Shape, shapes
from repositories import make_model

from core.backbones import load_backbone
from core.cli.main import main
from core.sglora.repository import ExpertRepository
from core.sglora.router import SparseRouter
from core.training.tasks import EVERYDAY

pytestmark = pytest.mark.slow

QUICK = ("batch=24", "shared_steps=40", "shared_lr=0.01", "steps=6", "check=3", "snapshots=3", "lr=0.002", "scale=20")
SENTENCE = "a photo of a dog"
BROKEN = Shape("broken.png", "dog", "train", ("a red dog", "the dog is red"))


def place(photos: Path, shape: Shape, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    os.link(photos / shape.file, target)


def write(file: Path, content: object) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")


def jsonl(root: Path, photos: Path, made: Sequence[Shape]) -> None:
    for s in made:
        place(photos, s, root / "images" / s.file)
    rows = [{"image": f"images/{s.file}", "split": s.split, "captions": s.captions} for s in made]
    write(root / "captions.jsonl", "\n".join(json.dumps(row) for row in rows))


def coco(root: Path, photos: Path, made: Sequence[Shape]) -> None:
    """Captions that name no subject: only the instances tell what a photo shows."""
    for split in ("train", "val"):
        own = {i: s for i, s in enumerate(made) if s.split == split}
        images = [{"id": i, "file_name": s.file} for i, s in own.items()]
        said = [{"image_id": i, "caption": c.replace(s.name, "thing")} for i, s in own.items() for c in s.captions]
        seen = [{"id": i, "image_id": i, "category_id": SHAPES.index(s.name)} for i, s in own.items()]
        write(root / f"annotations/captions_{split}2017.json", {"images": images, "annotations": said})
        categories = [{"id": i, "name": name} for i, name in enumerate(SHAPES)]
        instances = {"images": images, "annotations": seen, "categories": categories}
        write(root / f"annotations/instances_{split}2017.json", instances)
        for s in own.values():
            place(photos, s, root / f"{split}2017" / s.file)


def karpathy(root: Path, photos: Path, made: Sequence[Shape]) -> None:
    images = []
    for s in made:
        place(photos, s, root / "images" / s.file)
        sentences = [{"raw": c, "tokens": c.split(), "imgid": 0, "sentid": 0} for c in s.captions]
        images.append({"filename": s.file, "split": "test" if s.split == "val" else "train", "sentences": sentences})
    write(root / "dataset_flickr30k.json", {"dataset": "flickr30k", "images": images})


def flickr8k(root: Path, photos: Path, made: Sequence[Shape]) -> None:
    for s in made:
        place(photos, s, root / "Flicker8k_Dataset" / s.file)
    write(root / "Flickr8k_text/Flickr8k.token.txt", _tokens(made))
    for part, split in (("train", "train"), ("test", "val")):
        write(root / f"Flickr8k_text/Flickr_8k.{part}Images.txt", "".join(f"{s.file}\n" for s in made if s.split == split))


def flickr30k(root: Path, photos: Path, made: Sequence[Shape]) -> None:
    """Without any lists of splits."""
    for s in made:
        place(photos, s, root / "flickr30k-images" / s.file)
    write(root / "results_20130124.token", _tokens(made))


def _tokens(made: Sequence[Shape]) -> str:
    return "".join(f"{s.file}#{i}\t{c}\n" for s in made for i, c in enumerate(s.captions))


def classes(root: Path, photos: Path, made: Sequence[Shape]) -> None:
    for s in made:  # "a red dog" is a photo of the class red_dog
        place(photos, s, root / s.captions[0].removeprefix("a ").replace(" ", "_") / s.file)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Shape]]:
    """Photos of three shapes, one of which cannot be read."""
    folder = tmp_path_factory.mktemp("formats") / "photos"
    made = shapes(folder, 225)
    (folder / BROKEN.file).write_bytes(b"\x89PNG\r\n\x1a\n but not much more")
    return folder, [*made, BROKEN]


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    model = make_model(tmp_path_factory.mktemp("model") / "tiny", 7)
    return ["--backbone", f"local-dir:{model}", "--adapt-blocks", "2"]


@pytest.mark.parametrize("arrange", [jsonl, coco, karpathy, flickr8k, flickr30k, classes], ids=lambda f: f.__name__)
def test_a_data_folder_becomes_experts_that_route(
    arrange: Callable[[Path, Path, Sequence[Shape]], None],
    photos: tuple[Path, list[Shape]],
    backbone: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arrange(tmp_path / "data", *photos)
    command = ["train", "experts", "--data", str(tmp_path / "data"), "--cache", str(tmp_path / "cache"), *backbone]
    settings = [part for field in QUICK for part in ("--set", field)]
    assert main([*command, "--out", str(tmp_path / "experts"), *settings]) == 0
    last, broken = capsys.readouterr().err.splitlines()[-2:]
    assert last == "left out, since they cannot be read: 1 photos"
    assert broken.endswith(f"/{BROKEN.file}")

    model = load_backbone(backbone[1], adapt_blocks=2)
    repository = ExpertRepository.load(tmp_path / "experts", model.layout, model.fingerprint)
    names = [e.name for e in repository.experts]
    routing = SparseRouter(repository.embeddings).route(SENTENCE, model.encode_sentence([SENTENCE])[0], k=1)
    if arrange is classes:
        assert set(names) <= {"data-1", "data-2"}, "tasks of about six of the folder's fifteen classes"
    else:
        assert set(names) <= {*SHAPES, EVERYDAY} and names[routing.chosen[0]] == "dog"
