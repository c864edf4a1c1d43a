"""Register functions apart from tasks, and get them back: bytes under the name of their content."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from fedproxy.errors import UnknownFunctionError
from fedproxy.protocol.ids import function_hash
from fedproxy.service.routes.answers import core_of, read_body, user_of

_HASH_BYTES = 32


async def register(request: Request) -> Response:
    """POST a serialized function; answers with its id once it is durable. Registering again changes nothing."""
    core, user = core_of(request), user_of(request)
    body = await read_body(request, core.config.payload_limit_bytes)
    name = function_hash(body)
    core.catalog.add_function(user, name, body)
    await core.commit.flush()
    return JSONResponse({"function_id": name.hex()})


async def show(request: Request) -> Response:
    """GET a function's bytes, by its user only."""
    core, user, text = core_of(request), user_of(request), request.path_params["function_id"]
    try:
        name = bytes.fromhex(text)
    except ValueError:
        name = b""
    body = core.catalog.function(user, name) if len(name) == _HASH_BYTES else None
    if body is None:
        raise UnknownFunctionError(f"no function {text!r}", hint="client.register_function gives the id of a function")
    return Response(body, media_type="application/vnd.fedproxy")


ROUTES = [
    Route("/v1/functions", register, methods=["POST"]),
    Route("/v1/functions/{function_id}", show),
]
