"""Workers in real Charliecloud containers."""

from __future__ import annotations

from fedproxy.config.containers import Containers
from tests.endpoint.containers.conftest import Engine, require
from tests.endpoint.containers.test_bubblewrap import label


def test_functions_run_in_their_images_and_containers_are_reused(engine: Engine, images: tuple[str, str]) -> None:
    require("ch-run", "charliecloud-runtime")
    engine.start(Containers(runtime="charliecloud"), max_workers=2)
    tasks = [(engine.submit(label, container=images[i % 2]), ("first", "second")[i % 2]) for i in range(10)]
    assert all(engine.result(task) == name for task, name in tasks)
    assert engine.run(label, container=images[0]) == "first"
    assert engine.details()["containers"]["warm"] >= 6
