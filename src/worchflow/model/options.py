"""The options of backends and workers, validated once and then passed down."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from ..foundations.durations import to_seconds
from ..foundations.errors import ConfigurationError
from ..foundations.limits import check_prefix
from ..foundations.runtime import SYSTEM, Runtime
from ..foundations.types import Duration
from .records import ExecutionStatus

if TYPE_CHECKING:
    from collections.abc import Mapping

Durability: TypeAlias = Literal["strict", "fast"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Retention:
    """How long executions are kept after they ended, with their steps.

    Durations by the status they ended with, and of `events` since they were accepted;
    None keeps them forever. An event that a wait may still take is kept in any case.
    """

    completed: Duration | None = "7d"
    failed: Duration | None = "30d"
    cancelled: Duration | None = "30d"
    events: Duration | None = "7d"

    def __post_init__(self) -> None:
        if self.event_age == 0:
            raise ConfigurationError(
                f"retention.events={self.events!r} would remove events before the "
                "waits for them begin: give them some time, or None to keep them "
                "forever"
            )
        for status, age in self.ages.items():
            if age == 0:
                raise ConfigurationError(
                    f"retention.{status}={getattr(self, status)!r} would remove "
                    "executions while their results are waited for: give them some "
                    "time, or None to keep them forever"
                )

    @property
    def event_age(self) -> float | None:
        """Seconds since they were accepted after which events are removed."""
        if self.events is None:
            return None
        return to_seconds(self.events, "retention.events")

    @property
    def ages(self) -> Mapping[ExecutionStatus, float]:
        """Seconds by status, without those that are kept forever."""
        kept = {
            status: getattr(self, status.value)
            for status in ExecutionStatus
            if status.is_terminal
        }
        return {
            status: to_seconds(age, f"retention.{status}")
            for status, age in kept.items()
            if age is not None
        }


DEFAULT_RETENTION = Retention()
KEEP_EVERYTHING = Retention(completed=None, failed=None, cancelled=None, events=None)


@dataclass(frozen=True, kw_only=True, slots=True)
class BackendOptions:
    """How a backend keeps its data. Times are in seconds."""

    queue_prefix: str = "worchflow"
    durability: Durability = "strict"
    ts_compat: bool = False
    lease_ttl: float = 20.0
    """How long after its last renewal a worker is considered dead."""
    timeout: float = 10.0
    """Every store call fails with `StoreUnavailable` after this long."""
    finished_ttl: float = 24 * 3600.0
    """How long Redis keeps the hashes of a finished execution."""
    retention: Retention | None = DEFAULT_RETENTION
    """How long executions are kept after they ended; None: forever."""
    runtime: Runtime = SYSTEM
    """Where the backend, and whatever works with it, takes time and randomness from."""

    def __post_init__(self) -> None:
        check_prefix(self.queue_prefix)
        check_retention(self.retention)
        if self.durability not in ("strict", "fast"):
            raise ConfigurationError(
                f'durability={self.durability!r} must be "strict" or "fast"'
            )
        for name in ("lease_ttl", "timeout", "finished_ttl"):
            _check_positive(name, getattr(self, name))


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerOptions:
    """How a worker behaves. Times are in seconds."""

    concurrency: int = 1
    heartbeat: float = 5.0
    """Between two renewals of the lease; at most a quarter of the backend's TTL."""
    upkeep_interval: float = 5.0
    """Between two rounds of reap and sweep, jittered."""
    prune_interval: float = 60.0
    """Between two looks for executions whose retention has ended, jittered."""
    quarantine_after: int = 2
    """An execution whose code so many workers died running, without a step recorded in
    between, runs alone in the quarantine slot."""
    quarantine_deaths: int = 5
    """Worker deaths in the quarantine slot before it fails as `poison`."""
    park_for: float = 1.0
    """So long an execution that waits is kept, without a slot, before it leaves the
    worker."""
    max_parked: int | None = None
    """So many of them are kept at most; None: ten for each slot, at least 100."""
    blocked_loop_after: float = 1.0
    """The event loop is reported as blocked after this long without a turn."""
    give_up_blocked_after: float | None = None
    """Stop renewing the lease after the loop was blocked this long; None: never."""

    def __post_init__(self) -> None:
        if type(self.concurrency) is not int or not 1 <= self.concurrency <= 10_000:
            raise ConfigurationError(
                f"concurrency={self.concurrency!r} must be a whole number "
                "from 1 to 10000"
            )
        for name in (
            "heartbeat",
            "upkeep_interval",
            "prune_interval",
            "park_for",
            "blocked_loop_after",
        ):
            _check_positive(name, getattr(self, name))
        if self.give_up_blocked_after is not None:
            _check_positive("give_up_blocked_after", self.give_up_blocked_after)
        for name in ("quarantine_after", "quarantine_deaths", "max_parked"):
            value = getattr(self, name)
            if value is None and name == "max_parked":
                continue
            if type(value) is not int or value < 1:
                raise ConfigurationError(
                    f"{name}={value!r} must be a whole number from 1 up"
                )


def check_retention(value: object) -> None:
    """`ConfigurationError` for anything but a `Retention` or None."""
    if value is not None and not isinstance(value, Retention):
        raise ConfigurationError(
            f"retention={value!r} must be a Retention, such as "
            'Retention(completed="7d", failed="30d"), or None to keep everything'
        )


def _check_positive(name: str, value: object) -> None:
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not (math.isfinite(value) and value > 0)
    ):
        raise ConfigurationError(
            f"{name}={value!r} must be a number of seconds above 0"
        )
