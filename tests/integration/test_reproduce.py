"""What docs/reproduce.md says about settings and captions. test_documents.py parses its commands."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path

from core.common.paths import ROOT
from core.data import read_folder
from core.training.generator import GeneratorRecipe
from core.training.recipe import CLIP_RECIPE

PAGE = (ROOT / "docs/reproduce.md").read_text(encoding="utf-8")


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
