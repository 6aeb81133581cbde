"""``teach`` on the command line: the files that it writes, the commands that read them, and error messages for bad input."""

import shutil
from pathlib import Path

import pytest
import torch
from command_line import Answer, Run
from made_up_photos import drawn

from core.backbones.embedded import EmbeddedBackbone
from core.backbones.peft_format import load_peft
from core.cli.main import main
from core.data.image_io import open_photo
from core.experts.adapter_files import README_FILE
from core.names.ridge import everyday_photos, ridge_directions
from core.names.teach import TaughtNames
from core.sglora.engine import SGLora
from core.sglora.request import AdapterRequest


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the subfolders "wug" and "dax", each with four photos."""
    root = tmp_path_factory.mktemp("kinds")
    for kind in ("wug", "dax"):
        for number in range(4):
            drawn(root / kind, kind, number)
    return root


def both(folders: Path) -> list[object]:
    return ["--name", "dax", folders / "dax", "--name", "wug", folders / "wug"]


@pytest.fixture(scope="module")
def taught(folders: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("taught") / "names"
    assert main(["teach", *map(str, both(folders)), "--out", str(out)]) == 0
    return out


def test_folders_are_taught_and_found(answer: Answer, backbone: EmbeddedBackbone, folders: Path, tmp_path: Path) -> None:
    found = answer("teach", *both(folders), "--out", tmp_path / "names")
    assert found["names"] == [{"name": "dax", "photos": 4}, {"name": "wug", "photos": 4}]
    assert found["failed"] == found["remarks"] == []
    assert backbone.shared is not None and found["rank"] == backbone.shared.rank + 2
    assert sorted(found["files"]) == sorted(path.name for path in (tmp_path / "names").iterdir())
    new = tmp_path / "new"
    for number in (7, 8):
        drawn(new, "wug", number), drawn(new, "dax", number)
    for kind in ("wug", "dax"):
        for column, *options in (
            ("adapter", "--adapter"),
            ("shared", "--names"),
            ("sg-lora", "--task", "a drawing", "--names"),
        ):
            ranked = answer("search", f"a photo of a {kind}", "--gallery", new, *options, tmp_path / "names")["rankings"]
            assert all(kind in Path(hit["photo"]).name for hit in ranked[column][:2])


def test_names_count_for_captions_without_the_adapter(answer: Answer, folders: Path, taught: Path, tmp_path: Path) -> None:
    wug = drawn(tmp_path / "new", "wug", 9)
    # The weight of the adapter is nearly 0, so the names must be in the other part of the score.
    ask = ("search", wug, "--gallery", folders, "--find", "captions", "--task", "drawings", "--strength", 0.01)
    without, found = (
        {hit["caption"]: hit["score"] for hit in answer(*ask, *names)["rankings"]["sg-lora"]}
        for names in ((), ("--names", taught))
    )
    assert max(found, key=lambda caption: found[caption]) == "a photo of a wug"
    assert found["a photo of a wug"] > without["a photo of a wug"] + 0.1


def test_a_file_without_names_is_rejected(run: Run, folders: Path, tmp_path: Path) -> None:
    code, _, err = run("search", "a wug", "--gallery", folders, "--names", tmp_path / "names.safetensors")
    assert code == 1 and "cannot be read" in err


def test_names_on_top_of_an_adapter_are_those_of_the_library_call(
    answer: Answer, engine: SGLora, folders: Path, tmp_path: Path
) -> None:
    photos = sorted((folders / "wug").iterdir())
    answer("adapt", "photos of boats", "--out", tmp_path / "boats", "--seed", 3)
    teach = ("teach", "--name", "wug", folders / "wug")
    answer(*teach, "--adapter", tmp_path / "boats", "--out", tmp_path / "a")
    found = answer(*teach, "--task", "photos of boats", "--seed", 3, "--out", tmp_path / "b")
    backbone, linears = engine.backbone, list(engine.backbone.linears.values())
    base = engine.adapt(AdapterRequest("photos of boats", seed=3)).lora
    prefixes = backbone.prefix(torch.stack([backbone.pixels(open_photo(path)) for path in photos]))
    expected = TaughtNames(backbone).add("wug", prefixes).on(base)
    sentences = ["a wug", "two dogs in the snow"]
    for folder in ("a", "b"):
        lora, origin = load_peft(tmp_path / folder, linears, backbone.fingerprint)
        assert torch.allclose(backbone.encode_text(sentences, lora), backbone.encode_text(sentences, expected), atol=1e-4)
        assert origin["names"] == [{"name": "wug", "photos": 4}]
    assert found["rank"] == base.rank + 1
    text = (tmp_path / "b" / README_FILE).read_text()
    assert "photos of boats" in text and "Taught names: wug (4 photos)" in text


def test_vector_and_evaluate_take_names(answer: Answer, backbone: EmbeddedBackbone, folders: Path, taught: Path) -> None:
    found = answer("vector", "a photo of a wug", "--adapter", taught)
    photos = torch.stack([backbone.pixels(open_photo(path)) for path in sorted((folders / "wug").iterdir())])
    seen = backbone.suffix(backbone.prefix(photos), backbone.shared)
    (target,) = ridge_directions(seen, torch.ones(len(seen), 1), everyday_photos(backbone).moments[1])
    plain = backbone.encode_text(["a photo of a wug"], backbone.shared)[0]
    zero_shot, named = torch.tensor(found["vector"]).unflatten(0, (2, -1)) / 2**0.5
    assert not zero_shot.any(), "the zero-shot part does not know the name, so it is zero"
    assert float(named @ target) > 0.8 > float(plain @ target) + 0.3

    found = answer("evaluate", "--data", folders, "--adapter", taught)["methods"]
    assert found["adapter"]["i2t"]["R@1"] == 100 >= found["zero-shot"]["i2t"]["R@1"]


def test_photos_of_a_library(run: Run, answer: Answer, folders: Path, tmp_path: Path) -> None:
    """A deleted file is no obstacle. The name works in a search of the library."""
    photos, library = tmp_path / "photos", tmp_path / "library"
    shutil.copytree(folders, photos)
    run("index", photos, "--library", library)
    wugs = sorted((photos / "wug").iterdir())[:3]
    wugs[1].unlink()

    options = ["--name", "wug", *wugs, photos / "none.png", "--out", tmp_path / "names"]
    found = answer("teach", "--library", library, *options)
    assert found["names"] == [{"name": "wug", "photos": 3}]
    ((name, reason),) = (each.values() for each in found["failed"])
    assert name == "wug" and "none.png is not in the library" in reason
    ranked = answer("search", "a photo of a wug", "--library", library, "--adapter", tmp_path / "names")["rankings"]
    assert all("wug" in Path(hit["photo"]).name for hit in ranked["adapter"][:4])


def test_bad_names_are_reported_and_the_rest_is_taught(answer: Answer, folders: Path, tmp_path: Path) -> None:
    photo, broken = folders / "wug" / "wug 0.png", tmp_path / "broken.jpg"
    broken.write_bytes(b"no photo")
    options = ["--name", "wug", photo, broken, "--name", "dax", "--name", " ", photo, "--name", "fep", broken]
    options += ["--name", "Wug", folders / "wug" / "wug 1.png", "--name", "gone", tmp_path / "gone.jpg"]

    found = answer("teach", *options, "--out", tmp_path / "names")
    assert found["names"] == [{"name": "wug", "photos": 2}]
    reasons = [(each["name"], each["reason"]) for each in found["failed"]]
    assert any(name == "wug" and "broken.jpg" in reason for name, reason in reasons)
    assert ("dax", "“dax” has no photo: choose at least one that shows it; three are better.") in reasons
    assert any(name == " " and "A name needs a letter" in reason for name, reason in reasons)
    assert any(name == "fep" and "has no photo" in reason for name, reason in reasons)
    assert any(name == "gone" and "gone.jpg" in reason for name, reason in reasons)
    assert found["remarks"] == ["“wug” and “Wug” are one name: the photos of both were taught together."]


@pytest.mark.parametrize(
    ("options", "code", "text"),
    [
        ([], 2, "the following arguments are required: --name"),
        (["--name", "wug"], 1, "Nothing could be taught: “wug” has no photo"),
        *((["--name", name, "a.jpg"], 2, f"“{name}” cannot be a keyword, since / and | are levels") for name in ("a/b", "a|b")),
        (["--name", "wug", "a.jpg", "--task", "a", "--adapter", "b"], 2, "not allowed with"),
        (["--name", "wug", "a.jpg", "--strength", "0.5"], 2, "--strength needs --task TEXT"),
        (["--name", "wug", "a.jpg", "--adapter", "nowhere"], 1, "adapter_config.json is missing"),
    ],
)
def test_usage(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], code: int, text: str) -> None:
    monkeypatch.chdir(tmp_path)
    found, out, err = run("teach", *options, "--out", tmp_path / "names")
    assert (found, out) == (code, "") and text in err
    assert not (tmp_path / "names").exists()
