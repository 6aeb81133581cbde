"""The limits for all visitors together, and for each one."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from core.common.errors import StudioError

VISITORS = 4  # visitors with as many photos as allowed that fit at once


@dataclass(frozen=True)
class Limits:
    keep_seconds: float = 60 * 60  # how long data is kept after the last event
    memory: int = 4 * 2**30  # bytes of photos and what is computed for them
    disk: int = 4 * 2**30  # bytes of files

    @property
    def kept_disk(self) -> int:
        """Most bytes of visitors' files. Uploads have the rest."""
        return self.disk // 2

    @property
    def upload(self) -> int:
        """Most bytes of one request."""
        return self.disk // VISITORS

    @staticmethod
    def from_environment(values: Mapping[str, str] = os.environ) -> Limits:
        """The limits from the variables SG_LORA_…. Raises StudioError: when one is unusable."""

        def number(name: str, default: float, unit: int) -> float:
            with suppress(ValueError):
                if 0 < (value := unit * float(values.get(name) or default)) < math.inf:
                    return value
            raise StudioError(f"{name} is {values[name]!r}: give a finite number above 0.")

        keep = number("SG_LORA_KEEP_MINUTES", 60, 60)
        memory, disk = (int(number(f"SG_LORA_{name}_MB", 4096, 2**20)) for name in ("MEMORY", "DISK"))
        return Limits(keep, memory, disk)
