"""Run the command line in this process, which saves seconds of imports. The embedded backbone is loaded once."""

import json
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest

from core.backbones import embedded
from core.cli.main import main

load_once = cache(embedded.load_embedded)
Run = Callable[..., tuple[int, str, str]]
Answer = Callable[..., Any]


def runner(capsys: pytest.CaptureFixture[str]) -> Run:
    """A function that runs a command line and returns (exit code, stdout, stderr)."""

    def call(*argv: object) -> tuple[int, str, str]:
        capsys.readouterr()
        try:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(embedded, "load_embedded", load_once)
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
