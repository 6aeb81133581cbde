"""Experts on disk, on a hub, and of a visitor."""

from core.experts.files import load_repository
from core.sglora.repository import Expert


class ExpertRepository:
    """The name in published cards of expert repositories: ``ExpertRepository.load(folder, layout, fingerprint)``."""

    load = staticmethod(load_repository)


__all__ = ["Expert", "ExpertRepository", "load_repository"]
