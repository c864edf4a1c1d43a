"""Network interfaces by name."""

from __future__ import annotations

import ipaddress
import socket

import psutil

from fedproxy.errors import ConfigError


def address_of(interface: str) -> str:
    """The IP address of an interface (``ib0``), or the address itself.

    Raises:
        ConfigError: there is no such interface, or it has no address.
    """
    try:
        return str(ipaddress.ip_address(interface))
    except ValueError:
        pass
    known = psutil.net_if_addrs()
    for family in (socket.AF_INET, socket.AF_INET6):
        for each in known.get(interface, ()):
            if each.family == family:
                return str(each.address).partition("%")[0]
    raise ConfigError(f"no network interface {interface!r} with an address", hint=f"there are: {', '.join(sorted(known))}; or give an IP address")
