"""What every route shares: who asks, how errors are answered, how bodies are read."""

from __future__ import annotations

import base64
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from fedproxy import errors
from fedproxy.errors import FedproxyError

if TYPE_CHECKING:
    from fedproxy.service.core import Core
    from fedproxy.service.forwarder import Forwarder
    from fedproxy.service.intake import Intake

Route = Callable[[Request], Awaitable[Response]]

_STATUS: tuple[tuple[type[FedproxyError], int], ...] = (
    (errors.AuthenticationError, 401),
    (errors.NotFoundError, 404),
    (errors.ConflictError, 409),
    (errors.EndpointInUseError, 409),
    (errors.ServiceUnavailableError, 503),
    (errors.PayloadTooLargeError, 413),
    (errors.ServiceFullError, 507),
    (errors.VersionMismatchError, 426),
    (errors.ProtocolError, 400),
    (errors.ConfigError, 400),
    (errors.TicketError, 400),
    (errors.EndpointOfflineError, 503),
)


def error_response(exc: FedproxyError) -> Response:
    """An error as JSON: its name, message and hint."""
    if isinstance(exc, errors.ServiceBusyError):
        return JSONResponse({"error": type(exc).__name__, "message": exc.message, "hint": exc.hint, "retry_after_s": exc.retry_after_s}, exc.status,
                            {"Retry-After": str(max(1, round(exc.retry_after_s)))})
    status = next((code for kind, code in _STATUS if isinstance(exc, kind)), 500)
    return JSONResponse({"error": type(exc).__name__, "message": exc.message, "hint": exc.hint}, status)


def defect_response() -> Response:
    """What a client is told of a defect: nothing but that it is one."""
    return JSONResponse({"error": "ServiceError", "message": "the service failed; its log says why", "hint": None}, 500)


def core_of(request: Request) -> Core:
    """The service's parts."""
    core: Core = request.app.state.core
    return core


def ticket_terms(request: Request, user: str) -> dict[str, Any]:
    """What an endpoint needs to know to check tickets."""
    return {"user": user, "ticket_key": base64.b64encode(core_of(request).signer.public).decode(), "now": time.time()}


def forwarder_of(request: Request) -> Forwarder:
    """The service's forwarder."""
    forwarder: Forwarder = request.app.state.forwarder
    return forwarder


def intake_of(request: Request) -> Intake:
    """The service's intake."""
    intake: Intake = request.app.state.intake
    return intake


def user_of(request: Request) -> str:
    """The user whose token came with the request.

    Raises:
        AuthenticationError: there is no token, or it is not known.
    """
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return user_with(core_of(request), token if scheme.lower() == "bearer" else "")


def user_with(core: Core, token: str) -> str:
    """The user that a token belongs to.

    Raises:
        AuthenticationError: it is not known.
    """
    user = core.accounts.user_of(token) if token else None
    if user is None:
        raise errors.AuthenticationError("the service does not know this token", hint="set FEDPROXY_TOKEN, or use the token file of `fedproxy up`")
    return user


def declared_bytes(request: Request, limit_bytes: int) -> int:
    """How long a request's body says it is; one that does not say counts as long as it may be.

    Raises:
        PayloadTooLargeError: longer than ``limit_bytes``.
    """
    declared = request.headers.get("content-length")
    if declared is None:
        return limit_bytes
    if not declared.isdigit() or int(declared) > limit_bytes:
        raise _too_large(limit_bytes)
    return int(declared)


def _too_large(limit_bytes: int) -> errors.PayloadTooLargeError:
    return errors.PayloadTooLargeError(f"a request may have {limit_bytes:,} bytes", hint="send large objects through a store")


async def read_body(request: Request, limit_bytes: int) -> bytes:
    """The request's body.

    Raises:
        PayloadTooLargeError: it is longer than ``limit_bytes``; no more than that is read.
    """
    declared_bytes(request, limit_bytes)
    chunks: list[bytes] = []
    size = 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > limit_bytes:
                raise _too_large(limit_bytes)
            chunks.append(chunk)
    except ClientDisconnect:
        raise errors.ProtocolError("the sender hung up in the middle of a request") from None  # nobody hears it, and no defect is logged
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)
