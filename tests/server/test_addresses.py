"""Under which addresses other machines reach a server."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import replace

import psutil
import pytest

from launcher.cli.serve_view import print_served
from launcher.server.addresses import Interface, interfaces, reachable_at, url_of
from tests.server.conftest import Served
from tests.server.test_page import RECORD

V4, V6 = int(socket.AF_INET), int(socket.AF_INET6)
LOOP = Interface(name="lo", addresses=((V4, "127.0.0.1"), (V6, "::1")))
LAN = Interface(
    name="eth0",
    addresses=(
        (V4, "192.168.1.5"),
        (V6, "fe80::1%eth0"),
        (V6, "2001:db8::5"),
        (V6, "fd00::5"),
        (17, "aa:bb:cc:dd:ee:ff"),
        (V4, "169.254.7.7"),
    ),
)
DOCKER = Interface(name="docker0", addresses=((V4, "172.17.0.1"),))
VPN = Interface(name="tailscale0", addresses=((V4, "100.64.0.9"),))


@pytest.mark.parametrize(
    ("host", "found", "told"),
    [
        ("0.0.0.0", [LOOP, DOCKER, LAN, VPN], ("192.168.1.5", "100.64.0.9")),
        ("::", [LOOP, DOCKER, LAN], ("2001:db8::5", "fd00::5")),
        ("0.0.0.0", [LOOP, DOCKER], ("172.17.0.1",)),
        ("0.0.0.0", [LOOP], ()),
        ("0.0.0.0", [LAN, LAN], ("192.168.1.5",)),
        ("127.0.0.1", [LOOP, LAN], ()),
        ("192.168.1.5", [LOOP, LAN], ()),
    ],
)
def test_what_others_can_use_is_told(host: str, found: list[Interface], told: tuple[str, ...]) -> None:
    assert reachable_at(host, found) == told


@pytest.mark.parametrize("name", ["docker0", "br-1a2b3c", "virbr0", "veth12ab", "vmnet8", "bridge100", "podman1"])
def test_networks_inside_this_machine_come_last(name: str) -> None:
    inner = Interface(name=name, addresses=((V4, "10.0.0.1"),))
    assert reachable_at("0.0.0.0", [inner, LAN]) == ("192.168.1.5",)
    assert reachable_at("0.0.0.0", [inner]) == ("10.0.0.1",)


def test_interfaces_are_those_of_this_machine() -> None:
    names = {interface.name for interface in interfaces()}
    assert names <= set(psutil.net_if_addrs())
    assert all(isinstance(text, str) for interface in interfaces() for _family, text in interface.addresses)


def test_an_address_becomes_a_url() -> None:
    assert url_of("192.168.1.5", 8080) == "http://192.168.1.5:8080"
    assert url_of("fd00::5", 8080) == "http://[fd00::5]:8080"


def test_a_person_is_told_each(capsys: pytest.CaptureFixture[str]) -> None:
    print_served(RECORD, background=False, around=lambda: (LOOP, LAN, VPN))
    err = capsys.readouterr().err
    assert "Other machines: http://192.168.1.5:8080/v1, http://100.64.0.9:8080/v1\n" in err
    print_served(replace(RECORD, host="127.0.0.1"), background=False, around=lambda: (LOOP, LAN, VPN))
    print_served(RECORD, background=False, around=lambda: (LOOP,))
    assert "Other machines" not in capsys.readouterr().err


def test_a_server_is_reached_there(serve: Callable[..., Served]) -> None:
    served = serve("--host", "0.0.0.0")
    told = [line for line in served.started.err.splitlines() if line.startswith("Other machines: ")]
    addresses = reachable_at("0.0.0.0", interfaces())
    assert bool(told) is bool(addresses)
    for address in addresses:
        assert url_of(address, served.port) in told[0]
        with socket.create_connection((address, served.port), timeout=20):
            pass
    assert served.started.out == f"{served.url}/v1\n"
