"""Run the command line in this process, which saves seconds of imports. The shipped models are loaded once."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from core.backbones import embedded
from core.backbones.base import Backbone
from core.cli import commands
from core.cli.main import main
from core.experts.load import load_engine
from core.sglora.engine import SGLora

load_once, engine_once = cache(embedded.load_embedded), cache(load_engine)
Run = Callable[..., tuple[int, str, str]]
Answer = Callable[..., Any]


def engine_of(backbone: Backbone, experts: Path | None, generator: Path | None) -> SGLora:
    """As ``load_engine``. The shipped engine takes longest, and is loaded once for a backbone."""
    shipped = backbone.name == "embedded" and experts is None and generator is None
    return (engine_once if shipped else load_engine)(backbone, experts, generator)


def runner(capsys: pytest.CaptureFixture[str]) -> Run:
    """A function that runs a command line and returns (exit code, stdout, stderr)."""

    def call(*argv: object) -> tuple[int, str, str]:
        capsys.readouterr()
        try:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(embedded, "load_embedded", load_once)
                patch.setattr(commands, "load_engine", engine_of)
                code = main([str(a) for a in argv])
        except SystemExit as end:  # argparse ends like this on --help and wrong usage
            code = int(end.code or 0)
        return code, *capsys.readouterr()

    return call


def answers(run: Run) -> Answer:
    """A function that runs a command line, which succeeds, and returns its JSON."""

    def call(*argv: object) -> Any:
        code, out, err = run(*argv, "--json")
        assert code == 0, err
        return json.loads(out)

    return call
