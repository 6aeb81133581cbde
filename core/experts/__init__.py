"""Experts on disk, of a visitor, and on a hub."""

from core.experts.files import load_repository
from core.sglora.repository import Expert


class ExpertRepository:
    """As published cards of expert repositories name it: ``ExpertRepository.load(folder, layout, fingerprint)``."""

    load = staticmethod(load_repository)


__all__ = ["Expert", "ExpertRepository", "load_repository"]
