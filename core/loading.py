"""Where the shipped files are, and how they become an engine."""

from __future__ import annotations

from pathlib import Path

from core.backbones.base import Backbone
from core.backbones.embedded import load_embedded
from core.experts import ExpertRepository
from core.generator import LoraGenerator
from core.sglora import SGLora

ROOT = Path(__file__).resolve().parent.parent
ASSETS = ROOT / "assets"
EXPERTS = ROOT / "experts"


def heads_path() -> Path:
    """The shipped heads of the embedded backbone."""
    return ASSETS / "embedded" / "backbone.safetensors"


def generator_path(backbone: str = "embedded") -> Path:
    """The shipped generator of a backbone."""
    return ASSETS / backbone / "generator.safetensors"


def experts_path(backbone: str = "embedded") -> Path:
    """The shipped expert repository of a backbone."""
    return EXPERTS / backbone


def results_path(experiment: str) -> Path:
    """The shipped result of an experiment."""
    return ASSETS / "results" / f"{experiment}.json"


def load_engine(
    backbone: Backbone | None = None,
    experts: Path | None = None,
    generator: Path | None = None,
) -> SGLora:
    """The engine with the shipped files, or with others in their place.

    Raises:
        BackboneError, RepositoryError: a file is missing, damaged, or made for another backbone.
    """
    backbone = backbone or load_embedded(heads_path())
    repository = ExpertRepository.load(experts or experts_path(backbone.name), backbone.layout, backbone.fingerprint)
    written = LoraGenerator.load(generator or generator_path(backbone.name), backbone.fingerprint)
    return SGLora(backbone, repository, written)
