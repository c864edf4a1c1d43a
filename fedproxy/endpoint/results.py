"""Large results: put where the client can read them."""

from __future__ import annotations

import logging
from contextlib import suppress

from attrs import evolve

from fedproxy.config.lifetimes import TASK_DATA_TTL_S
from fedproxy.errors import StoreError
from fedproxy.protocol.messages import Spec
from fedproxy.serialize import Frame, serialize
from fedproxy.store import Store, proxy_from_ref
from fedproxy.store.elsewhere import ANY_STORE, agent_stager

log = logging.getLogger(__name__)


def _stores(spec: Spec) -> tuple[str, ...]:
    """Those that the client reads in place; else, where it fetches what is elsewhere, this site's own."""
    agent = agent_stager() if ANY_STORE in spec.result_stores else None
    return agent.stores if agent is not None else tuple(url for url in spec.result_stores if url != ANY_STORE)


def store_result(value: object, frame: Frame, spec: Spec) -> Frame | None:
    """Put the frame in the first store that takes it; returns the frame of a proxy, or None where no store does."""
    for url in _stores(spec):
        with suppress(StoreError):
            ref = Store.from_url(url).put_frame(frame, ttl=TASK_DATA_TTL_S)
            if (agent := agent_stager()) is not None:
                ref = evolve(ref, site=agent.site)
            return serialize(proxy_from_ref(ref, kind=type(value)))
        log.warning("store %s did not take a result of %d bytes", url, frame.nbytes)
    return None
