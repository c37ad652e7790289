"""Options of backends and workers: wrong ones are refused by name and value."""

from __future__ import annotations

import math
from typing import Any

import pytest

from worchflow.foundations.errors import ConfigurationError
from worchflow.model.options import (
    KEEP_EVERYTHING,
    BackendOptions,
    Retention,
    WorkerOptions,
    check_retention,
)


def test_a_retention_gives_seconds_by_status() -> None:
    ages = Retention(completed="1h", failed=None, cancelled=5).ages

    assert ages == {"completed": 3600.0, "cancelled": 5.0}
    assert KEEP_EVERYTHING.ages == {}


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"completed": 0}, "retention.completed=0 would remove"),
        ({"failed": "0s"}, "retention.failed='0s' would remove"),
        ({"cancelled": "soon"}, "retention.cancelled='soon' is not a duration"),
        ({"failed": -1}, "retention.failed=-1 is not a duration"),
    ],
)
def test_a_retention_that_keeps_nothing_is_refused(
    options: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Retention(**options)
    assert reason in caught.value.message


@pytest.mark.parametrize("value", [7, "7d", Retention, {"failed": "7d"}])
def test_what_is_no_retention_is_refused(value: Any) -> None:
    check_retention(None)
    with pytest.raises(ConfigurationError, match="must be a Retention"):
        check_retention(value)
    with pytest.raises(ConfigurationError, match="must be a Retention"):
        BackendOptions(retention=value)


NO_SECONDS = (0, -1, True, "5", None, math.nan, math.inf)


@pytest.mark.parametrize("value", NO_SECONDS)
@pytest.mark.parametrize("name", ["lease_ttl", "timeout", "finished_ttl"])
def test_times_of_a_backend_are_seconds(name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"^{name}=.* seconds above 0"):
        BackendOptions(**{name: value})


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"durability": "slow"}, "durability='slow' must be"),
        ({"queue_prefix": ""}, "queue_prefix='' is not a queue prefix"),
    ],
)
def test_wrong_options_of_a_backend_are_refused(
    options: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        BackendOptions(**options)
    assert reason in caught.value.message


@pytest.mark.parametrize("value", NO_SECONDS)
@pytest.mark.parametrize(
    "name",
    [
        *("heartbeat", "upkeep_interval", "prune_interval", "blocked_loop_after"),
        "give_up_blocked_after",
    ],
)
def test_times_of_a_worker_are_seconds(name: str, value: Any) -> None:
    if (name, value) == ("give_up_blocked_after", None):
        assert WorkerOptions(give_up_blocked_after=None).give_up_blocked_after is None
        return
    with pytest.raises(ConfigurationError, match=f"^{name}=.* seconds above 0"):
        WorkerOptions(**{name: value})


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("concurrency", (0, -1, 10_001, True, 1.0, "1", None)),
        ("quarantine_after", (0, True, 1.5, "2", None)),
        ("quarantine_deaths", (0, True, 1.5, "5", None)),
    ],
)
def test_numbers_of_a_worker_are_whole_and_above_zero(
    name: str, wrong: tuple[Any, ...]
) -> None:
    assert getattr(WorkerOptions(**{name: 1}), name) == 1
    for value in wrong:
        with pytest.raises(ConfigurationError, match=f"^{name}=.* whole number"):
            WorkerOptions(**{name: value})
