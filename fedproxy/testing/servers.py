"""Real servers for tests and benchmarks: Redis or Valkey alone, as a cluster, over TLS or on a unix socket; S3.

Every server ends with the ``with`` block that it was started in.
"""

from __future__ import annotations

import contextlib
import datetime
import importlib
import ipaddress
import logging
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import redis
from attrs import frozen

from fedproxy.endpoint.redis_cluster import join
from fedproxy.endpoint.redis_node import CLUSTER_LINES, Door, free_port, redis_binary, write_config

HOST = "127.0.0.1"
_PORTS = 3
PASSWORD = "correct horse"  # noqa: S105 - of servers that live for one test


class ServerRefusedError(Exception):
    """The server ended at once: what it lacks is in the message."""


@frozen
class Server:
    """A running server. ``url`` has no password; ``kill`` and ``start`` let a test take it away and bring it back."""

    url: str
    port: int
    directory: Path
    config: Path
    password: str
    processes: list[subprocess.Popen[bytes]]
    connect: dict[str, Any]

    def client(self) -> Any:
        """redis-py, for looking behind the connector's back."""
        return redis.Redis(**self.connect)

    def kill(self) -> None:
        """End it at once (SIGKILL)."""
        _end(self.processes.pop(), signal.SIGKILL)

    def pause(self) -> None:
        """Let it hang: connections stay, nothing answers."""
        os.kill(self.processes[-1].pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        os.kill(self.processes[-1].pid, signal.SIGCONT)

    def start(self) -> None:
        """Start it (again) and wait until it answers."""
        binary = redis_binary()
        assert binary is not None
        log = (self.directory / "server.log").open("ab")
        with log:
            self.processes.append(
                subprocess.Popen([binary, str(self.config)], cwd=self.directory, stdout=log, stderr=log)
            )
        with contextlib.closing(self.client()) as client:
            wait_until(lambda: self._ended() or _answers(client, self.processes[-1].pid), f"redis on port {self.port}")
        if self._ended():
            log_text = (self.directory / "server.log").read_text(errors="replace")
            raise ServerRefusedError(f"{binary} did not start: {log_text[-500:]}")

    def _ended(self) -> bool:
        return self.processes[-1].poll() is not None


def _answers(client: Any, pid: int) -> bool:
    """Whether it does, and is not another test's server on a port that was free a moment ago."""
    try:
        return bool(client.info("server")["process_id"] == pid)
    except (redis.ConnectionError, redis.TimeoutError):
        return False


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float = 20.0) -> None:
    """Ask ``condition`` until it holds; fail after ``timeout_s``."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {timeout_s} s")
        time.sleep(0.02)


def _end(process: subprocess.Popen[bytes], sig: int = signal.SIGTERM) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGCONT)
        process.send_signal(sig)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(10)


@contextlib.contextmanager
def running(server: Server) -> Iterator[Server]:
    """``server`` from here to the end of the block, whatever happens in it."""
    try:
        server.start()
        yield server
    finally:
        while server.processes:
            _end(server.processes.pop(), signal.SIGKILL)


def redis_alone(
    directory: Path, *, password: str = PASSWORD, options: tuple[str, ...] = (), port: int | None = None
) -> Server:
    """One server on loopback with a password (empty: none)."""
    port = port or free_port()
    config = write_config(directory, (f"port {port}", f"bind {HOST}", *options), password=password)
    connect = {"host": HOST, "port": port, "password": password or None}
    return Server(f"redis://{HOST}:{port}", port, directory, config, password, [], connect)


def redis_on_unix_socket(directory: Path) -> Server:
    """One server on a unix socket only."""
    path = directory / "redis.sock"
    config = write_config(directory, ("port 0", f"unixsocket {path}", "unixsocketperm 700"), password=PASSWORD)
    connect = {"unix_socket_path": str(path), "password": PASSWORD}
    return Server(f"redis+unix://{path}", 0, directory, config, PASSWORD, [], connect)


def redis_over_tls(directory: Path) -> Server:
    """One server that speaks TLS only, with a certificate of an authority made for it."""
    port = free_port()
    ca, certificate, key = make_certificates(directory)
    config = write_config(directory, (
        "port 0", f"tls-port {port}", f"bind {HOST}", "tls-auth-clients no",
        f"tls-cert-file {certificate}", f"tls-key-file {key}", f"tls-ca-cert-file {ca}",
    ), password=PASSWORD)
    connect = {"host": HOST, "port": port, "password": PASSWORD, "ssl": True, "ssl_ca_certs": str(ca)}
    return Server(f"rediss://{HOST}:{port}?ca={ca}", port, directory, config, PASSWORD, [], connect)


@contextlib.contextmanager
def redis_cluster(directory: Path, nodes: int = 3, *, password: str = PASSWORD) -> Iterator[list[Server]]:
    """A cluster of masters without replicas, all slots served."""
    with contextlib.ExitStack() as stack:
        servers = []
        for index in range(nodes):
            folder = directory / f"node{index}"
            folder.mkdir(parents=True)
            servers.append(stack.enter_context(_running_node(folder, password)))
        join([Door(HOST, server.port, password) for server in servers])
        yield servers


@contextlib.contextmanager
def _running_node(folder: Path, password: str) -> Iterator[Server]:
    """A node of a cluster to be. A port that was free may be somebody else's a moment later; then another one is tried."""
    for attempt in range(_PORTS):
        with contextlib.ExitStack() as stack:
            try:
                server = stack.enter_context(running(redis_alone(folder, password=password, options=CLUSTER_LINES)))
            except ServerRefusedError:
                if attempt == _PORTS - 1:
                    raise
                continue
            yield server
            return


