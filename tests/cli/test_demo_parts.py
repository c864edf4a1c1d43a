"""The demo's parts, without the programs."""

from __future__ import annotations

from collections import Counter

import pytest

from fedproxy.cli.demo import account, corpus, words
from fedproxy.cli.demo.account import CLIENT, SERVICE, Move
from fedproxy.cli.demo.flows import BY_VALUE, SMALL, STORES, Flow
from fedproxy.cli.demo.picture import Story, draw
from fedproxy.cli.demo.timeline import TaskTrace, lanes, phases
from fedproxy.errors import ConfigError

TIMES = {
    "submitted": 10.0, "accepted": 10.1, "committed": 10.2, "dispatched": 10.3, "received": 10.4, "started": 11.0,
    "ended": 13.0, "returned": 13.1, "finished": 13.2,
}


def test_pieces_hold_the_same_words_however_small_they_are():
    texts = ("one two three two", "", "four\nfive five", "x" * 50 + " end")
    for size in (1, 3, 7, 1000):
        counted = words.add_counts(words.count_words(piece) for piece in corpus.pieces(texts, size_chars=size))
        assert counted == words.plain_count(texts)


def test_pieces_are_about_as_large_as_asked():
    cut = list(corpus.pieces(["word " * 10_000], size_chars=1000))
    assert all(900 < len(piece) < 1100 for piece in cut[:-1])


def test_words_are_letters_in_any_language_whatever_their_case():
    assert words.count_words("Ärger ärger, x1y2 don't") == Counter(ärger=2, x=1, y=1, don=1, t=1)


def test_the_installation_has_text_up_to_the_limit():
    found = corpus.read_corpus(None, limit_bytes=3_000_000)
    assert 2_000_000 < found.size_bytes <= 3_000_000


def test_a_file_and_a_folder_can_be_counted(tmp_path):
    (tmp_path / "a.txt").write_text("hello world")
    (tmp_path / "b.bin").write_bytes(b"\0" * 100)
    (tmp_path / "c.md").write_bytes(b"caf\xe9 hello")
    assert words.plain_count(corpus.read_corpus(tmp_path).texts) == Counter(hello=2, world=1, caf=1)
    assert words.plain_count(corpus.read_corpus(tmp_path / "a.txt").texts) == Counter(hello=1, world=1)


def test_no_text_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match="no text in it"):
        corpus.read_corpus(tmp_path)


def test_phases_follow_the_stations_of_a_task():
    spans = phases(TIMES, origin=10.0)
    assert [(span.phase, round(span.start_s, 3), round(span.end_s, 3)) for span in spans] == [
        ("queued", 0.0, 0.3), ("staged", 0.3, 1.0), ("run", 1.0, 3.0), ("return", 3.0, 3.2),
    ]


def test_stations_that_are_missing_leave_phases_out():
    assert [span.phase for span in phases({"submitted": 1.0, "started": 2.0}, origin=1.0)] == ["queued"]
    assert phases({}, origin=0.0) == ()


def test_lanes_keep_sites_together_in_the_order_of_running():
    early, late = phases(TIMES, 10.0), phases({name: time + 5 for name, time in TIMES.items()}, 10.0)
    placed = lanes([TaskTrace("B", "map", early), TaskTrace("A", "map", late), TaskTrace("A", "map", early)])
    assert [(trace.site, trace.start_s, row) for trace, row in placed] == [("A", 0.0, 0), ("A", 5.0, 1), ("B", 0.0, 2)]


def test_moves_between_the_same_places_are_added_up():
    moves = [Move("a", "b", 1), Move("b", "a", 5), Move("a", "b", 2), Move("a", "c", 0)]
    assert account.summed(moves) == [Move("b", "a", 5), Move("a", "b", 3)]


def test_the_picture_is_a_png_of_a_readable_size(tmp_path):
    trace = TaskTrace("siteA", "reduce", phases(TIMES, 10.0))
    flows = [
        Flow(CLIENT, "siteA", 10**8, STORES), Flow("siteB", "siteA", 10**6, STORES),
        Flow(CLIENT, SERVICE, 10**8, BY_VALUE), Flow(CLIENT, SERVICE, 10**3, SMALL), Flow(SERVICE, "siteB", 10**3, SMALL),
    ]
    counts = [trace, TaskTrace("siteB", "map", trace.spans)]
    story = Story("title", counts, "count", [("by value", trace)], "array", flows)
    draw(story, tmp_path / "picture.png")
    data = (tmp_path / "picture.png").read_bytes()
    assert data.startswith(b"\x89PNG")
    assert int.from_bytes(data[16:20], "big") >= 1200
