"""Runs one command: where its answer and its errors go, and the exit codes."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from collections.abc import Sequence

from core.cli.parser import build_parser
from core.common.errors import StudioError, UsageError

EXIT_OK = 0
EXIT_ERROR = 1
EXIT_USAGE = 2  # argparse's own
EXIT_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Stdout gets the answer and nothing else; progress, logs and errors go to stderr.
    """
    # File names need not be valid UTF-8, and a terminal may not show what a caption holds: neither may end a command.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    parser = build_parser()
    arguments = parser.parse_args(argv)
    from core.common.runtime import set_up_heap  # imports torch, which `--help` and usage errors need not wait for

    set_up_heap()
    try:
        # Whatever a library prints is kept out of the JSON.
        with contextlib.redirect_stdout(sys.stderr):
            if getattr(arguments, "device", "auto") != "auto":
                from core.common.device import use  # imports torch

                use(arguments.device)
            answer = arguments.run(arguments)
    except UsageError as error:
        parser.print_usage(sys.stderr)
        print(error, file=sys.stderr)
        return EXIT_USAGE
    except StudioError as error:
        print(error, file=sys.stderr)
        return EXIT_ERROR
    except OSError as error:
        if not error.filename:
            raise
        print(f"{error.filename}: {error.strerror}.", file=sys.stderr)
        return EXIT_ERROR
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("core", ""):
            raise
        print(f"This needs the package {error.name}: `pip install -r requirements-train.txt`.", file=sys.stderr)
        return EXIT_ERROR
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return EXIT_INTERRUPTED
    if answer is None:  # one of several processes, of which the first one answers
        return EXIT_OK
    try:
        print(json.dumps(answer.data, indent=2) if arguments.json else answer.text, flush=True)
    except BrokenPipeError:
        # The reader (`| head`) has seen enough. Python would complain when it flushes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return EXIT_OK
