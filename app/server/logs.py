"""The log of the app: one line a message, without terminal codes."""

import logging
from typing import Any

from core.common.text import printable


class Printable(logging.Formatter):
    """Format a message on one line without terminal codes, whatever a visitor sent."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return printable(super().formatMessage(record)).replace("\n", "\\n")

    def formatException(self, ei: Any) -> str:
        return printable(super().formatException(ei))


def set_up_logs() -> None:
    logging.basicConfig(level=logging.INFO)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    for handler in logging.getLogger().handlers:
        handler.setFormatter(Printable("%(asctime)s %(levelname)s %(name)s: %(message)s"))
