"""Tickets: the service's word that a user may do one thing with certain objects at one endpoint, for a few minutes.

A ticket is msgpack and an Ed25519 signature (RFC 8032) over it. There is one algorithm and nothing in a ticket chooses it. Times are by the
service's clock; an endpoint knows how far its own is from that one. A ticket is sent in a header or a body, never in a URL, and shows nothing of
itself in ``repr``.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence

import msgspec
from attrs import field, frozen
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from fedproxy.errors import TicketError

_SIGNATURE_BYTES = 64
_CONTEXT = b"fedproxy ticket 1\0"
MOST_BYTES = 4 * 1024 * 1024
METHODS = ("GET", "PUT", "DELETE")


@frozen
class Grant:
    """One object, and which of its bytes: all of them while ``end`` is 0."""

    store: str
    key: str
    start: int = 0
    end: int = 0


@frozen
class Ticket:
    """Who may do what, where, until when."""

    user: str
    endpoint: str
    """The only endpoint that takes it."""
    method: str
    objects: tuple[Grant, ...]
    expires: float
    """The service's clock, seconds since the epoch."""
    nonce: str = ""

    def fingerprint(self) -> str:
        """What may be logged of it."""
        return hashlib.sha256(_encoder.encode(self)).hexdigest()[:12]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Ticket)


class Signer:
    """The service's key."""

    def __init__(self, secret: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(secret)

    @staticmethod
    def new_secret() -> bytes:
        """32 random bytes to keep private."""
        return Ed25519PrivateKey.generate().private_bytes_raw()

    @property
    def public(self) -> bytes:
        """What endpoints check tickets with."""
        return self._key.public_key().public_bytes_raw()

    def sign(self, ticket: Ticket) -> str:
        """The ticket as text."""
        body = _encoder.encode(ticket)
        return base64.urlsafe_b64encode(self._key.sign(_CONTEXT + body) + body).decode()


@frozen
class Gate:
    """What one endpoint accepts."""

    public: bytes = field(repr=False)
    """The service's key."""
    endpoint: str
    user: str

    def open(self, text: str, method: str, now: float) -> Ticket:
        """The ticket that ``text`` is.

        Args:
            now: the service's clock.

        Raises:
            TicketError: it is not one, it was not signed by the service, is for another endpoint, user or method, or is expired.
        """
        ticket = self._verified(text)
        if not (_same(ticket.endpoint, self.endpoint) and _same(ticket.user, self.user)):
            raise TicketError("a ticket for another endpoint or user")
        if not _same(ticket.method, method):
            raise TicketError(f"a ticket for {ticket.method}, not for {method}")
        if ticket.expires < now:
            raise TicketError(f"the ticket expired {now - ticket.expires:.0f} s ago", hint="ask for a new one")
        return ticket

    def _verified(self, text: str) -> Ticket:
        if len(text) > MOST_BYTES:
            raise TicketError("a ticket that is too long")
        try:
            data = base64.b64decode(text, altchars=b"-_", validate=True)
            Ed25519PublicKey.from_public_bytes(self.public).verify(data[:_SIGNATURE_BYTES], _CONTEXT + data[_SIGNATURE_BYTES:])
            return _decoder.decode(data[_SIGNATURE_BYTES:])
        except (InvalidSignature, binascii.Error, ValueError, msgspec.MsgspecError, RecursionError) as exc:
            raise TicketError("this ticket was not signed by the service of this endpoint") from exc


def granted(ticket: Ticket, place: int, start: int, end: int) -> Grant:
    """The ticket's object number ``place``, if its bytes ``start`` to ``end`` are granted (``end`` 0: to its end).

    Raises:
        TicketError: it has no such object, or grants other bytes.
    """
    if not 0 <= place < len(ticket.objects):
        raise TicketError("the ticket has no such object")
    grant = ticket.objects[place]
    if grant.end and not (grant.start <= start and 0 < end <= grant.end):
        raise TicketError(f"the ticket grants bytes {grant.start} to {grant.end}")
    return grant


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())


def grants(pairs: Sequence[Sequence[object]]) -> tuple[Grant, ...]:
    """Grants from (store, key) or (store, key, start, end).

    Raises:
        TicketError: they are something else.
    """
    try:
        return tuple(msgspec.convert([dict(zip(("store", "key", "start", "end"), pair, strict=False)) for pair in pairs], list[Grant]))
    except (msgspec.MsgspecError, TypeError) as exc:
        raise TicketError(f"not objects: {exc}") from exc
