from __future__ import annotations

import pytest

from fedproxy.config.endpoint import ParslEngine, Scaling
from tests.endpoint.engines.suite import EngineSuite

pytest.importorskip("parsl")


@pytest.mark.slow
class TestParslEngine(EngineSuite):
    @pytest.fixture
    def config(self) -> ParslEngine:
        return ParslEngine(provider={"type": "LocalProvider", "init_blocks": 1, "max_blocks": 1}, max_workers=2, scaling=Scaling(status_s=1.0))
