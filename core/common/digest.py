"""What identifies content: its sha256, in hexadecimal."""

from __future__ import annotations

import hashlib


def digest(content: str | bytes) -> str:
    """64 hexadecimal digits; of a text, those of its UTF-8."""
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()
