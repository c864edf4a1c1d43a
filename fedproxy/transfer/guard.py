"""Where URLs of remote users may lead: not to this machine, not to its private network (server-side request forgery).

The check is of the address that is connected to, not of the name that was asked for: a name may be told another address the next time, and a
redirect may lead anywhere.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from attrs import frozen

from fedproxy.errors import ForbiddenAddressError, RouteUnavailableError

Address = IPv4Address | IPv6Address


@frozen
class Guard:
    """``allowed``: names, addresses or networks that may be reached although they are not public."""

    allowed: Sequence[str] = ()

    def check(self, host: str, address: str) -> None:
        """Whether ``host``, which turned out to be ``address``, may be reached.

        Raises:
            ForbiddenAddressError: it may not.
        """
        found = _plain(ip_address(address.partition("%")[0]))
        if (found.is_global and not found.is_multicast) or self._allows(host, found):
            return
        raise ForbiddenAddressError(
            f"{host} leads to {found}, which is not a public address", hint="if it is meant, name it in transfer.allowed_hosts of the endpoint")

    def _allows(self, host: str, found: Address) -> bool:
        for each in self.allowed:
            if each == host:
                return True
            try:
                if found in ip_network(each, strict=False):
                    return True
            except (ValueError, TypeError):
                continue
        return False

    def resolve(self, host: str, port: int) -> str:
        """An address of ``host`` that may be reached: connect to it, not to the name.

        Raises:
            ForbiddenAddressError: one of its addresses may not be reached.
            RouteUnavailableError: there is no such host.
        """
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as exc:
            raise RouteUnavailableError(f"no such host: {host}") from exc
        addresses = [str(each[4][0]) for each in found]
        for address in addresses:
            self.check(host, address)
        return addresses[0]


def _plain(address: Address) -> Address:
    """The IPv4 address inside an IPv6 one, where there is one."""
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if inner is None and address in ip_network("64:ff9b::/96"):
            inner = IPv4Address(int(address) & 0xFFFFFFFF)
        return inner or address
    return address
