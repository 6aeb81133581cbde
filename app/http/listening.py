"""Where the server may listen. Imports no Gradio, so that an unusable flag is rejected at once."""

from __future__ import annotations

import argparse
import socket

from core.common.errors import StudioError

PORTS = range(1, 2**16)


def port_number(text: str) -> int:
    if not is_port(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no port: give a number from {PORTS[0]} to {PORTS[-1]}")
    return int(text)


def is_port(text: str) -> bool:
    return text.isdecimal() and len(text) <= 5 and int(text) in PORTS


def check_address(host: str, port: int | None) -> None:
    """Raise StudioError if the server cannot listen there. Gradio tries for minutes, then says only that no port is free."""
    failed: Exception | None = None
    try:
        for family, kind, protocol, _, address in socket.getaddrinfo(host.strip("[]"), port or 0, type=socket.SOCK_STREAM):
            try:
                with socket.socket(family, kind, protocol) as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    probe.bind(address)
                    return
            except OSError as error:  # one of a name's addresses is enough, as on a machine without IPv6
                failed = error
    except (OSError, UnicodeError) as error:
        failed = error
    where = host if port is None else f"{host}, port {port}"
    why = failed.strerror if isinstance(failed, OSError) else "it is no address"
    raise StudioError(f"Cannot listen on {where} ({why}): choose another --host or --port.") from failed
