"""Counters for each user since the service started."""

from __future__ import annotations

from collections import defaultdict

from attrs import asdict, define


@define
class UserStats:
    """Payload bytes are arguments, functions, results as they pass the service; objects in stores never do."""

    bytes_in: int = 0
    bytes_out: int = 0
    tasks_accepted: int = 0
    tasks_finished: int = 0
    late_results: int = 0
    recalled: int = 0
    """Tasks that were given the value of an earlier call of the same."""


class Stats:
    """One `UserStats` for each user."""

    def __init__(self) -> None:
        self._users: defaultdict[str, UserStats] = defaultdict(UserStats)

    def of(self, user: str) -> UserStats:
        """The user's counters, to be read or counted up."""
        return self._users[user]

    def as_dict(self, user: str) -> dict[str, int]:
        """The user's counters, for an answer."""
        return asdict(self._users[user])
