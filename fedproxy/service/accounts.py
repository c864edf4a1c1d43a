"""Who is asking: bearer tokens. Only their SHA-256 is stored."""

from __future__ import annotations

import hashlib
import secrets
import time
from functools import lru_cache
from pathlib import Path

from fedproxy.config.home import write_private
from fedproxy.service.ledger import Ledger, Transaction

LOCAL_USER = "local"


@lru_cache(256)
def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


class Accounts:
    """Tokens and their users."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._users = {bytes(digest): str(user) for digest, user in ledger.rows("SELECT digest, user FROM tokens")}

    def user_of(self, token: str) -> str | None:
        """The user of a token, or None."""
        return self._users.get(_digest(token))

    def add_token(self, token: str, user: str) -> None:
        """Make ``token`` good for ``user``."""
        digest = _digest(token)
        if digest in self._users:
            return
        now = time.time()
        self._ledger.apply(Transaction(other=[lambda c: c.execute("INSERT OR IGNORE INTO tokens VALUES (?, ?, ?)", (digest, user, now))]))  # type: ignore[list-item]
        self._users[digest] = user

    def local_token(self, path: Path) -> None:
        """Make sure that ``path`` (0600) holds a token of the local user."""
        token = path.read_text().strip() if path.exists() else ""
        if not token:
            token = secrets.token_urlsafe(32)
            write_private(path, token.encode())
        self.add_token(token, LOCAL_USER)
