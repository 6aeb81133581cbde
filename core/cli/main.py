"""Runs one command: its output, its errors and the exit codes."""

import contextlib
import io
import json
import os
import re
import sys
from collections.abc import Sequence
from itertools import takewhile
from pkgutil import resolve_name

from core.cli.format import on_one_line
from core.cli.parser import build_parser
from core.common.errors import StudioError, UsageError
from core.common.text import printable

EXIT_OK, EXIT_ERROR, EXIT_USAGE, EXIT_INTERRUPTED = 0, 1, 2, 130  # argparse exits with 2, too


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Stdout gets only the answer; progress, logs and errors go to stderr.
    """
    # A file name may be invalid UTF-8, and a terminal may lack a caption's characters: neither should stop a command.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    parser = build_parser()
    argv = sys.argv[1:] if argv is None else argv
    for word in takewhile(lambda each: each != "--", argv):
        if re.fullmatch(r"-[^\W\d]\S+", word):
            parser.error(f'{word} is no option. To exclude a word, quote it with what to look for: "dog {word}".')
    arguments = parser.parse_args(argv)
    from core.common.runtime import set_up_heap  # imports torch, so not before `--help` and usage errors

    set_up_heap()
    try:
        # Libraries may print to stdout, which would break the JSON.
        with contextlib.redirect_stdout(sys.stderr):
            if getattr(arguments, "device", "auto") != "auto":
                from core.common.device import use

                use(arguments.device)
            answer = resolve_name(f"core.cli.{arguments.run}")(arguments)
    except UsageError as error:
        parser.print_usage(sys.stderr)
        return _complain(str(error), EXIT_USAGE)
    except StudioError as error:
        return _complain(str(error))
    except OSError as error:
        return _complain(f"{error.filename}: {error.strerror}." if error.filename else f"{error}.")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("core", ""):
            raise
        return _complain(f"This needs the package {error.name}: see docs/reproduce.md.")
    except KeyboardInterrupt:
        return _complain("Interrupted.", EXIT_INTERRUPTED)
    try:
        text = json.dumps(answer.data, indent=2) if arguments.json else printable(answer.text(on_one_line(answer.data)))
        print(text, flush=True)
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # to nowhere: Python would fail to flush it at exit
        if not isinstance(error, BrokenPipeError):  # the reader, such as `| head`, has closed the pipe
            return _complain(f"The answer cannot be written: {error.strerror}.")
    return EXIT_OK if answer.passed else EXIT_ERROR


def _complain(error: str, code: int = EXIT_ERROR) -> int:
    """Print an error on one line, since names in it may contain line ends; returns the exit code."""
    print(printable(error).replace("\n", "\\n"), file=sys.stderr)
    return code
