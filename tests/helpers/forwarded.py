"""A port that forwards to one server and then to another, as after a restart."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def forwarded(port: int, to: int) -> Iterator[str]:
    """Forward connections at ``port`` to port ``to`` of this machine. The end of the block cuts all connections."""
    ends: list[socket.socket] = []

    def pump(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while piece := source.recv(2**16):
                target.sendall(piece)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def accept() -> None:
        with suppress(OSError):
            while True:
                pair = listening.accept()[0], socket.create_connection(("127.0.0.1", to))
                ends.extend(pair)
                for source, target in (pair, pair[::-1]):
                    threading.Thread(target=pump, args=(source, target), daemon=True).start()

    with socket.create_server(("127.0.0.1", port)) as listening:
        threading.Thread(target=accept, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{port}/"
        finally:
            for end in (listening, *ends):
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
                end.close()
