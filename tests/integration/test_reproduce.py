"""Each command in docs/reproduce.md must be valid for the command line."""

from __future__ import annotations

import argparse
import json
import re
import shlex
from dataclasses import fields
from pathlib import Path

import pytest

from core.cli.parser import build_parser
from core.cli.train import changed
from core.common.paths import ROOT
from core.data import read_folder
from core.training.generator import GeneratorRecipe
from core.training.recipe import CLIP_RECIPE

PAGE = (ROOT / "docs/reproduce.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^    (python .*)$", PAGE, re.MULTILINE)
INLINE = re.findall(r"`(python -m core [^`]+)`", PAGE)


def parsed(command: str) -> argparse.Namespace:
    """The parsed arguments of a command of the page. argparse exits if a flag does not exist."""
    program, *arguments = shlex.split(command)
    assert (program, *arguments[:2]) == ("python", "-m", "core")
    return build_parser().parse_args(arguments[2:])


@pytest.mark.parametrize("command", [c for c in [*COMMANDS, *INLINE] if not c.startswith("python app.py")])
def test_commands_are_understood(command: str) -> None:
    arguments = parsed(command)
    settings = getattr(arguments, "set", [])
    recipe = CLIP_RECIPE if "train experts" in command else GeneratorRecipe()
    assert changed(recipe, settings) != recipe or not settings


def test_settings_in_the_text_are_fields_of_the_recipes() -> None:
    settings = re.findall(r"--set (\w+=[\d.]+)", PAGE)
    assert settings
    names = {field.name for recipe in (CLIP_RECIPE, GeneratorRecipe()) for field in fields(recipe)}
    assert {setting.partition("=")[0] for setting in settings} <= names


def test_the_line_of_a_captioned_pet_is_read(tmp_path: Path) -> None:
    (line,) = re.findall(r"```json\n(.*)\n```", PAGE)
    (tmp_path / "captions.jsonl").write_text(line)
    (sample,) = read_folder(tmp_path)
    row = json.loads(line)
    assert list(sample.categories) == row["categories"] and list(sample.captions) == row["captions"]
    assert sample.path == tmp_path / row["image"] and sample.split == "train"
