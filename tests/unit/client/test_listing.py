"""What a listing is asked for: checked before a store is."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, cast

import pytest

from worchflow.client.listing import (
    MAX_PAGE,
    ListFilters,
    checked_query,
    checked_status,
)
from worchflow.foundations.errors import ConfigurationError, InvalidInput
from worchflow.model.records import ExecutionQuery, ExecutionStatus

NOTHING: dict[str, Any] = {
    **dict.fromkeys(("status", "function", "tag", "parent", "since", "until")),
    **dict.fromkeys(("id_prefix", "cursor")),
    "limit": MAX_PAGE,
    "payloads": True,
}


def query_of(**filters: Any) -> ExecutionQuery:
    """The query of these filters, all others given as None."""
    return checked_query(cast("ListFilters", NOTHING | filters))


def test_a_query_holds_what_was_asked_for() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)

    query = query_of(status="failed", since=now, limit=1)

    assert (query.statuses, query.since, query.limit) == (
        frozenset({ExecutionStatus.FAILED}),
        now,
        1,
    )
    several = query_of(status=[ExecutionStatus.FAILED, "waiting"], parent="e-1")
    assert several.statuses == {ExecutionStatus.FAILED, ExecutionStatus.WAITING}
    assert several.parent == "e-1"
    assert query_of().statuses == frozenset()
    assert checked_query({}) == ExecutionQuery()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("limit", 0), ("limit", MAX_PAGE + 1), ("limit", True), ("limit", "5")),
        *(("payloads", 1), ("payloads", None), ("status", "done"), ("status", "")),
        *(("status", 5), ("parent", ""), ("parent", 5)),
        *(("function", ""), ("function", 5), ("tag", ""), ("cursor", 5)),
    ],
)
def test_what_cannot_be_asked_for_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(InvalidInput) as caught:
        query_of(**{name: value})
    assert caught.value.field == name
    assert f"{name}={value!r}" in caught.value.message


@pytest.mark.parametrize("name", ["since", "until"])
def test_a_moment_without_a_zone_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{name}=.* with a time zone"):
        query_of(**{name: datetime(2026, 1, 1)})  # noqa: DTZ001


def test_a_wrong_status_is_told_with_those_that_there_are() -> None:
    with pytest.raises(InvalidInput, match=r"queued, processing, .*cancelled"):
        checked_status("Failed")


@pytest.mark.parametrize("status", [[], ["failed", "done"], [None]])
def test_a_list_of_statuses_names_some(status: Any) -> None:
    with pytest.raises(InvalidInput) as caught:
        query_of(status=status)
    assert caught.value.field == "status"


def test_a_filter_that_there_is_not_is_refused() -> None:
    with pytest.raises(ConfigurationError, match='"tags", did you mean "tag"'):
        query_of(tags="blue")
