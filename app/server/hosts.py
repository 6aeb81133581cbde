"""The names that the server answers to, and whether a request comes from this machine itself.

A browser lets a page read what the page's own name leads to. Anybody may let a name lead to 127.0.0.1 or into a home network.
So a server there answers only to addresses, to localhost and to names that it was given.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
# Headers that proxies add, or how they begin. A request with one comes from elsewhere, whatever its connection's address.
PROXIED = ("forwarded", "x-forwarded-", "x-real-ip", "via")


@dataclass(frozen=True)
class Hosts:
    names: frozenset[str] = frozenset()  # names that it was given
    private: bool = True  # whether it may be private; a public server answers to any name

    @staticmethod
    def of(bind: str, names: Sequence[str] = ()) -> Hosts:
        """The names of a server that listens on ``bind``. All addresses of a machine (0.0.0.0) may be private ones."""
        address = ip_address(bind)
        public = bool(os.environ.get("SPACE_ID")) or (address is not None and address.is_global)
        return Hosts(frozenset(name.lower().rstrip(".") for name in (bind, *names)), not public)

    def answers_to(self, name: str) -> bool:
        return not self.private or ip_address(name) is not None or is_loopback(name) or name in self.names


def ip_address(name: str) -> IPAddress | None:
    """A name as an IP address, which no name server can redirect; None if it is none."""
    with suppress(ValueError):
        return ipaddress.ip_address(name)
    return None


def host_name(netloc: str) -> str:
    """The name in a Host header, without port and brackets, in lower case. Raises ValueError: when there is none."""
    parts = urlsplit(f"//{netloc}")
    name = parts.hostname
    if not name or parts.netloc != netloc or " " in name or parts.port == 0:  # reading the port may raise
        raise ValueError(f"{netloc!r} is no host")
    return name.rstrip(".")


def is_loopback(name: str) -> bool:
    """Whether a name or address always means the machine that uses it."""
    address = ip_address(name)
    return name == "localhost" or name.endswith(".localhost") if address is None else address.is_loopback


def is_from_here(peer: str, headers: Mapping[str, str]) -> bool:
    """Whether a person on this machine sent a request. ``peer``: the address of the connection."""
    try:
        host = host_name(headers.get("host", ""))
    except ValueError:
        return False
    return is_loopback(peer) and is_loopback(host) and not any(name.lower().startswith(PROXIED) for name in headers)
