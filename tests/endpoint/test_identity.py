"""Which service an endpoint belongs to."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedproxy.endpoint.identity import PIN_FILE, Identity, pinned
from fedproxy.errors import AuthenticationError
from fedproxy.protocol.messages import Welcome
from fedproxy.protocol.proof import Session, new_secret, prove, public_key
from fedproxy.wire.curve import KeyPair

SECRET = new_secret()
KEY, OTHER = public_key(SECRET), public_key(new_secret())


def test_the_service_that_is_met_first_is_pinned_privately(tmp_path: Path) -> None:
    assert pinned(tmp_path, KEY) == KEY
    assert (tmp_path / PIN_FILE).stat().st_mode & 0o077 == 0
    assert pinned(tmp_path, KEY) == KEY
    for offered in (OTHER, ""):
        with pytest.raises(AuthenticationError, match="not the one that this endpoint belongs to"):
            pinned(tmp_path, offered)


def test_a_configured_key_is_believed_before_any_other(tmp_path: Path) -> None:
    with pytest.raises(AuthenticationError):
        pinned(tmp_path, OTHER, KEY)
    assert pinned(tmp_path, KEY, KEY) == KEY


def test_only_the_pinned_service_can_open_a_session() -> None:
    me = Identity("endpoint", "tcp://", b"link", KeyPair(b"", b""), "", "", rest=None, gate=None, clock_ahead_s=0.0, service=KEY)
    proof = prove(Session("endpoint", "incarnation", 3, "link"), SECRET)
    assert me.is_proved("incarnation", Welcome(3, 30, 3, proof))
    assert not me.is_proved("another", Welcome(3, 30, 3, proof))
    assert not me.is_proved("incarnation", Welcome(4, 30, 3, proof))
    assert not me.is_proved("incarnation", Welcome(3, 30, 3))
