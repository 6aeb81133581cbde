"""Experts on disk, of a visitor, and on a hub.

Published cards of expert repositories import ``ExpertRepository`` from here and call its ``load``.
"""

from core.experts.files import load_repository
from core.sglora import repository
from core.sglora.repository import Expert


class ExpertRepository(repository.ExpertRepository):
    """As cards name it: ``ExpertRepository.load(folder, layout, fingerprint)``."""

    load = staticmethod(load_repository)


__all__ = ["Expert", "ExpertRepository", "load_repository"]
