"""What training sees of data folders in their own formats: tasks, splits, features, and photos that cannot be read."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from made_up_photos import COLOURS, SHAPES, draw
from tiny_models import tiny_backbone

from core.common.errors import DataError
from core.data import Sample
from core.data.image_io import open_photo
from core.training.task_dataset import Pool, load_pool
from core.training.tasks import EVERYDAY, captioned_parts

BROKEN = 7  # a photo of a boat


def coco(folder: Path) -> None:
    """300 photos as COCO 2017 has them, 100 of each of three categories; every third photo of each is of val."""
    (folder / "annotations").mkdir(parents=True)
    for split in ("train2017", "val2017"):
        (folder / split).mkdir()
        numbers = [i for i in range(300) if (i // 3 % 3 == 0) == (split == "val2017")]
        for i in numbers:
            draw(folder / split / f"{i:012}.png", i % 3, i % 5, i)
        images = [{"id": i, "file_name": f"{i:012}.png"} for i in numbers]
        captions = [{"image_id": i, "id": i, "caption": f"{COLOURS[i % 5]} thing number {i}"} for i in numbers]
        objects = [{"image_id": i, "id": i, "category_id": i % 3, "segmentation": [[0.0] * 8]} for i in numbers]
        names = [{"id": i, "name": name} for i, name in enumerate(SHAPES)]
        for kind, content in (("captions", captions), ("instances", objects)):
            file = folder / f"annotations/{kind}_{split}.json"
            file.write_text(json.dumps({"images": images, "annotations": content, "categories": names}))
    (folder / f"train2017/{BROKEN:012}.png").write_bytes(b"\x89PNG no more")


def pets(folder: Path) -> None:
    """Four classes, a folder each, of which one is held back."""
    for label in range(4):
        (folder / f"breed_{label}").mkdir(parents=True)
        for i in range(30):
            draw(folder / f"breed_{label}/{i}.png", label % 3, label, 1000 * label + i)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Pool, Path, list[str]]:
    data, said = tmp_path_factory.mktemp("data"), []
    coco(data / "coco")
    pets(data / "pets")
    return load_pool(data, tiny_backbone(), tmp_path_factory.mktemp("cache"), said.append), data, said


def test_tasks_come_from_categories_and_from_classes(loaded: tuple[Pool, Path, list[str]]) -> None:
    pool, _, _ = loaded
    tasks = {t.name: t for t in pool.tasks}
    assert set(tasks) == {*SHAPES, EVERYDAY, "pets"}
    for shape in SHAPES:
        assert len(tasks[shape].test) == 34, "photos of val2017"
        assert len(tasks[shape].train) + len(tasks[shape].stop) == 66 - (shape == SHAPES[BROKEN % 3])
    assert len(tasks["pets"].classes) == 3
    rows = np.concatenate([tasks["pets"].train, tasks["pets"].stop, tasks["pets"].test])
    assert sorted(rows.tolist()) == list(range(299, 299 + 120)), "rows go on after the other folder's photos"
    assert pool.text_strings[pool.own_texts[rows[0]][0]].startswith("a photo of a breed ")


def test_unreadable_photos_are_listed_and_train_nothing(loaded: tuple[Pool, Path, list[str]]) -> None:
    pool, data, said = loaded
    pool.tell_unreadable(said.append)
    assert "left out, since they cannot be read: 1 photos" in said[-1]
    assert str(data / f"coco/train2017/{BROKEN:012}.png") in said[-1]
    assert not any(text.endswith(f" number {BROKEN}") for text in pool.text_strings)
    assert len(pool.own_texts) == len(pool.maps[0]) == 299 + 120


def test_features_are_those_of_the_photo_with_the_captions(loaded: tuple[Pool, Path, list[str]]) -> None:
    pool, data, _ = loaded
    backbone = tiny_backbone()
    for task in pool.tasks:
        row = int(task.test[-1])
        text = pool.text_strings[pool.own_texts[row][0]]
        if task.name == "pets":
            files = [data / f"pets/breed_{text[-1]}/{i}.png" for i in range(30)]
        else:
            files = [data / f"coco/val2017/{int(text.split()[-1]):012}.png"]
        expected = backbone.prefix(torch.stack([backbone.pixels(open_photo(f)) for f in files]))
        found = pool.maps[0][torch.tensor([row])]
        assert (expected - found).abs().flatten(1).amax(1).min() < 0.01


def test_one_data_folder_may_be_given_itself(loaded: tuple[Pool, Path, list[str]], tmp_path: Path) -> None:
    _, data, _ = loaded
    pool = load_pool(data / "coco", tiny_backbone(), tmp_path, lambda _: None)
    assert [t.name for t in pool.tasks] == [*sorted(SHAPES), EVERYDAY]


def test_a_folder_without_a_task_says_what_is_needed(tmp_path: Path) -> None:
    (tmp_path / "few").mkdir()
    (tmp_path / "few/captions.jsonl").write_text('{"image": "1.png", "captions": ["a dog"]}\n')
    with pytest.raises(DataError, match=r"No task was found in .* a task needs 40 photos or more"):
        load_pool(tmp_path, tiny_backbone(), tmp_path / "cache", lambda _: None)


@pytest.mark.parametrize(
    ("splits", "expected"),
    [
        (("train", "val", "test"), {"train": {"train"}, "stop": {"val"}, "test": {"test"}}),
        (("train", "val"), {"train": {"train"}, "stop": {"train"}, "test": {"val"}}),
        (("train", "test"), {"train": {"train"}, "stop": {"train"}, "test": {"test"}}),
    ],
)
def test_photos_that_measure_never_train(splits: tuple[str, ...], expected: dict[str, set[str]]) -> None:
    samples = [Sample(Path(f"{i}.jpg"), ("a dog",), splits[i % len(splits)]) for i in range(300)]
    parts = dict(zip(("train", "stop", "test"), captioned_parts(samples), strict=True))
    assert {name: {samples[i].split for i in np.flatnonzero(rows)} for name, rows in parts.items()} == expected
    assert (sum(rows.astype(int) for rows in parts.values()) == 1).all()
