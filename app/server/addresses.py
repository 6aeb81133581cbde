"""The address of a request: the one that the proxy before this server reports, or that of the connection."""

from __future__ import annotations

import ipaddress

import gradio as gr
from starlette.requests import Request

from app.server.hosts import IPAddress, ip_address

NETWORK = 56  # bits: a provider gives one customer up to this network, and the customer may take any address in it


def address_of(request: Request | gr.Request | None) -> str:
    """The visitor's address; "" for this machine's own: one person's at home, everybody's behind a proxy that reports none.

    An IPv6 address counts as its /56: everybody has 2^72 addresses.
    """
    if request is None or request.client is None:
        return ""
    peer = _parsed(request.client.host)
    forwarded = request.headers.getlist("x-forwarded-for")
    if forwarded and (peer is None or not peer.is_global):
        # The proxy adds the last, to the line or as a line of its own; the visitor may make up those before.
        last = forwarded[-1].rpartition(",")[2].strip()
        return _key(_parsed(last), last)
    return "" if peer is not None and peer.is_loopback else _key(peer, request.client.host)


def _parsed(text: str) -> IPAddress | None:
    """An address, also in brackets, with a port or with a zone; None if it is none."""
    host = text.partition("]")[0].removeprefix("[")
    if host.count(":") == 1:
        host = host.partition(":")[0]
    address = ip_address(host.partition("%")[0])
    return getattr(address, "ipv4_mapped", None) or address


def _key(address: IPAddress | None, text: str) -> str:
    if address is None:
        return text[:64]
    return str(ipaddress.ip_network((address, NETWORK), strict=False)) if address.version == 6 else str(address)
