"""A network without other machines, and a log of a Python process's network requests. Tests use both to check that the app
contacts no other machine."""

import ast
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Logs each look-up and connection, also a failed one. Python runs this file before all other code.
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
ELSEWHERE = "192.0.2.1"  # an address reserved for documentation; no machine has it
NO_NAMESPACES = "this machine permits no namespaces, or has no `ip` (Debian: apt install iproute2)"

# ``cat`` runs until its input closes, so the network ends with the process that started it.
HOLD = "ip link set lo up; echo up; exec cat"


def listening(folder: Path, notes: Path) -> dict[str, str]:
    """Environment variables that make a Python process log its network requests to ``notes``. Creates ``folder``."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(LISTEN)
    return {"NOTES": str(notes), "PYTHONPATH": str(folder)}


def asked(notes: Path) -> list[tuple[str, str | None]]:
    """The log so far: (event, target) of each look-up and connection."""
    found = [ast.literal_eval(line) for line in notes.read_text().splitlines()]
    assert any(event == "socket.connect" for event, _ in found), "the log must have a connection: the app's own start makes one"
    return found


def elsewhere(heard: list[tuple[str, str | None]]) -> list[tuple[str, str | None]]:
    """The requests to other machines."""
    return [(event, target) for event, target in heard if target not in HERE]


def has_route() -> bool:
    """Whether packets can leave this machine. Sends none: connecting a datagram socket is enough."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((ELSEWHERE, 9))
            return True
        except OSError:
            return False


@contextmanager
def nowhere() -> Iterator[list[str]]:
    """The start of a command that runs its other arguments in a network without other machines; empty: it is not allowed."""
    if not all(map(shutil.which, ("unshare", "nsenter", "ip", "sh"))):
        yield []
        return
    command = ["unshare", "--user", "--map-root-user", "--net", "sh", "-ec", HOLD]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as holder:
        up = holder.stdout.readline() == b"up\n"
        prefix = ["nsenter", f"--target={holder.pid}", "--user", "--net", "--preserve-credentials"]
        permitted = up and subprocess.run([*prefix, "true"], capture_output=True).returncode == 0
        yield prefix if permitted else []
