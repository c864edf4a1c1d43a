"""Which route is chosen, and why others are not."""

from __future__ import annotations

import pytest
from attrs import evolve

from fedproxy.transfer.objects import Replica
from fedproxy.transfer.plan import BUCKET, DIRECT, GLOBUS, GUESSES, RELAY, URL, Question, Speed, plan
from fedproxy.transfer.sites import Endpoint, GlobusOffer, Site

STORE = "file:///data?id=1"
AGENT = Endpoint("id-a", "a", online=True, host="host-a", data_url="http://198.51.100.1:7000")
A = Site("A", (AGENT,), frozenset({STORE}))
B = Site("B")
ORIGIN = Replica("A", STORE, "k")


def ask(source: Site = A, here: Site = B, **more: object) -> Question:
    return evolve(Question(10_000_000, here, "host-b", [ORIGIN], {"A": source, "B": here}), **more)


def routes(question: Question) -> list[str]:
    return [option.route for option in plan(question).options]


def test_what_lies_at_this_site_is_not_moved():
    (option,) = plan(ask(here=evolve(B, stores=frozenset({"file:///b"})), replicas=[ORIGIN, Replica("B", "file:///b", "x")])).options
    assert (option.route, option.seconds) == ("local", 0.0)


@pytest.mark.parametrize(("source", "here", "more", "expected"), [
    (A, B, {}, [DIRECT]),
    (evolve(A, endpoints=(evolve(AGENT, data_url="http://127.0.0.1:7000"),)), B, {}, []),
    (evolve(A, endpoints=(evolve(AGENT, data_url="http://127.0.0.1:7000"),)), B, {"host": "host-a"}, [DIRECT]),
    (evolve(A, endpoints=(evolve(AGENT, online=False),)), B, {"relay": True}, []),
    (evolve(A, endpoints=(evolve(AGENT, data_url=""),)), B, {"relay": True}, [RELAY]),
    (evolve(A, buckets=("s3://b",)), evolve(B, buckets=("s3://b",)), {}, [DIRECT, BUCKET]),
    (evolve(A, published={STORE: "https://example.org/data"}), B, {"allowed": (URL,)}, [URL]),
    (evolve(A, globus=GlobusOffer("c1")), evolve(B, globus=GlobusOffer("c2")), {"allowed": (GLOBUS,)}, [GLOBUS]),
])
def test_only_routes_that_both_sites_offer_are_options(source, here, more, expected):
    assert routes(ask(source, here, **more)) == expected


def test_a_copy_that_somebody_else_has_staged_is_a_source_too():
    c = Site("C", (evolve(AGENT, id="id-c"),))
    offline = evolve(A, endpoints=(evolve(AGENT, online=False),))
    question = evolve(ask(offline), replicas=[ORIGIN, Replica("C", "file:///c", "x")], sites={"A": offline, "C": c})
    assert [(option.route, option.source.site) for option in plan(question).options] == [(DIRECT, "C")]


def test_large_objects_go_where_the_bandwidth_is_and_small_ones_where_the_setup_is_short():
    both = {"source": evolve(A, globus=GlobusOffer("c1")), "here": evolve(B, globus=GlobusOffer("c2"))}
    assert routes(ask(**both, size=1_000))[0] == DIRECT
    assert routes(ask(**both, size=100_000_000_000))[0] == GLOBUS


def test_measurements_replace_guesses():
    slow = GUESSES[DIRECT].learned(setup_s=0.1, size=10_000_000, elapsed_s=100.0)
    assert slow.bytes_per_s == pytest.approx(10_000_000 / 99.9)
    question = ask(relay=True, speeds={("A", "B", DIRECT): slow})
    assert routes(question) == [RELAY, DIRECT]


def test_later_measurements_count_by_a_moving_average():
    first = GUESSES[DIRECT].learned(setup_s=0.0, size=10_000_000, elapsed_s=1.0)
    second = first.learned(setup_s=0.0, size=20_000_000, elapsed_s=1.0)
    assert second.bytes_per_s == pytest.approx(13_000_000)
    assert second.learned(setup_s=0.0, size=1000, elapsed_s=1.0).bytes_per_s == second.bytes_per_s, "a small object says nothing of the bandwidth"


def test_a_route_that_failed_is_passed_over_for_a_while_and_for_longer_each_time():
    failed = GUESSES[DIRECT].failed(100.0, "connection refused")
    question = ask(relay=True, speeds={("A", "B", DIRECT): failed}, now=101.0)
    assert routes(question) == [RELAY, DIRECT]
    assert "connection refused" in plan(question).explain()
    assert routes(evolve(question, now=111.0)) == [DIRECT, RELAY]
    assert failed.failed(200.0, "again").penalty_s(200.0) == 2 * failed.penalty_s(100.0)
    assert failed.learned(setup_s=0.1, size=1000, elapsed_s=0.2).penalty_s(101.0) == 0.0


def test_the_explanation_names_the_choice_and_what_was_ruled_out():
    text = plan(ask()).explain()
    assert text.startswith("direct from A: ")
    assert "relay from A: the service has none" in text


def test_a_guess_is_not_called_a_measurement():
    assert "a guess" in plan(ask()).options[0].why
    assert "measured 1 times" in plan(ask(speeds={("A", "B", DIRECT): Speed(0.1, 1e6, 1)})).options[0].why
