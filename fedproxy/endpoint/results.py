"""Large results: put where the client can read them."""

from __future__ import annotations

import logging
from contextlib import suppress

from fedproxy.config.lifetimes import TASK_DATA_TTL_S
from fedproxy.errors import StoreError
from fedproxy.protocol.messages import Spec
from fedproxy.serialize import Frame, serialize
from fedproxy.store import Store, proxy_from_ref

log = logging.getLogger(__name__)


def store_result(value: object, frame: Frame, spec: Spec) -> Frame | None:
    """Put the frame in the first store that takes it; returns the frame of a proxy, or None where no store does."""
    for url in spec.result_stores:
        with suppress(StoreError):
            ref = Store.from_url(url).put_frame(frame, ttl=TASK_DATA_TTL_S)
            return serialize(proxy_from_ref(ref, kind=type(value)))
        log.warning("store %s did not take a result of %d bytes", url, frame.nbytes)
    return None
