"""The ASGI application."""

from __future__ import annotations

import logging
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from fedproxy.errors import FedproxyError
from fedproxy.service.core import Core
from fedproxy.service.forwarder import Forwarder
from fedproxy.service.intake import Intake
from fedproxy.service.routes import endpoints, functions, looking, meta, relay, tasks, transfers
from fedproxy.service.routes.answers import defect_response, error_response

log = logging.getLogger(__name__)


def _ours(_request: Request, exc: Exception) -> Response:
    assert isinstance(exc, FedproxyError)
    return error_response(exc)


def _defect(request: Request, exc: Exception) -> Response:
    log.error("%s %s failed", request.method, request.url.path, exc_info=exc)
    return defect_response()


def create_app(core: Core, forwarder: Forwarder, **state: Any) -> Starlette:
    """The application over one set of parts."""
    routes = [*tasks.ROUTES, *looking.ROUTES, *functions.ROUTES, *endpoints.ROUTES, *meta.ROUTES, *transfers.ROUTES, *relay.ROUTES]
    app = Starlette(routes=routes, exception_handlers={FedproxyError: _ours, Exception: _defect})
    app.state.core, app.state.forwarder, app.state.intake = core, forwarder, Intake(core, forwarder)
    for name, value in state.items():
        setattr(app.state, name, value)
    return app
