"""The service's own key, by which agents know it again."""

from __future__ import annotations

from pathlib import Path

from attrs import field, frozen

from fedproxy.config.home import write_private
from fedproxy.errors import ConfigError
from fedproxy.protocol import proof


@frozen
class ServiceIdentity:
    """``public`` is what agents pin; ``link_key`` the CURVE key of the socket that they connect to."""

    public: str
    link_key: str
    _secret: bytes = field(repr=False)

    @classmethod
    def open(cls, path: Path, link_key: str) -> ServiceIdentity:
        """The key in ``path`` (0600), made on first use.

        Raises:
            ConfigError: the file holds something else.
        """
        if not path.exists():
            write_private(path, proof.new_secret())
        secret = path.read_bytes()
        if len(secret) != proof.SECRET_BYTES:
            raise ConfigError(f"{path} is no key of a service", hint="put back the one that was there: every endpoint has pinned it")
        return cls(proof.public_key(secret), link_key, secret)

    def prove(self, endpoint: str, incarnation: str, epoch: int) -> bytes:
        """The proof for one session."""
        return proof.prove(proof.Session(endpoint, incarnation, epoch, self.link_key), self._secret)
