"""The names that the server answers to, and where a request comes from.

A browser lets a page read what the page's own name leads to. Anybody may let a name lead to 127.0.0.1 or into a home network.
So a server there answers only to addresses, to localhost and to names that it was given.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:  # reading the flags needs no server
    import gradio as gr
    from starlette.requests import HTTPConnection

NETWORK = 56  # bits: a provider gives one customer up to this network, and the customer may take any address in it
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
# Headers that proxies add, or how they begin. A request with one comes from elsewhere, whatever its connection's address.
PROXIED = ("forwarded", "x-forwarded-", "x-real-ip", "via")


@dataclass(frozen=True)
class Hosts:
    names: frozenset[str] = frozenset()  # names that it was given
    private: bool = True  # whether it may be private; a public server answers to any name
    proxies: tuple[Network, ...] = ()  # where proxies are, besides this machine

    @staticmethod
    def of(bind: str, names: Sequence[str] = (), proxies: Sequence[Network] = ()) -> Hosts:
        """The names of a server that listens on ``bind``. All addresses of a machine (0.0.0.0) may be private ones."""
        address = ip_address(bind)
        public = bool(os.environ.get("SPACE_ID")) or (address is not None and address.is_global)
        return Hosts(frozenset(name.lower().rstrip(".") for name in (bind, *names)), not public, tuple(proxies))

    def answers_to(self, name: str) -> bool:
        return not self.private or ip_address(name) is not None or is_loopback(name) or name in self.names

    def sender(self, peer: str, forwarded: Sequence[str]) -> str:
        """Who sent a request: the address of the connection or, if a known proxy made that, what the proxy reports.
        ``forwarded``: the lines of X-Forwarded-For."""
        hops = ",".join(forwarded).split(",")  # each proxy adds one at the end; a visitor may make up those before
        while hops and self._is_proxy(peer) and (hop := hops.pop().strip()):
            peer = hop
            with suppress(ValueError):
                peer = host_name(hop)  # some proxies add a port
        return peer

    def _is_proxy(self, peer: str) -> bool:
        address = ip_address(peer)
        return address is not None and (address.is_loopback or any(address in network for network in self.proxies))


def ip_address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """A name as an IP address, which no name server can redirect; None: it is another name."""
    with suppress(ValueError):
        address = ipaddress.ip_address(name)
        return getattr(address, "ipv4_mapped", None) or address
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
    with suppress(ValueError):
        here = is_loopback(peer) and is_loopback(host_name(headers.get("host", "")))
        return here and not any(name.lower().startswith(PROXIED) for name in headers)
    return False


def address_of(request: HTTPConnection | gr.Request) -> str:
    """The address to which a request counts; an IPv6 address counts as its /56. ``Routes`` has asked the proxy's header."""
    if request.client is None:
        return ""
    text = request.client.host
    address = ip_address(text.partition("%")[0])
    if address is None:
        return text[:64]
    return str(ipaddress.ip_network((address, NETWORK), strict=False)) if address.version == 6 else str(address)
