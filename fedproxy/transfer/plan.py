"""By which route an object goes from one site to another: a pure decision, with its reasons.

The estimate of a route is set-up time + bytes ÷ bandwidth, from what was measured between the two sites (exponentially weighted), else from a
guess for that kind of route. A route that failed a moment ago goes to the end of the list for a while, longer each time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from urllib.parse import urlsplit

from attrs import evolve, field, frozen

from fedproxy.transfer.objects import Replica
from fedproxy.transfer.sites import Site

LOCAL, BUCKET, GLOBUS, DIRECT, URL, RELAY = "local", "bucket", "globus", "direct", "url", "relay"
NAMES = (BUCKET, GLOBUS, DIRECT, URL, RELAY)
_WEIGHT = 0.3
_PENALTY_S = 10.0
_LONGEST_PENALTY_S = 600.0
RELAY_STORE = "relay:"
GLOBUS_EXPORT = "globus-export"
"""Scheme of copies that a site has laid into its Globus collection."""


@frozen
class Speed:
    """What is known of a route between two sites."""

    setup_s: float
    bytes_per_s: float
    samples: int = 0
    failures: int = 0
    """In a row."""
    failed_at: float = 0.0
    problem: str = ""
    """What went wrong the last time."""

    def seconds(self, size: int) -> float:
        """The estimate for an object of ``size`` bytes."""
        return self.setup_s + size / self.bytes_per_s

    def learned(self, *, setup_s: float, size: int, elapsed_s: float) -> Speed:
        """With one more transfer that went well. The first one replaces the guess."""
        weight = _WEIGHT if self.samples else 1.0
        rate = size / max(elapsed_s - setup_s, 1e-6)
        told = size >= 1 << 20  # a small object says nothing of the bandwidth
        return Speed(
            (1 - weight) * self.setup_s + weight * setup_s, (1 - weight) * self.bytes_per_s + weight * rate if told else self.bytes_per_s,
            self.samples + 1)

    def failed(self, now: float, problem: str) -> Speed:
        """With one more failure."""
        return evolve(self, failures=self.failures + 1, failed_at=now, problem=problem)

    def penalty_s(self, now: float) -> float:
        """How much longer it is passed over if there is another."""
        if not self.failures:
            return 0.0
        most: float = min(_LONGEST_PENALTY_S, _PENALTY_S * 2 ** (self.failures - 1))
        return max(0.0, self.failed_at + most - now)


GUESSES: Mapping[str, Speed] = {
    BUCKET: Speed(0.2, 100e6), GLOBUS: Speed(10.0, 400e6), DIRECT: Speed(0.05, 120e6), URL: Speed(0.2, 80e6), RELAY: Speed(0.5, 20e6),
}

Pair = tuple[str, str, str]
"""Source site, destination site, route."""


@frozen
class Question:
    """What is to be decided."""

    size: int
    here: Site
    host: str
    """This machine's `host_id`."""
    replicas: Sequence[Replica]
    """The origin first, then copies."""
    sites: Mapping[str, Site]
    speeds: Mapping[Pair, Speed] = field(factory=dict)
    now: float = 0.0
    allowed: Sequence[str] = NAMES
    """Routes that this machine may and can use."""
    relay: bool = False
    """Whether the service has one."""


@frozen
class Option:
    """One way to get it."""

    route: str
    source: Replica
    seconds: float
    """Estimated; what failed lately has its penalty on top."""
    why: str

    def __str__(self) -> str:
        return f"{self.route} from {self.source.site or '?'}: {self.seconds:.2f} s ({self.why})"


@frozen
class Plan:
    """Ways to get it, best first, and why others were ruled out."""

    options: tuple[Option, ...]
    ruled_out: tuple[str, ...]

    def explain(self) -> str:
        """The choice and its reasons, for people."""
        chosen = "; then ".join(map(str, self.options)) or "no route"
        return chosen + (f"; ruled out: {'; '.join(self.ruled_out)}" if self.ruled_out else "")


def plan(question: Question) -> Plan:
    """The ways to get one object here, best first. What lies in a store of this site needs none."""
    for replica in question.replicas:
        if replica.store in question.here.stores:
            return Plan((Option(LOCAL, replica, 0.0, "it is at this site"),), ())
    options: list[Option] = []
    ruled_out: list[str] = []
    for replica in question.replicas:
        source = question.sites.get(replica.site, Site(replica.site))
        for route in _routes_from(replica):
            reason = _ruled_out(route, replica, source, question)
            if reason:
                ruled_out.append(f"{route} from {replica.site or '?'}: {reason}")
            else:
                options.append(_option(route, replica, question))
    order = {name: place for place, name in enumerate(NAMES)}
    return Plan(tuple(sorted(options, key=lambda option: (option.seconds, order[option.route]))), tuple(ruled_out))


def _routes_from(replica: Replica) -> Sequence[str]:
    """A copy in the relay is had from the relay only, one laid into a Globus collection by Globus only."""
    if replica.store.startswith(RELAY_STORE):
        return (RELAY,)
    if replica.store.startswith(f"{GLOBUS_EXPORT}:"):
        return (GLOBUS,)
    return NAMES


def _option(route: str, replica: Replica, question: Question) -> Option:
    speed = question.speeds.get((replica.site, question.here.name, route))
    known = speed or GUESSES[route]
    penalty = known.penalty_s(question.now)
    why = f"{known.bytes_per_s / 1e6:.0f} MB/s, set-up {known.setup_s:.2f} s, " + (f"measured {speed.samples} times" if speed and speed.samples else "a guess")
    if penalty:
        why += f"; failed {question.now - known.failed_at:.0f} s ago: {known.problem}"
    return Option(route, replica, known.seconds(question.size) + penalty, why)


def _ruled_out(route: str, replica: Replica, source: Site, question: Question) -> str:
    """Why a route cannot be used at all; empty where it can."""
    if route not in question.allowed:
        return "not allowed here"
    match route:
        case "bucket":
            return _no_bucket(replica, source, question)
        case "globus":
            both = source.globus.collection and question.here.globus.collection
            return "" if both else "not both sites have a collection"
        case "direct":
            return _no_direct(source, question.host)
        case "url":
            return "" if replica.store in source.published else "the site does not publish this store"
        case _:
            return _no_relay(replica, source, question)


def _no_bucket(replica: Replica, source: Site, question: Question) -> str:
    if any(replica.store.startswith(bucket) for bucket in question.here.buckets):
        return ""
    if not set(source.buckets) & set(question.here.buckets):
        return "no bucket that both sites share"
    return "" if source.online else "nobody is online there to upload it"


def _no_direct(source: Site, host: str) -> str:
    servers = [endpoint for endpoint in source.endpoints if endpoint.data_url]
    if not servers:
        return "the site has no data server"
    if not any(endpoint.online for endpoint in servers):
        return "its data server is offline"
    reachable = [endpoint for endpoint in servers if endpoint.host == host or not is_loopback(endpoint.data_url)]
    return "" if reachable else "its data server listens on loopback of another machine"


def _no_relay(replica: Replica, source: Site, question: Question) -> str:
    if not question.relay:
        return "the service has none"
    if replica.store.startswith(RELAY_STORE) or source.online:
        return ""
    return "nobody is online there to upload it"


def is_loopback(url: str) -> bool:
    """Whether only the machine itself can use this URL."""
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
