"""Sites, tickets, copies and transfers."""

from __future__ import annotations

from typing import TypeVar

import msgspec
from attrs import asdict, frozen
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from fedproxy.errors import EndpointOfflineError, NotFoundError, ProtocolError
from fedproxy.protocol import messages as m
from fedproxy.protocol.codec import encode
from fedproxy.protocol.tickets import Grant
from fedproxy.service.replicas import Copy, Failure
from fedproxy.service.routes.answers import core_of, forwarder_of, read_body, user_of
from fedproxy.service.routes.endpoints import described
from fedproxy.service.signing import TICKET_S, issue
from fedproxy.service.transfers import ACTIVE, Report

T = TypeVar("T")
_BODY_BYTES = 8 * 1024 * 1024
_MOST_WAIT_S = 25.0
_LISTED = 1_000


@frozen
class TicketRequest:
    """For what a ticket is asked."""

    endpoint: str
    method: str
    objects: tuple[Grant, ...]


@frozen
class Changes:
    """What is new of copies."""

    add: tuple[Copy, ...] = ()
    remove: tuple[tuple[str, str], ...] = ()
    failed: tuple[Failure, ...] = ()


@frozen
class ExportRequest:
    """What a site is asked to make available to another."""

    site: str
    route: str
    objects: tuple[m.Exported, ...]
    place: str = ""


@frozen
class WaitRequest:
    """For which copies somebody waits."""

    objects: tuple[str, ...]
    route: str
    stores: tuple[str, ...]
    timeout_s: float = _MOST_WAIT_S


async def _asked(request: Request, kind: type[T]) -> T:
    data = await read_body(request, _BODY_BYTES)
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
        raise ProtocolError(f"a request that cannot be read: {exc}") from exc


async def sites(request: Request) -> Response:
    """GET the user's endpoints with what their sites offer, the key of tickets, and whether there is a relay."""
    core, user = core_of(request), user_of(request)
    endpoints = [described(request, endpoint) for endpoint in core.registry.of(user)]
    return JSONResponse({"endpoints": endpoints, "relay": core.relay.on, "user": user})


async def ticket(request: Request) -> Response:
    """POST a `TicketRequest` for one of the user's own endpoints."""
    core, user = core_of(request), user_of(request)
    wanted = await _asked(request, TicketRequest)
    endpoint = core.registry.find(user, wanted.endpoint)
    return JSONResponse({"ticket": issue(core.signer, user, endpoint, wanted.method, wanted.objects), "expires_in_s": TICKET_S})


async def change_replicas(request: Request) -> Response:
    """POST copies that were made, that are gone, or exports that failed."""
    core, user = core_of(request), user_of(request)
    changes = await _asked(request, Changes)
    if changes.remove:
        await core.replicas.remove(user, changes.remove)
    if changes.add:
        await core.replicas.add(user, changes.add)
    core.replicas.export_failed(user, changes.failed)
    return Response(status_code=204)


async def find_replicas(request: Request) -> Response:
    """POST names of objects; answers with their copies."""
    core, user = core_of(request), user_of(request)
    wanted = await _asked(request, WaitRequest)
    return JSONResponse([asdict(copy) for copy in core.replicas.find(user, wanted.objects)])


async def wait_replicas(request: Request) -> Response:
    """POST a `WaitRequest`; answers when all of it is there or has failed, or after a while with what there is."""
    core, user = core_of(request), user_of(request)
    wanted = await _asked(request, WaitRequest)
    copies, failures = await core.replicas.wait(user, wanted.objects, wanted.route, wanted.stores, min(wanted.timeout_s, _MOST_WAIT_S))
    return JSONResponse({"copies": [asdict(c) for c in copies], "failures": [asdict(f) for f in failures]})


async def export(request: Request) -> Response:
    """POST an `ExportRequest`: an endpoint of the user's at that site is asked."""
    core, user, forwarder = core_of(request), user_of(request), forwarder_of(request)
    wanted = await _asked(request, ExportRequest)
    there = [endpoint for endpoint in core.registry.of(user) if endpoint.profile.get("site") == wanted.site]
    if not there:
        raise NotFoundError(f"no endpoint of yours is at site {wanted.site!r}")
    core.replicas.export_begins(user, [each.object for each in wanted.objects], wanted.route)
    message = encode(m.Export(wanted.route, wanted.objects, wanted.place))
    for endpoint in there:
        session = forwarder.sessions.get(endpoint.id)
        if session is not None and forwarder.sessions.send(session, [message]):
            return JSONResponse({"endpoint": endpoint.id}, 202)
    raise EndpointOfflineError(f"no endpoint at site {wanted.site!r} is online", hint="start it with `fedproxy endpoint start`")


async def report(request: Request) -> Response:
    """POST reports of transfers; answers with the ids of those to be cancelled."""
    core, user = core_of(request), user_of(request)
    reports = await _asked(request, tuple[Report, ...])
    unwanted = core.transfers.report(user, reports)
    if any(each.state not in ACTIVE for each in reports):
        await core.commit.flush()  # those that are over are looked up in the ledger
    return JSONResponse({"cancel": unwanted})


async def listing(request: Request) -> Response:
    """GET the user's transfers: the latest that ended, then those under way."""
    return JSONResponse([asdict(each) for each in core_of(request).transfers.listing(user_of(request), _LISTED)])


async def show(request: Request) -> Response:
    """GET one transfer by its id or the beginning of it."""
    return JSONResponse(asdict(core_of(request).transfers.find(user_of(request), request.path_params["name"])))


async def cancel(request: Request) -> Response:
    """POST: ask for the end of a transfer."""
    return JSONResponse(asdict(core_of(request).transfers.cancel(user_of(request), request.path_params["name"])))


ROUTES = [
    Route("/v1/sites", sites),
    Route("/v1/tickets", ticket, methods=["POST"]),
    Route("/v1/replicas", change_replicas, methods=["POST"]),
    Route("/v1/replicas/find", find_replicas, methods=["POST"]),
    Route("/v1/replicas/wait", wait_replicas, methods=["POST"]),
    Route("/v1/exports", export, methods=["POST"]),
    Route("/v1/transfers", report, methods=["POST"]),
    Route("/v1/transfers", listing),
    Route("/v1/transfers/{name}", show),
    Route("/v1/transfers/{name}/cancel", cancel, methods=["POST"]),
]
