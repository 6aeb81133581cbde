"""The embedded backbone in the paper's form: LoRAs adapt photos. A repository selects it, for commands and the page."""

from dataclasses import replace
from pathlib import Path

import pytest
from command_line import Answer, Run
from random_engines import random_engine

from core.backbones.embedded import EmbeddedBackbone
from core.common.errors import RepositoryError
from core.common.paths import GENERATOR_FILE, asset_path
from core.experts.files import load_repository, save_generator, save_repository
from core.experts.load import NamedBackbone

TEXT = "photos of puppies in the snow"


@pytest.fixture(scope="module")
def folder(backbone: EmbeddedBackbone, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository as ``train`` writes it."""
    paper = backbone.adapting("photos")
    engine, out = random_engine(paper), tmp_path_factory.mktemp("experts") / paper.slug
    save_repository(replace(engine.repository, backbone=paper.choice), out)
    save_generator(engine.generator, out / GENERATOR_FILE)
    return out


def test_a_repository_says_how_it_is_chosen_and_takes_the_loaded_backbone(folder: Path, backbone: EmbeddedBackbone) -> None:
    found = NamedBackbone.read(folder)
    assert found.name == "embedded, photos" and found.options == ("--experts", str(folder), "--adapt", "photos")
    engine = found.load(backbone)
    assert engine.backbone.adapted is backbone.adapted and engine.backbone.layout.moves_photos
    assert NamedBackbone.read(folder).load().backbone.prefix_key == engine.backbone.prefix_key
    with pytest.raises(RepositoryError, match="--adapt photos"):
        load_repository(folder, backbone.layout, backbone.fingerprint)


def test_a_generator_of_other_experts_is_rejected(folder: Path, run: Run) -> None:
    """Both forms of the backbone have one fingerprint."""
    for options in (("--experts", folder, "--generator", asset_path(GENERATOR_FILE)), ("--generator", folder / GENERATOR_FILE)):
        code, _, err = run("route", TEXT, *options)
        assert code == 1 and "is not of the experts" in err


def test_commands_take_the_experts_backbone(folder: Path, photos: list[Path], tmp_path: Path, run: Run, answer: Answer) -> None:
    experts, search = ("--experts", folder, "--strength", 4), ("search", "the sea", "--gallery", photos[0].parent)
    assert run("adapt", TEXT, "--out", tmp_path / "adapter", *experts)[0] == 0
    by_task = answer(*search, "--task", TEXT, *experts)["rankings"]
    by_file = answer(*search, "--adapter", tmp_path / "adapter", "--adapt", "photos")["rankings"]
    assert by_task["zero-shot"] == by_file["zero-shot"] and by_task["sg-lora"] == by_file["adapter"] != by_task["zero-shot"]
    code, _, err = run(*search, "--adapter", tmp_path / "adapter")
    assert code == 1 and "--adapt photos" in err
