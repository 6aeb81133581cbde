"""The manifest of photos: its lines, the splits of training, and what ``manifest`` and ``experiment`` say of a folder."""

import gzip
import hashlib
import json
import re
from pathlib import Path

import pytest
from command_line import Run
from made_up_photos import blurred

from core.backbones.embedded import EmbeddedBackbone
from core.cli import experiment
from core.common.errors import DataError
from core.common.paths import ROOT, results_path
from core.data.manifest import SHIPPED, read_manifest
from core.data.sample_photos import sample_photos
from core.experiments import known
from core.training.corpus import load_corpus, splits

DATA = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Captioned photos, two classes, and photos that train the base."""
    for folder in ("flickr8k", "labelled", "coco"):
        (tmp_path / "data" / folder).mkdir(parents=True)
        blurred(tmp_path / "data" / folder, [f"{folder} {i:02}.jpg" for i in range(24)], hash(folder) % 100)
    names = {folder.name: sorted(path.name for path in folder.iterdir()) for folder in (tmp_path / "data").iterdir()}
    for folder in ("flickr8k", "coco"):
        rows = [json.dumps({"image": name, "captions": [f"photo {name}"]}) for name in names[folder]]
        (tmp_path / "data" / folder / "captions.jsonl").write_text("\n".join(rows))
    rows = [json.dumps({"image": name, "label": "ab"[i % 2], "domain": "letters"}) for i, name in enumerate(names["labelled"])]
    (tmp_path / "data" / "labelled" / "labels.jsonl").write_text("\n".join(rows))
    return tmp_path / "data"


def test_a_line_has_file_split_and_sha256_and_a_changed_photo_is_named(
    data: Path, run: Run, tmp_path: Path, monkeypatch
) -> None:
    out = tmp_path / "photos.tsv.gz"
    assert run("manifest", "--data", data, "--out", out)[0] == 0
    content = out.read_bytes()
    assert run("manifest", "--data", data, "--out", out)[0] == 0 and out.read_bytes() == content, "the same bytes each time"
    rows = [line.split("\t") for line in gzip.decompress(content).decode().splitlines()]
    assert [row[0] for row in rows] == sorted(path.relative_to(data).as_posix() for path in data.rglob("*.jpg"))
    for file, split, checksum in rows:
        assert checksum == hashlib.sha256((data / file).read_bytes()).hexdigest() and split in ("train", "val", "test")
    monkeypatch.setattr(experiment, "read_manifest", lambda: read_manifest(out))
    assert run("manifest", "--data", data)[0] == 0
    changed = data / rows[30][0]
    changed.write_bytes(changed.read_bytes() + b" ")
    code, text, _ = run("manifest", "--data", data, "--json")
    found = json.loads(text)
    assert code == 1 and (found["missing or changed"], found["new"], found["first"]) == (1, 1, rows[30][0])


def test_splits_are_those_of_training(data: Path, backbone: EmbeddedBackbone, tmp_path: Path) -> None:
    found, corpus = splits(data), load_corpus(data, backbone, tmp_path / "cache", lambda line: None)
    for row, sample in enumerate(corpus.samples):
        names = [
            name for name, mask in (("train", corpus.train), ("val", corpus.validation), ("test", corpus.test)) if mask[row]
        ]
        assert names == [found.pop(sample.path)]
    assert {path.parent.name for path in found} == {"coco"} and set(found.values()) == {"test"}, "fewer than are held out"


def test_an_experiment_says_which_photos_its_figures_come_from(data: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(context: object) -> None:
        raise DataError("that is enough")

    monkeypatch.setattr(known, "run", stop)
    code, _, err = run("experiment", "known", "--data", data)
    assert code == 1 and err.rstrip().endswith("that is enough")
    assert re.search(r"figures from: manifest [0-9a-f]{16}, photos 72, missing or changed 26,690, new 72, first captioned", err)


def test_the_shipped_manifest_is_that_of_docs_and_results() -> None:
    rows = [line.split("\t") for line in read_manifest()]
    assert SHIPPED.stat().st_size < 2 * 2**20 and f"of {len(rows):,} photos" in DATA
    told = re.findall(
        r"^\| `([\w-]+)`(?:: ([\w-]+))?(?:\\\*)? \| ([\d,]+) \(([\d,]+), ([\d,]+), ([\d,]+)\) \|", DATA, re.MULTILINE
    )
    for folder, name, *numbers in told:
        own = [split for file, split, _ in rows if file.startswith(f"{folder}/images/{name and f'{name}/'}")]
        assert [len(own), *(own.count(split) for split in ("train", "val", "test"))] == [
            int(number.replace(",", "")) for number in numbers
        ], name or folder
    assert sum(int(total.replace(",", "")) for _, _, total, *_ in told) == len(rows)
    measured = {row["photos"] for row in json.loads(results_path("known").read_text())["rows"] if row["task"] == "everyday"}
    assert measured == {sum(file.startswith("flickr8k/") and split == "test" for file, split, _ in rows)}
    aerial = sum("/uc-merced-landuse/" in file and split == "test" for file, split, _ in rows)
    assert aerial == len(sample_photos("aerial")), "the opening screen's photos trained nothing"
