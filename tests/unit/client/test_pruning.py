"""What is removed when a user asks for it: checked before anything is."""

from __future__ import annotations

from typing import Any

import pytest

from worchflow.client.pruning import checked_ages, checked_limit
from worchflow.foundations.errors import ConfigurationError, InvalidInput
from worchflow.model.options import Retention
from worchflow.model.records import TERMINAL

KEPT = Retention(completed="1h", failed=None, cancelled="2h")


def test_ages_are_those_of_the_retention_where_none_is_given() -> None:
    assert checked_ages(KEPT, None, None) == {"completed": 3600.0, "cancelled": 7200.0}
    assert checked_ages(KEPT, None, "cancelled") == {"cancelled": 7200.0}
    assert checked_ages(KEPT, None, "failed") == {}
    assert checked_ages(None, None, None) == {}


def test_an_age_that_is_given_counts_for_what_is_kept_forever_too() -> None:
    assert checked_ages(KEPT, 5, None) == dict.fromkeys(TERMINAL, 5.0)
    assert checked_ages(None, "5s", "failed") == {"failed": 5.0}


@pytest.mark.parametrize("status", ["queued", "processing", "retrying", "gone"])
def test_only_what_has_ended_can_be_removed(status: str) -> None:
    with pytest.raises(InvalidInput, match=f"status='{status}' is no") as caught:
        checked_ages(KEPT, 5, status)
    assert caught.value.field == "status"


def test_an_age_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="older_than='old' is not a duration"):
        checked_ages(KEPT, "old", None)


@pytest.mark.parametrize("limit", [0, -1, True, 1.0, "5"])
def test_a_limit_is_a_whole_number_or_none(limit: Any) -> None:
    assert checked_limit(None) is None
    assert checked_limit(1) == 1
    with pytest.raises(InvalidInput, match=r"limit=.* whole number") as caught:
        checked_limit(limit)
    assert caught.value.field == "limit"
