"""The page's settings as a command line, to take an experiment from the page into a script."""

from __future__ import annotations

import shlex

from app.session import Settings


def adapt_command(settings: Settings) -> str:
    """The `python -m core` line that makes the same adapter."""
    parts = ["python", "-m", "core", "adapt", settings.description, "--out", "adapter", "--k", str(settings.k)]
    parts += ["--tau", f"{settings.tau:g}", "--seed", str(settings.seed), "--strength", f"{settings.strength:g}"]
    return shlex.join(parts)
