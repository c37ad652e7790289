"""Identities: those of steps are stable, all others fresh."""

from __future__ import annotations

import hashlib
from uuid import UUID

from worchflow.foundations.ids import (
    new_execution_id,
    new_nonce,
    new_worker_id,
    step_id,
    step_name,
)
from worchflow.foundations.runtime import SYSTEM


def test_the_first_use_of_a_title_is_the_md5_of_the_title() -> None:
    md5 = hashlib.md5("Zürich ☃".encode(), usedforsecurity=False).hexdigest()

    assert step_id("Zürich ☃") == step_id("Zürich ☃", use=1) == md5


def test_uses_and_keys_never_share_an_identity() -> None:
    calls = [
        step_id("a"),
        step_id("a", use=2),
        step_id("a", use=3),
        step_id("a", key="2"),
        step_id("a", key="#2"),
        step_id("a", key=""),
        step_id("a:2"),
        step_id("a#2"),
    ]

    assert len(set(calls)) == len(calls)
    assert step_id("a", use=2, key="k") == step_id("a", key="k")


def test_a_step_is_named_with_its_key() -> None:
    assert step_name("Charge", None) == '"Charge"'
    assert step_name("Charge", "") == '"Charge" (key )'


def test_ids_are_fresh() -> None:
    for make in (new_execution_id, new_worker_id, new_nonce):
        first, second = make(SYSTEM), make(SYSTEM)
        assert first != second
        assert UUID(first).version == 4
    assert new_execution_id(SYSTEM).count("-") == 4
