"""Names of the server in a request, and whether the request comes from this machine itself."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

# What proxies add; a request that has one comes from elsewhere, whatever the address of its connection.
PROXIED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")


def host_name(netloc: str) -> str:
    """The name in a Host header, without port and brackets, in small letters.

    Raises:
        ValueError: it is none.
    """
    name = urlsplit(f"//{netloc}").hostname
    if not name:
        raise ValueError(f"{netloc!r} is no host")
    return name.rstrip(".")


def is_loopback(name: str) -> bool:
    """Whether a name or address always means the machine that uses it."""
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")


def is_from_here(peer: str, headers: Mapping[str, str]) -> bool:
    """Whether a person on this machine sent a request.

    Args:
        peer: address of the connection. headers: of the request, names in small letters.
    """
    try:
        host = host_name(headers.get("host", ""))
    except ValueError:
        return False
    return is_loopback(peer) and is_loopback(host) and not any(name in headers for name in PROXIED)
