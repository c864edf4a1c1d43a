"""Where the job runs: at the endpoints that were named, at the one that runs here, or at private ones that end with the job."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress

from attrs import frozen

from fedproxy import Client
from fedproxy.cli.demo.cluster import running_cluster
from fedproxy.errors import FedproxyError, MissingExtraError
from fedproxy.patterns.mapreduce.places import bare

PAYLOAD_BYTES = 64_000_000
SITES = ("siteA", "siteB")


@frozen
class Where:
    """A client and the endpoints to use; the first one reduces."""

    client: Client
    endpoints: tuple[str, ...]
    title: str
    store: str | None = None
    """For intermediate data: a kind, or a URL."""


@contextmanager
def places(named: Sequence[str], *, backend: str | None, federated: bool) -> Iterator[Where]:
    """Endpoints for the length of the block; what was started for it ends with it.

    Without names: the endpoint that runs here (`fedproxy up`), if it has a store of that kind; else a private service with an endpoint of its own.
    """
    running = None if federated or named else running_here(backend)
    if named or running is not None:
        title = f"endpoint {running!r}, which runs here" if running else f"endpoints {', '.join(named)}"
        with Client() as client:
            yield Where(client, (running,) if running else tuple(named), title, backend)
        return
    names, workers = (SITES, max(1, _cpus() // 2)) if federated else (("mapreduce",), _cpus())
    redis = 1 if backend == "redis" else 0
    with ExitStack() as stack:
        store = stack.enter_context(_own_s3()) if backend == "s3" else backend
        stack.enter_context(running_cluster(names, payload_limit_bytes=PAYLOAD_BYTES, workers=workers, redis=redis))
        client = stack.enter_context(Client())
        title = f"{len(names)} private endpoint{'s' * (len(names) > 1)} of {workers} worker{'s' * (workers > 1)}"
        yield Where(client, names, title + f" and {backend}" * (backend in ("redis", "s3")), store)


@contextmanager
def _own_s3() -> Iterator[str]:
    """A stand-in that speaks S3 (moto), for trying; its store's URL."""
    try:
        from fedproxy.testing.servers import s3_server
    except ImportError as exc:
        raise MissingExtraError(f"a private S3 needs {exc.name}", hint="pip install 'fedproxy[test]', or give your own: --backend s3://BUCKET/FOLDER") from exc
    os.environ |= {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
    with s3_server() as endpoint:
        yield f"s3://bucket/mapreduce?endpoint_url={endpoint}"


def running_here(backend: str | None) -> str | None:
    """An endpoint of this machine's service that is online and has a store of this kind."""
    with suppress(FedproxyError), Client() as client:
        for endpoint in client.get_endpoints():
            stores = endpoint.get("profile", {}).get("stores", ())
            fits = backend is None or "://" in backend or any(bare(url).startswith(backend) for url in stores)
            if endpoint.get("online") and fits:
                return str(endpoint["name"])
    return None


def _cpus() -> int:
    return len(os.sched_getaffinity(0))
