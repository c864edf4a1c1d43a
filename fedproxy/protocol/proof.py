"""The service's proof to an agent that it is the service that the agent knows: one Ed25519 signature (RFC 8032) for each session.

The link is CURVE: every message on it is authenticated by the key that the agent was told to expect at the other end. The proof says whose key
that is. It binds the link's key to the agent's endpoint, to its process (a random number that nobody used before) and to the session's epoch,
under the service's own key, which the agent has pinned. So each task that comes over the link comes from the pinned service, and no task costs
a signature of its own.
"""

from __future__ import annotations

import msgspec
from attrs import frozen
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

_CONTEXT = b"fedproxy session 1\0"
SECRET_BYTES = 32


@frozen
class Session:
    """What is proved to be one."""

    endpoint: str
    incarnation: str
    epoch: int
    link_key: str
    """The CURVE key of the service's end, as Z85 text."""

    def to_bytes(self) -> bytes:
        """What is signed."""
        return _CONTEXT + msgspec.msgpack.encode((self.endpoint, self.incarnation, self.epoch, self.link_key))


def new_secret() -> bytes:
    """A service's new key, to be kept private."""
    return Ed25519PrivateKey.generate().private_bytes_raw()


def public_key(secret: bytes) -> str:
    """What agents pin: 64 hex digits."""
    return Ed25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw().hex()


def prove(session: Session, secret: bytes) -> bytes:
    """The service's signature."""
    return Ed25519PrivateKey.from_private_bytes(secret).sign(session.to_bytes())


def is_proved(session: Session, signature: bytes, public: str) -> bool:
    """Whether the service whose key is ``public`` signed exactly this. Never raises."""
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(public)).verify(signature, session.to_bytes())
    except (InvalidSignature, ValueError):
        return False
    return True
