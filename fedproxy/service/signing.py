"""The service signs tickets: for the user's own endpoints only."""

from __future__ import annotations

import secrets
import time
from pathlib import Path

from fedproxy.config.home import write_private
from fedproxy.errors import ProtocolError
from fedproxy.protocol.tickets import METHODS, Grant, Signer, Ticket
from fedproxy.service.registry import Endpoint

TICKET_S = 300.0
MOST_OBJECTS = 10_000


def open_signer(path: Path) -> Signer:
    """The key in ``path`` (0600), made on first use."""
    if not path.exists():
        write_private(path, Signer.new_secret())
    return Signer(path.read_bytes())


def issue(signer: Signer, user: str, endpoint: Endpoint, method: str, objects: tuple[Grant, ...]) -> str:
    """A ticket for these objects at this endpoint, which must be the user's.

    Raises:
        ProtocolError: no such method, or too many objects.
    """
    assert endpoint.user == user
    if method not in METHODS or not 0 < len(objects) <= MOST_OBJECTS:
        raise ProtocolError(f"a ticket is for {', '.join(METHODS)} and 1 to {MOST_OBJECTS:,} objects")
    return signer.sign(Ticket(user, endpoint.id, method, objects, time.time() + TICKET_S, secrets.token_hex(8)))
