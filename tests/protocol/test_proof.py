"""The service's proof of itself: exactly one session, by exactly one key."""

from __future__ import annotations

from attrs import evolve

from fedproxy.protocol.proof import Session, is_proved, new_secret, prove, public_key

SECRET = new_secret()
SESSION = Session("endpoint", "incarnation", 7, "link key")


def test_a_proof_holds_for_its_session_and_key() -> None:
    assert is_proved(SESSION, prove(SESSION, SECRET), public_key(SECRET))


def test_a_proof_holds_for_nothing_else() -> None:
    proof = prove(SESSION, SECRET)
    for other in ({"endpoint": "x"}, {"incarnation": "x"}, {"epoch": 8}, {"link_key": "x"}):
        assert not is_proved(evolve(SESSION, **other), proof, public_key(SECRET))
    assert not is_proved(SESSION, proof, public_key(new_secret()))
    assert not is_proved(SESSION, bytes(64), public_key(SECRET))


def test_what_is_no_signature_or_no_key_proves_nothing() -> None:
    for signature, key in ((b"", public_key(SECRET)), (b"x" * 1000, public_key(SECRET)), (prove(SESSION, SECRET), ""), (prove(SESSION, SECRET), "zz")):
        assert not is_proved(SESSION, signature, key)


def test_fields_cannot_run_into_each_other() -> None:
    assert Session("ab", "c", 1, "").to_bytes() != Session("a", "bc", 1, "").to_bytes()
