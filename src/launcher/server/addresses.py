"""How other machines reach a server that listens on every address of this one."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass

import psutil

_ANY = {"0.0.0.0": socket.AF_INET, "::": socket.AF_INET6}  # noqa: S104  # compared, not bound
_INNER = re.compile(
    r"(docker|br-|virbr|veth|cni|flannel|cali|podman|lxcbr|lxdbr|incusbr|vmnet|vboxnet|vnet|bridge\d|kube|vEthernet)"
)
"""Names that container engines and virtual machines give to networks inside this machine."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Interface:
    """A network interface that is up."""

    name: str
    """`eth0`."""
    addresses: tuple[tuple[int, str], ...]
    """Family (socket's AF_INET, AF_INET6) and address of each."""


def interfaces() -> tuple[Interface, ...]:
    """Those of this machine; none where the system does not tell."""
    try:
        found = psutil.net_if_addrs()
        states = psutil.net_if_stats()
    except (psutil.Error, OSError):
        return ()
    return tuple(
        Interface(name=name, addresses=tuple((int(each.family), str(each.address)) for each in addresses))
        for name, addresses in found.items()
        if name not in states or states[name].isup
    )


def reachable_at(host: str, found: Sequence[Interface]) -> tuple[str, ...]:
    """Addresses that other machines can use, where `host` stands for all of this machine's; else none. Pure.

    Neither loopback, which ends here, nor link-local ones, which need the name of an interface behind them. Networks
    of containers are told only where there is nothing else.
    """
    family = _ANY.get(host)
    if family is None:
        return ()
    outer: list[str] = []
    inner: list[str] = []
    for interface in found:
        for kind, text in interface.addresses:
            if kind != family or not _is_routed(text):
                continue
            (inner if _INNER.match(interface.name) else outer).append(text)
    return tuple(dict.fromkeys(outer or inner))


def _is_routed(text: str) -> bool:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return not (address.is_loopback or address.is_link_local or address.is_unspecified or address.is_multicast)


def url_of(address: str, port: int) -> str:
    """`http://192.168.1.5:8080`."""
    return f"http://{f'[{address}]' if ':' in address else address}:{port}"
