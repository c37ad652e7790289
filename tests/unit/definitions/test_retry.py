"""Retry policies and the decision they lead to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from datetime import timedelta
from typing import Any, Never

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worchflow.definitions.retry import Retry, decide_retry
from worchflow.foundations.errors import (
    ConfigurationError,
    NonRetryable,
    PayloadTooLarge,
    RetryAfter,
    SerializationError,
    StepFailed,
    StepResultChanged,
)


def always(number: float) -> Callable[[], float]:
    return lambda: number


def waits(
    policy: Retry, *, random: float = 1.0, error: Exception | None = None
) -> list[float]:
    """The waits until the policy gives up."""
    found = []
    failures = 1
    while True:
        wait = decide_retry(error or ValueError("x"), failures, policy, always(random))
        if wait is None:
            return found
        found.append(wait)
        failures += 1


def test_the_first_retry_is_immediate_and_later_ones_back_off() -> None:
    assert waits(Retry(max_retries=5)) == [0, 1, 2, 4, 8]


def test_without_the_immediate_retry_the_first_waits_for_the_delay() -> None:
    policy = Retry(max_retries=4, delay=timedelta(seconds=3), immediate_first=False)
    assert waits(policy) == [3, 6, 12, 24]


def test_the_factor_can_be_one() -> None:
    assert waits(Retry(delay="2s", factor=1, immediate_first=False)) == [2, 2, 2]


def test_no_wait_is_longer_than_max_delay() -> None:
    policy = Retry(max_retries=5, delay="1m", max_delay="3m", immediate_first=False)
    assert waits(policy) == [60, 120, 180, 180, 180]


def test_jitter_takes_a_part_of_the_capped_wait() -> None:
    policy = Retry(max_retries=5, delay="1m", max_delay="2m")
    assert waits(policy, random=0.25) == [0, 15, 30, 30, 30]
    assert waits(policy, random=0.0) == [0, 0, 0, 0, 0]


def test_without_jitter_chance_changes_nothing() -> None:
    policy = Retry(jitter=False)
    assert waits(policy, random=0.25) == waits(policy, random=1.0) == [0, 1, 2]


@pytest.mark.parametrize("max_retries", [0, 1, 3])
def test_there_are_as_many_retries_as_the_policy_says(max_retries: Any) -> None:
    assert len(waits(Retry(max_retries=max_retries))) == max_retries


@given(
    failures=st.integers(1, 10**9),
    delay=st.floats(0, 1e6),
    factor=st.floats(1, 1e6) | st.integers(1, 10**6),
    random=st.floats(0, 1),
    jitter=st.booleans(),
    immediate=st.booleans(),
)
def test_every_wait_is_between_nothing_and_max_delay(
    failures: Any, delay: Any, factor: Any, random: Any, jitter: Any, immediate: Any
) -> None:
    policy = Retry(
        max_retries=10**9,
        delay=delay,
        factor=factor,
        max_delay=1e6,
        jitter=jitter,
        immediate_first=immediate,
    )
    wait = decide_retry(ValueError("x"), failures, policy, always(random))
    assert wait is not None
    assert 0 <= wait <= 1e6


def test_no_delay_stays_no_delay_after_any_number_of_failures() -> None:
    policy = Retry(max_retries=10**9, delay=0)
    assert decide_retry(ValueError("x"), 10**8, policy, always(1.0)) == 0


@pytest.mark.parametrize(
    "error",
    [
        NonRetryable("no"),
        SerializationError("no"),
        StepResultChanged("no"),
        PayloadTooLarge("no"),
        StepFailed("no"),
    ],
)
def test_some_errors_are_final_whatever_the_policy(error: Any) -> None:
    assert decide_retry(error, 1, Retry(on=(BaseException,)), always(1.0)) is None
    group = ExceptionGroup("two", [ValueError("x"), error])
    assert decide_retry(group, 1, Retry(), always(1.0)) is None


def test_errors_of_no_class_in_on_are_final() -> None:
    policy = Retry(on=(ConnectionError, TimeoutError))
    assert decide_retry(ConnectionResetError("x"), 1, policy, always(1.0)) == 0
    assert decide_retry(ValueError("x"), 1, policy, always(1.0)) is None


def test_errors_of_a_class_in_never_are_final() -> None:
    policy = Retry(never=(LookupError,))
    assert decide_retry(KeyError("x"), 1, policy, always(1.0)) is None
    assert decide_retry(ValueError("x"), 1, policy, always(1.0)) == 0


def test_what_is_no_exception_is_final_by_default() -> None:
    assert decide_retry(SystemExit(), 1, Retry(), always(1.0)) is None
    assert decide_retry(SystemExit(), 1, Retry(on=(SystemExit,)), always(1.0)) == 0


def test_an_error_may_say_when_to_retry() -> None:
    policy = Retry(max_retries=2, max_delay="1m", on=(KeyError,))
    assert waits(policy, error=RetryAfter("2h"), random=0.5) == [7200, 7200]


def test_an_error_that_says_nonsense_gets_the_delay_of_the_policy() -> None:
    policy = Retry(max_retries=2)
    assert waits(policy, error=RetryAfter("soon")) == [0, 1]


def test_a_group_is_retried_when_everything_in_it_is() -> None:
    policy = Retry(never=(KeyError,))
    inner = ExceptionGroup("inner", [OSError("x"), KeyError("x")])
    assert decide_retry(ExceptionGroup("all", [inner]), 1, policy, always(1.0)) is None
    good = ExceptionGroup("all", [ValueError("x"), OSError("x")])
    assert decide_retry(good, 1, policy, always(1.0)) == 0


def test_a_group_waits_for_its_most_patient_error() -> None:
    group = ExceptionGroup("all", [RetryAfter(5), RetryAfter("1m"), ValueError("x")])
    assert decide_retry(group, 1, Retry(), always(1.0)) == 60


async def test_what_a_task_group_raises_is_judged_by_what_is_in_it() -> None:
    async def refuse() -> Never:
        raise NonRetryable("card stolen")

    with pytest.raises(ExceptionGroup) as caught:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(refuse())
    assert decide_retry(caught.value, 1, Retry(), always(1.0)) is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[("max_retries", v) for v in (-1, True, 1.5, "3", None)],
        *[("delay", v) for v in (-1, "1 fortnight", None, True, float("nan"))],
        *[("max_delay", v) for v in (-1, "soon", float("inf"))],
        *[("factor", v) for v in (0.5, -2, True, "2", float("inf"), float("nan"))],
        ("factor", 10**400),
        ("jitter", 1),
        ("immediate_first", "yes"),
        *[("on", v) for v in (ValueError, [ValueError], ("ValueError",), (int,), None)],
        *[("never", v) for v in (ValueError, (ValueError(),))],
    ],
)
def test_a_wrong_field_is_refused_by_name_and_value(field: Any, value: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Retry(**{field: value})
    assert f"{field}={value!r}"[:60] in caught.value.message


def test_a_delay_longer_than_max_delay_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="longer than max_delay='5m'"):
        Retry(delay="10m")
    assert Retry(delay="5m").delay == "5m"


def test_a_policy_is_a_frozen_value() -> None:
    with pytest.raises(FrozenInstanceError):
        Retry().max_retries = 5  # type: ignore[misc]
    assert Retry() == Retry()


def test_a_number_of_retries_stands_for_a_policy() -> None:
    assert Retry.of(5) == Retry(max_retries=5)
    assert Retry.of(0) == Retry(max_retries=0)
    assert Retry.of() == Retry()
    policy = Retry(delay="2s")
    assert Retry.of(policy) is policy


def test_retry_delay_stands_for_waits_without_jitter_from_the_first_retry_on() -> None:
    policy = Retry.of(2, "10s")
    assert policy.max_retries == 2
    assert waits(policy, random=0.5) == [10, 20]
    assert waits(Retry.of(None, 0)) == [0, 0, 0]


def test_retry_delay_may_be_longer_than_the_usual_max_delay() -> None:
    assert waits(Retry.of(2, "1h")) == [3600, 3600]


@pytest.mark.parametrize("retries", [True, -1, "3", 2.0])
def test_a_wrong_number_of_retries_is_refused(retries: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"retries=.* or a Retry\(…\)"):
        Retry.of(retries)


def test_a_wrong_retry_delay_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="retry_delay='soon'"):
        Retry.of(3, "soon")


def test_two_delays_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="retry_delay='1s' beside retries"):
        Retry.of(Retry(), "1s")


def test_delays_are_all_waits_as_they_are() -> None:
    policy = Retry(delays=["1s", timedelta(seconds=10), 60])
    longer = Retry(max_retries=5, delays=["10m", "1s"])

    assert waits(policy) == [1, 10, 60]
    assert waits(longer) == [600, 1, 1, 1, 1]
    assert hash(policy) == hash(Retry(delays=("1s", timedelta(seconds=10), 60)))
    asked = decide_retry(RetryAfter("7s"), 1, policy, always(0.5))
    assert asked == 7


@pytest.mark.parametrize(
    ("delays", "says"),
    [
        ("1s", "must be a list of durations"),
        ([], "must be a list of durations"),
        (5, "must be a list of durations"),
        (["1s", "soon"], r"delays\[1\]='soon' is not a duration"),
        ([1, 2, 3, 4], "delays has 4 waits for 3 retries: write max_retries=4 too"),
    ],
)
def test_delays_that_cannot_be_are_refused(delays: Any, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        Retry(delays=delays)
