"""Where published cards of expert repositories import from; the code is in ``core.sglora.repository``."""

from core.sglora.repository import Expert, ExpertRepository

__all__ = ["Expert", "ExpertRepository"]
