"""Health, versions, counters."""

from __future__ import annotations

import time

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from fedproxy.protocol.versions import UNDERSTOOD
from fedproxy.service.routes.answers import core_of, user_of


async def health(request: Request) -> Response:
    """GET: the service answers. The only route that needs no token."""
    return JSONResponse({"status": "ok", "now": time.time(), "protocol": sorted(UNDERSTOOD)})


async def whoami(request: Request) -> Response:
    """GET: the user of the token, and the limits that hold for it."""
    core, user = core_of(request), user_of(request)
    return JSONResponse({"user": user, "payload_limit_bytes": core.config.payload_limit_bytes, "protocol": sorted(UNDERSTOOD)})


async def stats(request: Request) -> Response:
    """GET: the user's counters since the service started."""
    return JSONResponse(core_of(request).stats.as_dict(user_of(request)))


ROUTES = [Route("/v1/health", health), Route("/v1/whoami", whoami), Route("/v1/stats", stats)]
