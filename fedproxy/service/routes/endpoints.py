"""Register and look at endpoints."""

from __future__ import annotations

import time
from typing import Any

import msgspec
from attrs import field, frozen
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from fedproxy.errors import EndpointInUseError, ProtocolError, ServiceUnavailableError, VersionMismatchError
from fedproxy.protocol.versions import UNDERSTOOD, mismatch_of
from fedproxy.service.contest import Verdict
from fedproxy.service.registry import Endpoint
from fedproxy.service.routes.answers import core_of, forwarder_of, read_body, ticket_terms, user_of

_BODY_BYTES = 256 * 1024
_NAME_CHARACTERS = 128


@frozen
class Registration:
    """What an endpoint tells of itself."""

    name: str
    public_key: str
    profile: dict[str, Any] = field(factory=dict)
    versions: tuple[int, ...] = (1,)


async def register(request: Request) -> Response:
    """POST a registration; answers with the endpoint's id and where to connect. The name is the identity: registering again keeps the id."""
    core, user = core_of(request), user_of(request)
    data = await read_body(request, _BODY_BYTES)
    try:
        wanted = msgspec.json.decode(data, type=Registration)
    except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
        raise ProtocolError(f"a registration that cannot be read: {exc}") from exc
    wrong = mismatch_of(f"endpoint {wanted.name!r}", wanted.versions)
    if wrong is not None:
        raise VersionMismatchError(wrong.replace("this side", "the service"))
    if not 0 < len(wanted.name) <= _NAME_CHARACTERS or len(wanted.public_key) != 40:
        raise ProtocolError("a registration needs a name and a CURVE public key of 40 characters")
    _claim(request, core.registry.named(user, wanted.name))
    endpoint = core.registry.register(user, wanted.name, wanted.public_key.encode(), wanted.profile)
    await core.commit.flush()
    state = request.app.state
    return JSONResponse({"id": endpoint.id, "address": state.zmq_address, "server_key": state.server_key, "identity": state.identity,
                         "versions": sorted(UNDERSTOOD), **ticket_terms(request, user)})


def _claim(request: Request, endpoint: Endpoint | None) -> None:
    """Nobody else may be that endpoint now: neither the profile nor the key of a connected agent is changed.

    Raises:
        EndpointInUseError: another agent is, for certain.
        ServiceUnavailableError: it looks so; in a few seconds it will be clear.
    """
    if endpoint is None:
        return
    verdict = forwarder_of(request).sessions.claim(endpoint.id, time.monotonic())
    if verdict is Verdict.IN_USE:
        raise EndpointInUseError(f"another agent is connected as endpoint {endpoint.name!r}", hint="stop it first, or give this one another name")
    if verdict is Verdict.UNSURE:
        raise ServiceUnavailableError(f"another agent is connected as endpoint {endpoint.name!r}: finding out whether it is alive", hint="try again soon")


def described(request: Request, endpoint: Endpoint) -> dict[str, Any]:
    """An endpoint as its owner may see it."""
    forwarder, core = forwarder_of(request), core_of(request)
    session = forwarder.sessions.get(endpoint.id)
    status = session.status if session is not None else None
    online = session is not None and session.online
    return {
        "id": endpoint.id, "name": endpoint.name, "online": online, "profile": endpoint.profile,
        "last_seen": time.time() - (time.monotonic() - session.heard) if session is not None and endpoint.seen else endpoint.seen,
        "queued": core.queues.length(endpoint.id), "in_flight": len(session.in_flight) if session is not None else 0,
        "workers": status.workers if status and online else 0, "idle": status.idle if status and online else 0,
        "queued_there": status.queued if status and online else 0,
        "report": msgspec.to_builtins(status.report) if status and online and status.report else None,
        "moving": core.transfers.load(endpoint.user, endpoint.id),
    }


async def listing(request: Request) -> Response:
    """GET the user's endpoints."""
    return JSONResponse([described(request, endpoint) for endpoint in core_of(request).registry.of(user_of(request))])


async def show(request: Request) -> Response:
    """GET one endpoint by name or id."""
    core, user = core_of(request), user_of(request)
    return JSONResponse(described(request, core.registry.find(user, request.path_params["name_or_id"])))


async def delete(request: Request) -> Response:
    """DELETE an endpoint that is not connected."""
    core, user = core_of(request), user_of(request)
    endpoint = core.registry.find(user, request.path_params["name_or_id"])
    if forwarder_of(request).sessions.online(endpoint.id):
        raise EndpointInUseError(f"endpoint {endpoint.name!r} is online", hint="stop it first: `fedproxy endpoint stop`")
    core.registry.delete(endpoint)
    await core.commit.flush()
    return Response(status_code=204)


ROUTES = [
    Route("/v1/endpoints", register, methods=["POST"]),
    Route("/v1/endpoints", listing),
    Route("/v1/endpoints/{name_or_id}", delete, methods=["DELETE"]),
    Route("/v1/endpoints/{name_or_id}", show),
]
