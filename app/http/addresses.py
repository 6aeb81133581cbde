"""Whose request it is: the address that the next proxy before this server gives, or that the request comes from."""

from __future__ import annotations

from starlette.requests import Request

from app.http.allowlist import is_private_host


def address_of(request: Request | None) -> str:
    """The visitor's address; "" for this machine's own, which is one person's at home and everybody's behind a silent proxy."""
    if request is None or request.client is None:
        return ""
    peer = request.client.host
    if is_private_host(peer) and (forwarded := request.headers.get("x-forwarded-for")):
        return forwarded.rpartition(",")[2].strip()[:64]  # the last one is the proxy's word, those before are the visitor's
    return "" if peer in ("127.0.0.1", "::1") else peer
