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
GENERATOR_FILE = "generator.safetensors"


def heads_path() -> Path:
    """The shipped heads of the embedded backbone."""
    return ASSETS / "embedded" / "backbone.safetensors"


def generator_path(backbone: str = "embedded") -> Path:
    """The shipped generator of a backbone."""
    return ASSETS / backbone / GENERATOR_FILE


def experts_path(backbone: str = "embedded") -> Path:
    """The shipped expert repository of a backbone."""
    return EXPERTS / backbone


def find_generator(experts: Path, backbone: str) -> Path:
    """The generator of a repository: in its folder, else in the assets under the folder's name or the backbone's."""
    own, named = experts / GENERATOR_FILE, generator_path(experts.name)
    return next((path for path in (own, named) if path.is_file()), generator_path(backbone))


def results_path(experiment: str) -> Path:
    """The shipped result of an experiment."""
    return ASSETS / "results" / f"{experiment}.json"


def load_engine(
    backbone: Backbone | None = None,
    experts: Path | None = None,
    generator: Path | None = None,
) -> SGLora:
    """The engine with the shipped files, or with others in their place.

    Args:
        backbone: None loads the embedded one.
        experts: repository; None is the shipped one of the backbone.
        generator: None is the one that belongs to the repository, see ``find_generator``.

    Raises:
        BackboneError, RepositoryError: a file is missing, damaged, or made for another backbone.
    """
    backbone = backbone or load_embedded(heads_path())
    experts = experts or experts_path(backbone.slug)
    repository = ExpertRepository.load(experts, backbone.layout, backbone.fingerprint)
    written = LoraGenerator.load(generator or find_generator(experts, backbone.slug), backbone.fingerprint)
    return SGLora(backbone, repository, written)
