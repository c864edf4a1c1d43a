"""Federated learning: ``python -m examples.colmena_like.federated``.

Three endpoints have handwritten digits of their own, each mostly of other kinds; no image ever leaves. In each round one proxy of the model goes to all
of them, each trains on what it has and gives back weights, and the mean weighted by the number of images is the next model (McMahan et al. 2017,
FederatedAveraging). One endpoint is killed in the middle of a round; the others go on. At the end the accuracy is compared with that of a model that was
trained on all images in one place.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import wait
from pathlib import Path
from typing import Any

import numpy as np
from attrs import define, field
from rich.console import Console
from rich.table import Table

from fedproxy import Client, Executor, FedproxyError, Store
from fedproxy.cli import programs
from fedproxy.cli.demo.cluster import running_cluster

Weights = list[Any]
HIDDEN, CLASSES, PIXELS = 48, 10, 64
SITES = ("hospital-a", "hospital-b", "hospital-c")
TEST_SHARE = 4
"""Every fourth image is kept for the test, and is at no site."""


def new_model(seed: int) -> Weights:
    """A network of one hidden layer: two matrices and two rows of biases."""
    random = np.random.default_rng(seed)
    return [random.normal(0, 0.15, (PIXELS, HIDDEN)), np.zeros(HIDDEN), random.normal(0, 0.15, (HIDDEN, CLASSES)), np.zeros(CLASSES)]


def scores(model: Weights, images: Any) -> tuple[Any, Any]:
    """Hidden activations and class probabilities, images x HIDDEN and images x CLASSES."""
    hidden = np.tanh(images @ model[0] + model[1])
    raw = hidden @ model[2] + model[3]
    exponents = np.exp(raw - raw.max(axis=1, keepdims=True))
    return hidden, exponents / exponents.sum(axis=1, keepdims=True)


def fit(model: Weights, images: Any, digits: Any, *, epochs: int, seed: int, step: float = 0.2, batch: int = 32) -> Weights:
    """Stochastic gradient descent on the cross entropy, from ``model``."""
    model, random = [np.array(part) for part in model], np.random.default_rng(seed)
    for _ in range(epochs):
        for chosen in np.array_split(random.permutation(len(images)), max(1, len(images) // batch)):
            hidden, wrong = scores(model, images[chosen])
            wrong[np.arange(len(chosen)), digits[chosen]] -= 1
            wrong /= len(chosen)
            inner = wrong @ model[2].T * (1 - hidden**2)
            slopes = (images[chosen].T @ inner, inner.sum(axis=0), hidden.T @ wrong, wrong.sum(axis=0))
            model = [part - step * slope for part, slope in zip(model, slopes, strict=True)]
    return model


def accuracy(model: Weights, images: Any, digits: Any) -> float:
    """Share of images whose digit is found, 0 to 1."""
    return float((scores(model, images)[1].argmax(axis=1) == digits).mean())


def digits_of(part: str, sites: int, site: int = -1) -> tuple[Any, Any]:
    """Images (n x 64, 0 to 1) and digits: ``test``, ``all`` that is not the test, or one ``site``'s: mostly of a few kinds of digits."""
    from sklearn.datasets import load_digits

    images, digits = load_digits(return_X_y=True)
    numbers = np.arange(len(digits))
    is_test = numbers % TEST_SHARE == 0
    home = np.where(numbers % 3 > 0, digits % sites, numbers // 3 % sites)
    chosen = is_test if part == "test" else ~is_test if part == "all" else ~is_test & (home == site)
    return images[chosen] / 16.0, digits[chosen]


# ---------------------------------------------------------------- what runs at the sites


def collect(folder: str, sites: int, site: int) -> int:
    """What the site's instrument has written to its disk; how many images."""
    images, digits = digits_of("site", sites, site)
    Path(folder).mkdir(parents=True, exist_ok=True)
    np.savez(f"{folder}/images.npz", images=images, digits=digits)
    return len(images)


def train_at_site(model: Weights, folder: str, epochs: int, seed: int, pause_s: float = 0.0) -> tuple[Weights, int]:
    """A model that was trained further on the images of this site, and how many there are. Only weights leave."""
    time.sleep(pause_s)
    with np.load(f"{folder}/images.npz") as own:
        return fit(list(model), own["images"], own["digits"], epochs=epochs, seed=seed), len(own["images"])


# ---------------------------------------------------------------- what runs here


def averaged(answers: Sequence[tuple[Weights, int]]) -> Weights:
    """The mean of models, weighted by how many images each has seen."""
    total = sum(count for _, count in answers)
    return [sum(count / total * parts[place] for parts, count in answers) for place in range(len(answers[0][0]))]


@define
class Federation:
    """The sites that answer, and the store that all of them reach."""

    executors: dict[str, Executor]
    folders: dict[str, str]
    store: Store
    round_s: float
    lost: list[str] = field(factory=list)

    def round(self, model: Weights, *, number: int, epochs: int, kill: Mapping[str, int] | None = None) -> Weights:
        """The next model. A site that has not answered when the time is up is left out from then on.

        Args:
            kill: name and process of an agent to kill while its site trains.
        """
        proxy = self.store.proxy(model)
        futures = {
            name: executor.submit(train_at_site, proxy, self.folders[name], epochs, number, 1.0 if kill else 0.0) for name, executor in self.executors.items()
        }
        for executor in self.executors.values():
            executor.flush()
        for pid in (kill or {}).values():
            os.kill(pid, signal.SIGKILL)
        expected = [future for name, future in futures.items() if name not in (kill or {})]
        wait(expected, timeout=self.round_s)
        answers = []
        for name, future in futures.items():
            if future.done() and future.exception() is None:
                answers.append(future.result())
            else:
                self.lost.append(name)
                self.executors.pop(name).shutdown(wait=False)
        if not answers:
            raise FedproxyError(f"no site answered within {self.round_s:g} s", hint="see `fedproxy endpoint status`")
        self.store.evict(proxy)
        return averaged(answers)


def run(rounds: int, epochs: int, kill_at: int | None) -> dict[str, Any]:
    """All rounds; how accurate the model became, and one trained in one place."""
    test, everything = digits_of("test", len(SITES)), digits_of("all", len(SITES))
    with tempfile.TemporaryDirectory(prefix="fedproxy-federated-") as folder, running_cluster(SITES, payload_limit_bytes=10_000_000), Client() as client:
        executors = {name: Executor(name, client=client) for name in SITES}
        folders = {name: f"{folder}/{name}" for name in SITES}
        federation = Federation(executors, folders, Store.from_url(f"file://{folder}/shared"), round_s=60.0)
        counts = {name: executors[name].submit(collect, folders[name], len(SITES), site).result() for site, name in enumerate(SITES)}
        model, curve = new_model(0), []
        for number in range(rounds):
            kill = {SITES[-1]: programs.endpoint(SITES[-1]).pid() or 0} if number == kill_at else None
            model = federation.round(model, number=number, epochs=epochs, kill=kill)
            curve.append(accuracy(model, *test))
        central = fit(new_model(0), *everything, epochs=rounds * epochs, seed=0)
        for executor in executors.values():
            executor.shutdown(wait=False)
        federation.store.close(clear=True)
    return {"images": counts, "lost": federation.lost, "accuracy": curve, "centralised": accuracy(central, *test)}


def main(given: Sequence[str] | None = None) -> int:
    """Run it; 0 where the federated model is within five points of the centralised one."""
    parser = argparse.ArgumentParser(prog="python -m examples.colmena_like.federated", description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--epochs", type=int, default=2, help="of each site in each round")
    parser.add_argument("--kill-at", type=int, default=12, metavar="ROUND", help="kill an endpoint in the middle of this round; -1: never")
    chosen = parser.parse_args(given)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    try:
        found = run(chosen.rounds, chosen.epochs, chosen.kill_at)
    except FedproxyError as exc:
        print(f"error: {exc}", file=sys.stderr)
        return 1
    sites = ", ".join(f"{name} ({count} images)" for name, count in found["images"].items())
    lost = f"; lost on the way: {', '.join(found['lost'])}" if found["lost"] else ""
    table = Table("model", "trained on", "accuracy", title=f"{chosen.rounds} rounds at {sites}")
    table.add_row("federated", f"weights that came back{lost}", f"{found['accuracy'][-1]:.3f}")
    table.add_row("centralised", "all images in one place", f"{found['centralised']:.3f}")
    Console().print(table)
    return 0 if found["accuracy"][-1] > found["centralised"] - 0.05 else 2


if __name__ == "__main__":
    sys.exit(main())
