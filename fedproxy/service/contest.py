"""Two agents under one id: who is it? Pure: monotonic times are passed in.

An agent that starts while another is connected may be its successor (the machine crashed, and its half-open connection still looks alive) or its
double (a copied folder). The difference shows within seconds: the living tells how it is every few seconds, the dead does not.
"""

from __future__ import annotations

from enum import Enum

from attrs import define

SILENT_S = 15.0
"""Several times the period of the agents' reports."""
FORGOTTEN_S = 120.0


class Verdict(Enum):
    """What to tell the one that comes second."""

    FREE = "free"
    UNSURE = "unsure"
    IN_USE = "in use"


@define
class Contest:
    """About one endpoint."""

    began: float | None = None
    asked: float = 0.0

    def judge(self, heard: float, now: float) -> Verdict:
        """Somebody wants to be an endpoint whose connection looks alive and was last heard at ``heard``."""
        if self.began is None or now - self.asked > FORGOTTEN_S:
            self.began = now
        self.asked = now
        if heard > self.began:
            self.began = None
            return Verdict.IN_USE
        if now - self.began > SILENT_S:
            self.began = None
            return Verdict.FREE
        return Verdict.UNSURE
