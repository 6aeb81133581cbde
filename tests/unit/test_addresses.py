"""The address to which the app counts a request."""

from ipaddress import ip_network
from types import SimpleNamespace

import pytest

from app.server.hosts import Hosts, address_of

NETWORK = "2001:db8:1::/56"
DOCKER = Hosts(proxies=(ip_network("172.17.0.0/16"),))


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("127.0.0.1", None, "127.0.0.1"),
        ("127.0.0.1", "", "127.0.0.1"),
        ("127.0.0.1", "192.0.2.1, ", "127.0.0.1"),
        ("::1", None, "::/56"),
        ("93.184.216.34", None, "93.184.216.34"),
        ("93.184.216.34", "192.0.2.1", "93.184.216.34"),
        ("127.0.0.1", "192.0.2.1, 203.0.113.7", "203.0.113.7"),
        # Addresses from strangers are not believed, wherever they are.
        ("10.0.0.2", "203.0.113.7:4711", "10.0.0.2"),
        ("100.64.0.9", "203.0.113.7", "100.64.0.9"),
        ("fd00::9", "203.0.113.7", "fd00::/56"),
        ("127.0.0.1", "203.0.113.7:4711", "203.0.113.7"),
        ("127.0.0.1", "2001:db8:1:2::1", NETWORK),
        ("127.0.0.1", "2001:DB8:1:ff:ffff:ffff:ffff:ffff", NETWORK),
        ("::1", "[2001:db8:1:2::9]:4711", NETWORK),
        ("::ffff:93.184.216.34", None, "93.184.216.34"),
        ("fe80::1%eth0", None, "fe80::/56"),
        ("127.0.0.1", "2001:db8:1:100::1", "2001:db8:1:100::/56"),
        ("127.0.0.1", "x" * 100, "x" * 64),
        ("172.17.0.2", "192.0.2.1\n203.0.113.7", "203.0.113.7"),  # some proxies add a line
        ("172.17.0.2", None, "172.17.0.2"),
        ("127.0.0.1", "192.0.2.1, 203.0.113.7, 172.17.0.2", "203.0.113.7"),  # two proxies
        ("172.18.0.2", "203.0.113.7", "172.18.0.2"),
    ],
)
def test_address(peer: str, forwarded: str | None, address: str) -> None:
    sender = DOCKER.sender(peer, [] if forwarded is None else forwarded.split("\n"))
    assert address_of(SimpleNamespace(client=SimpleNamespace(host=sender))) == address
