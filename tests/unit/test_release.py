"""The release: one version everywhere, and citations that say the same as CITATION.cff."""

import json
import re
import sys

import pytest
import yaml

from app.flags import flags
from core import __version__
from core.common.paths import ROOT

README, CHANGELOG, CONTRIBUTING = ((ROOT / f"{name}.md").read_text() for name in ("README", "CHANGELOG", "CONTRIBUTING"))
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text())


def test_the_version_is_the_same_everywhere() -> None:
    first, second = re.findall(r"^## (.+)$", CHANGELOG, re.MULTILINE)[:2]
    assert first == "Unreleased" and second == f"{__version__} ({CITATION['date-released']})"
    assert CITATION["version"] == __version__ and f"version = {{{__version__}}}" in README
    assert f"git tag -a v{__version__} " in CONTRIBUTING and f"git archive v{__version__} " in CONTRIBUTING


def test_the_citation_is_complete_and_the_bibtex_says_the_same() -> None:
    assert {"cff-version", "message", "title", "authors"} <= set(CITATION), "what the format requires"
    (paper,) = CITATION["references"]
    names = " and ".join(f"{author['family-names']}, {author['given-names']}" for author in paper["authors"])
    plain = README.replace("{", "").replace("}", "")
    for text in (f"author = {names},", f"title = {paper['title']},", f"booktitle = {paper['collection-title']},"):
        assert text in plain
    assert paper["identifiers"][0]["value"] in plain and f"author = {CITATION['authors'][0]['name']}," in plain


def test_the_dockerfile_copies_what_is_there_and_starts_the_app(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = (ROOT / "Dockerfile").read_text()
    copied = [source for files in re.findall(r"^COPY (.+) \S+$", lines, re.MULTILINE) for source in files.split()]
    assert {"app", "core", "assets", "experts", "app.py"} <= set(copied) and all((ROOT / source).exists() for source in copied)
    python, *arguments = json.loads(re.findall(r"^CMD (.+)$", lines, re.MULTILINE)[0])
    monkeypatch.setattr(sys, "argv", arguments)
    assert (python, arguments[0]) == ("python", "app.py") and flags().address == "0.0.0.0"


def test_what_the_space_names_is_there() -> None:
    front = yaml.safe_load(README.split("---\n", 2)[1])
    assert (ROOT / front["thumbnail"]).is_file() and front["suggested_hardware"] == "cpu-basic"
    assert front["models"] == ["laion/CLIP-ViT-B-32-laion2B-s34B-b79K"], "the weights of --hub, and of the README's own CLIP"
    assert "--pretrained laion2b_s34b_b79k" in README
