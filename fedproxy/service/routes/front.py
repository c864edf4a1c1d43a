"""What the short way leads to: a batch of tasks, and a stream of results, as bytes in and out."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator

from starlette.responses import Response

from fedproxy.errors import FedproxyError
from fedproxy.service.core import Core
from fedproxy.service.intake import Intake
from fedproxy.service.routes.answers import defect_response, error_response, user_with
from fedproxy.service.routes.tasks import accept, results
from fedproxy.service.streams import Write

log = logging.getLogger(__name__)


class RouteFront:
    """Both requests, for `short_way`; the routes of the same names do the same."""

    def __init__(self, core: Core, intake: Intake) -> None:
        self._core, self._intake = core, intake

    async def submit(self, token: str, data: bytes) -> Response:
        """The answer to a batch of tasks, also where it is an error."""
        try:
            user = user_with(self._core, token)
            with self._core.admission.reading(user, len(data)):
                return await accept(self._intake, user, data)
        except FedproxyError as exc:
            return error_response(exc)
        except Exception:  # the boundary of a request
            log.exception("submit failed")
            return defect_response()

    def stream(self, token: str, group: str, after: int, write: Write) -> AsyncGenerator[bytes, None] | Response:
        """Results as they end, or the error. What can be sent by ``write`` at once need not come out of the stream."""
        try:
            return results(self._core, user_with(self._core, token), group, after, write)
        except FedproxyError as exc:
            return error_response(exc)
