"""The relay over HTTP: PUT parts in order, GET ranges."""

from __future__ import annotations

import re

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from fedproxy.errors import ProtocolError
from fedproxy.service.routes.answers import core_of, user_of

_RANGE = re.compile(r"bytes=(\d{1,15})-(\d{1,15})")


async def put(request: Request) -> Response:
    """PUT bytes from ``start`` of an object of ``total``; answers with how many are there now."""
    relay, user = core_of(request).relay, user_of(request)
    start, total = request.query_params.get("start", "0"), request.query_params.get("total", "")
    if not (start.isdigit() and total.isdigit() and len(start) < 16 and len(total) < 16):
        raise ProtocolError("start and total are numbers of bytes")
    held = await relay.put(user, request.path_params["name"], int(start), int(total), request.stream())
    return JSONResponse({"received": held.received, "complete": held.complete})


async def head(request: Request) -> Response:
    """GET how much of an object is there."""
    held = core_of(request).relay.held(user_of(request), request.path_params["name"])
    return JSONResponse({"received": held.received, "complete": held.complete})


async def get(request: Request) -> Response:
    """GET an object that is whole, or the range that is asked for."""
    relay, user, name = core_of(request).relay, user_of(request), request.path_params["name"]
    held = relay.held(user, name)
    if not held.complete:
        return JSONResponse({"error": "NotFoundError", "message": "it is still arriving", "hint": None}, 404)
    asked = _RANGE.fullmatch(request.headers.get("range", ""))
    start, end = (int(asked[1]), min(int(asked[2]) + 1, held.received)) if asked else (0, held.received)
    headers = {"Content-Length": str(max(0, end - start)), "Content-Range": f"bytes {start}-{end - 1}/{held.received}"}
    return StreamingResponse(relay.read(user, name, start, end), 206 if asked else 200, headers, "application/octet-stream")


async def delete(request: Request) -> Response:
    """DELETE an object."""
    core_of(request).relay.delete(user_of(request), request.path_params["name"])
    return Response(status_code=204)


ROUTES = [
    Route("/v1/relay/{name}", put, methods=["PUT"]),
    Route("/v1/relay/{name}", delete, methods=["DELETE"]),
    Route("/v1/relay/{name}", get),
    Route("/v1/relay/{name}/state", head),
]
