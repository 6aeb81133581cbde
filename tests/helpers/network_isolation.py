"""A network that leads nowhere, and what a Python process asks of networks; for tests of what is asked of other machines."""

from __future__ import annotations

import ast
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# What a process looks up or connects to, also where it fails and goes on; Python runs this file before everything else.
LISTEN = """
import os, sys
notes = os.open(os.environ["NOTES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
def listen(event, arguments):
    if event in ("socket.connect", "socket.sendto", "socket.getaddrinfo", "socket.gethostbyname"):
        target = arguments[1] if event in ("socket.connect", "socket.sendto") else arguments[0]
        os.write(notes, (repr((event, target[0] if isinstance(target, tuple) else target)) + "\\n").encode())
sys.addaudithook(listen)
"""
HERE = {"127.0.0.1", "::1", "localhost", "0.0.0.0", "::", None}
ELSEWHERE = "192.0.2.1"  # no machine's address: it is kept for documentation
NO_NAMESPACES = "this machine permits no namespaces"

# Stays until its input is closed, so that it ends with whoever started it, however that ends.
HOLD = "ip link set lo up; echo up; exec cat"


def listening(folder: Path, notes: Path) -> dict[str, str]:
    """The surroundings in which a Python process notes what it asks: ``folder`` is made, ``notes`` is what it writes."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(LISTEN)
    return {"NOTES": str(notes), "PYTHONPATH": str(folder)}


def asked(notes: Path) -> list[tuple[str, str | None]]:
    """(event, target) of what was looked up or connected to so far."""
    found = [ast.literal_eval(line) for line in notes.read_text().splitlines()]
    assert any(event == "socket.connect" for event, _ in found), "nothing was heard, not even the app's own start"
    return found


def elsewhere(heard: list[tuple[str, str | None]]) -> list[tuple[str, str | None]]:
    """What was asked of other machines."""
    return [(event, target) for event, target in heard if target not in HERE]


def has_route() -> bool:
    """Whether packets could leave; connecting a datagram socket sends none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((ELSEWHERE, 9))
            return True
        except OSError:
            return False


@contextmanager
def nowhere() -> Iterator[list[str]]:
    """A network that has this machine alone in it, for several processes.

    Yields:
        the start of a command that runs the rest of it there; empty where this machine does not permit that.
    """
    if not all(map(shutil.which, ("unshare", "nsenter", "ip", "sh"))):
        yield []
        return
    command = ["unshare", "--user", "--map-root-user", "--net", "sh", "-ec", HOLD]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as holder:
        up = holder.stdout.readline() == b"up\n"
        prefix = ["nsenter", f"--target={holder.pid}", "--user", "--net", "--preserve-credentials"]
        permitted = up and subprocess.run([*prefix, "true"], capture_output=True).returncode == 0
        yield prefix if permitted else []
