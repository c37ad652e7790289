"""When and how often a failed attempt runs again: a policy and a pure decision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from ..foundations.backoff import exponential
from ..foundations.durations import to_seconds
from ..foundations.errors import (
    ConfigurationError,
    NonRetryable,
    PayloadTooLarge,
    RetryAfter,
    SerializationError,
    StepError,
    StepFailed,
)
from ..foundations.limits import short
from ..foundations.types import Duration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from typing_extensions import TypeIs

FINAL = (NonRetryable, SerializationError, PayloadTooLarge)
"""Trying again could only repeat an effect."""


@dataclass(frozen=True)
class Retry:
    """How a failed attempt is tried again.

    The first retry starts at once if `immediate_first`. Every later one waits
    `delay`, `factor` times longer each time, at most `max_delay`; with `jitter` a
    random part of that, from nothing to all of it. Errors that are not of the
    classes in `on`, or are of those in `never`, are not retried.

    `delays` are all waits as they are, in place of everything that makes them up
    otherwise: the first retry waits the first, and those beyond the list the last.

    Raises `ConfigurationError` naming the field and its value.
    """

    max_retries: int = 3
    delay: Duration = "1s"
    factor: float = 2.0
    max_delay: Duration = "5m"
    jitter: bool = True
    immediate_first: bool = True
    on: tuple[type[BaseException], ...] = (Exception,)
    never: tuple[type[BaseException], ...] = ()
    delays: Sequence[Duration] | None = None

    def __post_init__(self) -> None:
        _check_retries(self.max_retries, "max_retries")
        if to_seconds(self.delay, "delay") > to_seconds(self.max_delay, "max_delay"):
            raise ConfigurationError(
                f"delay={self.delay!r} is longer than max_delay={self.max_delay!r}: "
                "raise max_delay too"
            )
        _check_factor(self.factor)
        for name in ("jitter", "immediate_first"):
            if not isinstance(getattr(self, name), bool):
                raise ConfigurationError(
                    f"{name}={short(getattr(self, name))} must be True or False"
                )
        for name in ("on", "never"):
            _check_errors(name, getattr(self, name))
        if self.delays is not None:
            _check_delays(self.delays, self.max_retries)
            # A list could be changed later, and would make the policy unhashable.
            object.__setattr__(self, "delays", tuple(self.delays))

    @classmethod
    def of(
        cls, retries: int | Retry | None = None, retry_delay: Duration | None = None
    ) -> Retry:
        """The policy that the options `retries` and `retry_delay` stand for.

        `retry_delay=d` is short for
        `Retry(delay=d, immediate_first=False, jitter=False)`.
        """
        if isinstance(retries, Retry):
            if retry_delay is not None:
                raise ConfigurationError(
                    f"retry_delay={retry_delay!r} beside retries=Retry(…): "
                    "write Retry(delay=…) only"
                )
            return retries
        max_retries = 3 if retries is None else _check_retries(retries, "retries")
        if retry_delay is None:
            return cls(max_retries=max_retries)
        seconds = to_seconds(retry_delay, "retry_delay")
        return cls(
            max_retries=max_retries,
            delay=retry_delay,
            max_delay=max(seconds, to_seconds(cls.max_delay, "max_delay")),
            immediate_first=False,
            jitter=False,
        )


def decide_retry(
    error: BaseException, failures: int, policy: Retry, random: Callable[[], float]
) -> float | None:
    """Seconds until the next attempt, or None: failed for good.

    `failures` counts the failed attempts, this one included; `random` gives numbers
    from 0 to 1. An exception group is retried when everything in it is, and waits
    as long as its most patient `RetryAfter` asks.
    """
    if failures > policy.max_retries:
        return None
    leaves = list(_leaves(error))
    if not all(_may_retry(leaf, policy) for leaf in leaves):
        return None
    asked = [seconds for leaf in leaves if (seconds := _asked(leaf)) is not None]
    return max(asked) if asked else _backoff(failures, policy, random)


def _may_retry(error: BaseException, policy: Retry) -> bool:
    if isinstance(error, FINAL) or _is_recorded(error):
        return False
    return isinstance(error, RetryAfter) or (
        isinstance(error, policy.on) and not isinstance(error, policy.never)
    )


def _is_recorded(error: BaseException) -> bool:
    """Whether trying again could only contradict a recorded fact, or a mistake."""
    if isinstance(error, StepFailed):
        return not error.counts_for_attempt
    # Of a child; that its time was over is a `TimeoutError` of Python's.
    return isinstance(error, StepError) or getattr(error, "is_recorded", None) is True


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if _is_group(error):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def _is_group(error: BaseException) -> TypeIs[BaseExceptionGroup[BaseException]]:
    return isinstance(error, BaseExceptionGroup)


def _asked(error: BaseException) -> float | None:
    if not isinstance(error, RetryAfter):
        return None
    try:
        # One that a resume repeats has no delay any more.
        return to_seconds(getattr(error, "delay", None), "delay")  # type: ignore[arg-type]
    except ConfigurationError:
        # The user's error is being handled already: the policy's delay serves.
        return None


def _backoff(failures: int, policy: Retry, random: Callable[[], float]) -> float:
    if policy.delays is not None:
        place = min(failures, len(policy.delays)) - 1
        return to_seconds(policy.delays[place], f"delays[{place}]")
    if policy.immediate_first and failures == 1:
        return 0.0
    exponent = failures - (2 if policy.immediate_first else 1)
    delay = to_seconds(policy.delay, "delay")
    longest = to_seconds(policy.max_delay, "max_delay")
    wait = exponential(delay, float(policy.factor), longest, exponent)
    return wait * random() if policy.jitter else wait


def _check_retries(value: object, field: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ConfigurationError(
            f"{field}={short(value)} must be a whole number from 0 up"
            + ("" if field == "max_retries" else " or a Retry(…)")
        )
    return value


def _check_factor(value: object) -> None:
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not 1 <= value <= 1e6
    ):
        raise ConfigurationError(
            f"factor={short(value)} must be a number from 1 to 1000000"
        )


def _check_delays(value: object, max_retries: int) -> None:
    told = short(value)
    if isinstance(value, str | bytes) or not isinstance(value, Sequence) or not value:
        raise ConfigurationError(
            f'delays={told} must be a list of durations, such as ["1s", "10s"]'
        )
    delays = cast("Sequence[Duration]", value)
    for place, delay in enumerate(delays):
        to_seconds(delay, f"delays[{place}]")
    if len(delays) > max_retries:
        raise ConfigurationError(
            f"delays has {len(delays)} waits for {max_retries} retries: "
            f"write max_retries={len(delays)} too"
        )


def _is_tuple(value: object) -> TypeIs[tuple[object, ...]]:
    return isinstance(value, tuple)


def _check_errors(field: str, value: object) -> None:
    classes: tuple[object, ...] = value if _is_tuple(value) else (None,)
    if not all(isinstance(c, type) and issubclass(c, BaseException) for c in classes):
        raise ConfigurationError(
            f"{field}={short(value)} must be a tuple of exception classes, "
            "such as (ConnectionError,)"
        )
