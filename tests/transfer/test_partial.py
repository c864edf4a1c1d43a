"""Files with holes and the record of what is in them."""

from __future__ import annotations

import os
from contextlib import closing
from io import BytesIO
from pathlib import Path

import pytest
from xxhash import xxh3_64_hexdigest

from fedproxy.errors import StagingFullError, TransferError
from fedproxy.transfer.partial import LEAF_BYTES, Partial, leaves, runs

SIZE = 2 * LEAF_BYTES + 1000


def fill(partial: Partial, start: int, end: int, byte: bytes = b"x") -> None:
    data = byte * (end - start)
    partial.write(start, data)
    partial.settle(start, end, xxh3_64_hexdigest(data))


def test_what_has_arrived_is_still_there_for_the_next_process(tmp_path: Path):
    first = Partial(tmp_path, "object", SIZE)
    fill(first, LEAF_BYTES, 2 * LEAF_BYTES)
    first.write(0, b"not whole")  # killed here: never closed
    second = Partial(tmp_path, "object", SIZE)
    assert second.missing() == [(0, LEAF_BYTES), (2 * LEAF_BYTES, SIZE)]
    assert second.received == LEAF_BYTES
    for start, end in second.missing():
        fill(second, start, end)
    assert second.complete
    assert Partial(tmp_path, "object", SIZE).complete


def test_a_piece_whose_bytes_were_lost_in_a_crash_counts_as_missing(tmp_path: Path):
    first = Partial(tmp_path, "object", SIZE)
    fill(first, 0, LEAF_BYTES)
    fill(first, LEAF_BYTES, 2 * LEAF_BYTES)
    os.pwrite(first.descriptor, b"\0", 5)
    assert (0, LEAF_BYTES) in Partial(tmp_path, "object", SIZE).missing()


@pytest.mark.parametrize("tail", [b"4194304 838", b"garbage\n", b"-5 7 00\n", b"0 99999999999 00\n", b"\xff\xfe\n"])
def test_a_torn_record_is_read_as_far_as_it_goes(tmp_path: Path, tail):
    first = Partial(tmp_path, "object", SIZE)
    fill(first, 0, LEAF_BYTES)
    with (tmp_path / "object.have").open("ab") as file:
        file.write(tail)
    assert Partial(tmp_path, "object", SIZE).received == LEAF_BYTES


def test_no_link_is_followed(tmp_path: Path):
    (tmp_path / "target").write_text("precious")
    (tmp_path / "object.part").symlink_to(tmp_path / "target")
    with pytest.raises(OSError, match="symbolic"):
        Partial(tmp_path, "object", SIZE)
    assert (tmp_path / "target").read_text() == "precious"


def test_an_object_that_does_not_fit_is_refused_before_a_byte_is_moved(tmp_path: Path):
    with pytest.raises(StagingFullError, match="no room for"):
        Partial(tmp_path, "object", 1 << 60)


def test_a_file_that_somebody_else_wrote_is_taken_when_its_size_is_right(tmp_path: Path):
    partial = Partial(tmp_path, "object", 5)
    partial.path.unlink()
    partial.path.write_bytes(b"12345")
    partial.settle_all()
    assert partial.complete
    assert partial.head(3) == b"123"
    partial.path.write_bytes(b"123456")
    with pytest.raises(TransferError, match="6 bytes instead of 5"):
        partial.settle_all()


def test_removing_leaves_nothing(tmp_path: Path):
    partial = Partial(tmp_path, "object", SIZE)
    partial.remove()
    partial.remove()
    assert list(tmp_path.iterdir()) == []


def test_neighbouring_pieces_are_asked_for_together():
    assert leaves(0) == []
    assert runs(leaves(SIZE), SIZE) == [(0, SIZE)]
    assert runs(leaves(SIZE), LEAF_BYTES + 1000) == [(0, LEAF_BYTES), (LEAF_BYTES, SIZE)]
    assert runs([(0, 5), (10, 15)], 100) == [(0, 5), (10, 15)]


def test_a_piece_that_was_written_over_with_something_else_counts_as_missing(tmp_path: Path):
    with closing(Partial(tmp_path, "x", 2 * LEAF_BYTES)) as partial:
        source = BytesIO(b"a" * LEAF_BYTES + b"b" * LEAF_BYTES)
        digest = partial.pour(0, LEAF_BYTES, source.readinto)
        assert digest.hex() == xxh3_64_hexdigest(b"a" * LEAF_BYTES)
        partial.settle(0, LEAF_BYTES, digest.hex())
        partial.pour(0, LEAF_BYTES, source.readinto)
        partial.spoil(0)
        assert partial.missing()[0] == (0, LEAF_BYTES)
    with closing(Partial(tmp_path, "x", 2 * LEAF_BYTES)) as again:
        assert len(again.missing()) == 2
