"""Who an agent is: its keys, its registration with the service, and the lock that keeps a second agent out."""

from __future__ import annotations

import base64
import fcntl
import json
import logging
import os
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType

from attrs import asdict, frozen

from fedproxy.config.endpoint import EndpointConfig, LocalEngine
from fedproxy.config.home import host_id, private_dir, write_private
from fedproxy.config.locate import ServiceAddress, locate_service
from fedproxy.config.workers import accelerators
from fedproxy.endpoint.attached import Attached
from fedproxy.errors import AuthenticationError, EndpointInUseError, ServiceUnavailableError, VersionMismatchError
from fedproxy.protocol.messages import Welcome
from fedproxy.protocol.proof import Session, is_proved
from fedproxy.protocol.resources import Capacity
from fedproxy.protocol.tickets import Gate
from fedproxy.protocol.versions import UNDERSTOOD, mismatch_of
from fedproxy.wire.curve import KeyPair, load_or_create_keys
from fedproxy.wire.rest import RestClient

log = logging.getLogger(__name__)
_RETRY_S = 0.5
_GIVE_UP_S = 60.0
PIN_FILE = "service.pin"


@frozen
class Identity:
    """What the agent needs to connect."""

    endpoint_id: str
    address: str
    server_key: bytes
    keys: KeyPair
    journal: str
    boot: str
    rest: RestClient
    """The service, as this endpoint's user."""
    gate: Gate
    """Whose tickets its data server accepts."""
    clock_ahead_s: float
    """How far the service's clock is ahead of this machine's."""
    service: str = ""
    """The service's own key, pinned; empty for a service that has none."""

    def is_proved(self, incarnation: str, welcome: Welcome) -> bool:
        """Whether the pinned service opened this session."""
        if not self.service:
            return True
        return is_proved(Session(self.endpoint_id, incarnation, welcome.epoch, self.server_key.decode()), welcome.proof, self.service)


@contextmanager
def only_agent(directory: Path) -> Iterator[None]:
    """Hold the endpoint's folder for this process.

    Raises:
        EndpointInUseError: another process holds it.
    """
    private_dir(directory)
    descriptor = os.open(directory / "agent.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            raise EndpointInUseError(
                f"an agent of the endpoint in {directory} is already running", hint="see `fedproxy endpoint list`; stop it first") from exc
        yield
    finally:
        os.close(descriptor)


def boot_id() -> str:
    """The kernel's name for this run of the machine."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return "unknown"


def journal_id(directory: Path) -> str:
    """The journal's name: as old as the journal itself."""
    path = directory / "journal.id"
    if not path.exists() or not (directory / "journal").exists():
        write_private(path, uuid.uuid4().hex.encode())
    return path.read_text()


def profile_of(config: EndpointConfig, redis_url: str = "", data: Mapping[str, object] = MappingProxyType({})) -> dict[str, object]:
    """What the service and clients may know of this endpoint. Never a secret."""
    return {
        **({"redis": redis_url} if redis_url else {}),
        "site": config.site, "host": host_id(), "stores": list(config.store_urls()), "display_name": config.display_name,
        "python": sys.version.split()[0], "engine": config.engine.type, "workers": config.engine.max_workers,
        **({"capacity": asdict(capacity_of(config.engine))} if isinstance(config.engine, LocalEngine) else {}),
        "user_config_keys": list(config.user_config_keys), **data}


def capacity_of(engine: LocalEngine) -> Capacity:
    """What this machine has for tasks that ask for something."""
    return Capacity(engine.cores, engine.memory_mb, len(accelerators(engine.available_accelerators)))


def register(config: EndpointConfig, directory: Path, attached: Attached, data: Mapping[str, object]) -> Identity:
    """Register with the service; waits up to a minute for it to come up.

    Raises:
        ServiceUnavailableError: the service did not answer.
        AuthenticationError: it does not accept the token, or is not the service that is pinned.
        EndpointInUseError: another agent is connected as this endpoint.
        VersionMismatchError: its protocol is too far from ours; the message says what to upgrade.
    """
    keys = load_or_create_keys(directory / "curve.json")
    body = {"name": config.name, "public_key": keys.public.decode(), "profile": profile_of(config, attached.url, data), "versions": sorted(UNDERSTOOD)}
    answer, rest = _ask(lambda: _locate(config), body)
    wrong = mismatch_of("the service", tuple(answer.get("versions", ())))  # type: ignore[arg-type]
    if wrong is not None:
        raise VersionMismatchError(wrong.replace("this side", f"endpoint {config.name!r}"))
    service = pinned(directory, str(answer.get("identity", "")), config.service_key)
    gate = Gate(base64.b64decode(str(answer["ticket_key"])), str(answer["id"]), str(answer["user"]))
    write_private(directory / "endpoint.id", str(answer["id"]).encode())
    return Identity(str(answer["id"]), str(answer["address"]), str(answer["server_key"]).encode(), keys, journal_id(directory), boot_id(), rest, gate,
                    float(str(answer["now"])) - time.time(), service)


def pinned(directory: Path, offered: str, configured: str = "") -> str:
    """The key of the service that this endpoint belongs to: the configured one, else the one it met first, which is kept in ``service.pin``.

    Raises:
        AuthenticationError: ``offered`` is another one.
    """
    path = directory / PIN_FILE
    known = configured or (path.read_text().strip() if path.exists() else "")
    if known and known != offered:
        raise AuthenticationError(
            f"the service is not the one that this endpoint belongs to: its key is {offered[:16] or 'missing'}..., the pinned one {known[:16]}...",
            hint="if you meant to change the service: fedproxy endpoint start NAME --repin (or service_key in its config.yaml)")
    if offered and not known:
        write_private(path, offered.encode())
        log.info("pinned the service's key %s...", offered[:16])
    return offered


def _locate(config: EndpointConfig) -> ServiceAddress:
    return locate_service(config.service_url or None)


def _ask(where: Callable[[], ServiceAddress], body: Mapping[str, object]) -> tuple[dict[str, object], RestClient]:
    deadline = time.monotonic() + _GIVE_UP_S
    while True:
        try:
            address = where()
            client = RestClient(address.url, address.token)
            try:
                return client.json("POST", "/v1/endpoints", body), client
            except BaseException:
                client.close()
                raise
        except ServiceUnavailableError as exc:
            if time.monotonic() > deadline:
                raise
            log.info("waiting for the service: %s", exc)
            time.sleep(_RETRY_S)


def announce(directory: Path, endpoint_id: str, name: str) -> None:
    """Say in ``agent.json`` that this process serves the endpoint; a full disk stops nobody from doing so."""
    about = {"pid": os.getpid(), "endpoint_id": endpoint_id, "name": name, "started": time.time()}
    try:
        write_private(directory / "agent.json", json.dumps(about).encode())
    except OSError as exc:
        log.warning("cannot write to %s: %s", directory, exc)
