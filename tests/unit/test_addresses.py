"""The address to which the app counts a request."""

from types import SimpleNamespace

import pytest
from starlette.datastructures import Headers

from app.server.hosts import address_of

NETWORK = "2001:db8:1::/56"


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("127.0.0.1", None, ""),
        ("::1", None, ""),
        ("93.184.216.34", None, "93.184.216.34"),
        ("93.184.216.34", "192.0.2.1", "93.184.216.34"),
        ("127.0.0.1", "192.0.2.1, 203.0.113.7", "203.0.113.7"),
        ("10.0.0.2", "203.0.113.7:4711", "203.0.113.7"),
        ("127.0.0.1", "2001:db8:1:2::1", NETWORK),
        ("127.0.0.1", "2001:DB8:1:ff:ffff:ffff:ffff:ffff", NETWORK),
        ("::1", "[2001:db8:1:2::9]:4711", NETWORK),
        ("2600:1f18:1:2::1", None, "2600:1f18:1::/56"),
        ("::ffff:93.184.216.34", None, "93.184.216.34"),
        ("fe80::1%eth0", None, "fe80::/56"),
        ("127.0.0.1", "2001:db8:1:fe::1", NETWORK),
        ("127.0.0.1", "2001:db8:1:100::1", "2001:db8:1:100::/56"),
        ("127.0.0.1", "x" * 100, "x" * 64),
        ("172.17.0.2", "192.0.2.1\n203.0.113.7", "203.0.113.7"),  # some proxies add a line
    ],
)
def test_address(peer: str, forwarded: str | None, address: str) -> None:
    lines = [] if forwarded is None else forwarded.split("\n")
    headers = Headers(raw=[(b"x-forwarded-for", line.encode()) for line in lines])
    assert address_of(SimpleNamespace(client=SimpleNamespace(host=peer), headers=headers)) == address
