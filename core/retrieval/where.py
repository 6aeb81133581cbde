"""A search filter by folder and date."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

import numpy as np

from core.common.errors import DescriptionError

NONE_LEFT = "CORE_FILTERED"  # key of the message that no photo passes a filter


@dataclass(frozen=True)
class Where:
    """A filter: photos in ``folder`` or below it, taken from ``since`` to ``until``, both days included. Raises
    DescriptionError: when ``since`` is after ``until``."""

    folder: Path | None = None
    since: date | None = None
    until: date | None = None

    def __post_init__(self) -> None:
        if self.since is not None and self.until is not None and self.since > self.until:
            raise DescriptionError("CORE_DAYS_REVERSED", since=self.since, until=self.until)

    def __bool__(self) -> bool:
        return any(value is not None for value in (self.folder, self.since, self.until))

    def days(self, days: np.ndarray) -> np.ndarray:
        """Which of these days [n] datetime64[D] pass, [n] bool. An unknown day (NaT) is in no range."""
        kept = np.ones(len(days), bool)
        if self.since is not None:
            kept &= days >= np.datetime64(self.since)
        if self.until is not None:
            kept &= days <= np.datetime64(self.until)
        return kept


def taken_at(exif: object) -> datetime | None:
    """Parse EXIF's "2024:05:01 12:30:00". None for anything else, such as from a camera whose clock was never set."""
    with suppress(ValueError, TypeError):
        return datetime.strptime(str(exif), "%Y:%m:%d %H:%M:%S")
    return None
