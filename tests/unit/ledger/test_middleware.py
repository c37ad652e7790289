"""The digest by which a ledger compares results."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from worchflow.ledger import Plan
from worchflow.ledger.middleware import digest

PLAN = Plan(
    executions=1, faults={"kill": 1}, mid_step=1, slots=1, width=1, drained_within=60
)


@pytest.mark.parametrize(
    ("one", "other"),
    [({"a": 1, "b": 2}, {"b": 2, "a": 1}), ([1], (1,)), (PLAN, replace(PLAN))],
)
def test_equal_results_have_equal_digests(one: Any, other: Any) -> None:
    assert digest(one) == digest(other)
    assert digest(one) is not None


@pytest.mark.parametrize("value", [{1, 2}, object(), b"bytes"])
def test_what_has_no_form_that_is_always_equal_has_no_digest(value: Any) -> None:
    assert digest(value) is None
    assert digest("1") != digest(1)
