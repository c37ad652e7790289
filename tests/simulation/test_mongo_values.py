"""Queries of the simulated MongoDB: what it does not know it refuses."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tests.simulation.mongo_values import matches

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("operator", ["$where", "$text"])
def test_an_unknown_operator_is_no_field_that_is_missing(operator: str) -> None:
    with pytest.raises(NotImplementedError, match=f"\\{operator}"):
        matches({"a": 1}, {operator: [{"a": None}]}, NOW)