def cluster_url(servers: list[Server]) -> str:
    """The URL of a cluster."""
    return "rediscluster://" + ",".join(f"{HOST}:{server.port}" for server in servers)


def make_certificates(directory: Path) -> tuple[Path, Path, Path]:
    """A certificate authority, and a certificate with its key for loopback: paths of the three PEM files."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    def name(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    now = datetime.datetime.now(datetime.UTC)
    authority, own = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())

    def builder(subject: str, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        made = x509.CertificateBuilder().subject_name(name(subject)).issuer_name(name("test authority"))
        made = made.public_key(public).serial_number(x509.random_serial_number())
        return made.not_valid_before(now - datetime.timedelta(1)).not_valid_after(now + datetime.timedelta(1))

    root = builder("test authority", authority.public_key())
    root = root.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    leaf = builder("localhost", own.public_key()).add_extension(
        x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address(HOST))]),
        critical=False,
    )
    pem = serialization.Encoding.PEM
    files = {
        "ca.pem": root.sign(authority, hashes.SHA256()).public_bytes(pem),
        "server.pem": leaf.sign(authority, hashes.SHA256()).public_bytes(pem),
        "server.key": own.private_bytes(
            pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
    }
    for file, data in files.items():
        (directory / file).touch(mode=0o600)
        (directory / file).write_bytes(data)
    return directory / "ca.pem", directory / "server.pem", directory / "server.key"


@contextlib.contextmanager
def s3_server(bucket: str = "bucket", address: str = HOST) -> Iterator[str]:
    """An S3 server (moto) with one bucket; its endpoint URL. Credentials are anything that is not empty."""
    from moto.server import ThreadedMotoServer

    boto3 = importlib.import_module("boto3")

    log = logging.getLogger("werkzeug")  # it writes a line for each request
    level = log.level
    log.setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address=address, port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        endpoint = f"http://{host}:{port}"
        login = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}  # any will do
        client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", **login)
        client.create_bucket(Bucket=bucket)
        client.close()
        yield endpoint
    finally:
        server.stop()
        log.setLevel(level)
