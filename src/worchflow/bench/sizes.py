"""How much each workload does: in full, and quickly."""

from __future__ import annotations

from dataclasses import dataclass

WORKLOADS = {
    "W1": "three no-op steps: queue pre-filled, and sending included",
    "W2": "idle latency: send to result, one at a time",
    "W3": "payloads of 1 KiB and 64 KiB",
    "W4": "claims with more and more queued",
    "W5": "many delayed executions at rest",
    "W6": "one, two and four worker processes",
    "W7": "resuming an execution with many recorded steps",
}


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Counts are executions unless the name says otherwise."""

    runs: int
    """Of everything; the figures are medians."""
    executions: int
    """Of a run of W1 and W6."""
    rounds: int
    """Of a run of W2."""
    payloads: tuple[tuple[int, int], ...]
    """Bytes and executions, of W3."""
    depths: tuple[int, ...]
    """Queued while W4 claims."""
    claimed: int
    """By a run of W4, a hundred at a time."""
    delayed: int
    rest: float
    """Seconds of a run of W5."""
    workers: tuple[int, ...]
    """Processes, of W6."""
    recorded_steps: int
    """Of the execution that W7 resumes."""


FULL = Sizes(
    runs=5,
    executions=10_000,
    rounds=200,
    payloads=((1024, 3_000), (64 * 1024, 200)),
    depths=(1_000, 10_000, 100_000, 1_000_000),
    claimed=500,
    delayed=100_000,
    rest=3.0,
    workers=(1, 2, 4),
    recorded_steps=1_000,
)
QUICK = Sizes(
    runs=1,
    executions=500,
    rounds=20,
    payloads=((1024, 100), (64 * 1024, 10)),
    depths=(1_000, 2_000),
    claimed=200,
    delayed=500,
    rest=0.5,
    workers=(1, 2),
    recorded_steps=50,
)
