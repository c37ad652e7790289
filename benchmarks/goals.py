"""What Worchflow means to reach, and whether a run did."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

from benchmarks.results import Results, Row
from worchflow.bench.measurements import ratio
from worchflow.bench.report import number
from worchflow.bench.workloads import PREFILLED, SENDING

STRICT = "Worchflow, Redis + MongoDB, strict"
STRICT_TWO = f"{STRICT}, 2 processes"
FAST = "Worchflow, Redis + MongoDB, fast"
SQLITE = "Worchflow, SQLite, strict"
SQLITE_TWO = f"{SQLITE}, 2 processes"
BARE = "bare writes, Redis + MongoDB, strict"
BARE_WORKER = "bare worker, Redis + MongoDB, strict"
BARE_SQLITE = "bare writes, SQLite, strict"
CEILING, SENT, AHEAD, IDLE, IDLE_SQLITE, FLAT = 0.75, 0.6, 5, 1.5, 2, 2


@dataclass(frozen=True)
class Goal:
    """A goal, what the run measured for it, and whether that meets it.

    `met` is None where the run did not measure what it takes.
    """

    text: str
    measured: str
    met: bool | None


Check: TypeAlias = Callable[[Results], Goal]


def check_goals(results: Results) -> list[Goal]:
    """Every goal, in the order of the page."""
    return [each(results) for each in GOALS]


def _near_the_ceiling(store: str, names: tuple[str, str], bare: str) -> Check:
    text = (
        f"executions of three steps on {store}, strict, queue pre-filled: at least "
        f"{CEILING:.0%} of the bare writes, by one process or two"
    )

    def check(results: Results) -> Goal:
        own = _best(results, PREFILLED, names)
        return _at_least(CEILING, text, own, results.row("W1", bare, PREFILLED))

    return check


def _sending_too(store: str, names: tuple[str, str]) -> Check:
    text = (
        f"executions of three steps on {store}, strict, sending included: at least "
        f"{SENT:.0%} of the pre-filled rate, each by one process or two"
    )

    def check(results: Results) -> Goal:
        sent, filled = (_best(results, case, names) for case in (SENDING, PREFILLED))
        return _at_least(SENT, text, sent, filled)

    return check


def _best(results: Results, case: str, names: Iterable[str]) -> Row | None:
    """The fastest of them, as whoever runs it would choose."""
    rows = [results.row("W1", name, case) for name in names]
    found = [row for row in rows if row is not None]
    return max(found, key=lambda row: row.value, default=None)


def _at_least(share: float, text: str, own: Row | None, limit: Row | None) -> Goal:
    found = own and limit and ratio(own.figures, limit.figures)
    if own is None or limit is None or found is None:
        return Goal(text, "not measured", None)
    values = f"{number(own.value)} against {number(limit.value)} executions/s"
    return Goal(text, f"{found:.0%} ({values})", found >= share)


def _durable_peers(results: Results) -> Goal:
    text = f"executions of three steps: at least {AHEAD} times every durable peer"
    rows = [row for row in results.rows("W1") if row.kind == "durable"]
    return _worst(text, rows, lambda advantage: advantage >= AHEAD)


def _queues(results: Results) -> Goal:
    text = (
        "executions of three checkpointed steps: more than the plain no-op tasks of "
        "every queue that is not durable"
    )
    rows = [row for row in results.rows("W1") if row.kind == "queue"]
    return _worst(text, rows, lambda advantage: advantage > 1)


def _worst(text: str, rows: Iterable[Row], is_met: Callable[[float], bool]) -> Goal:
    """The row that Worchflow is least ahead of decides."""
    ahead = [(row.advantage, row) for row in rows if row.advantage is not None]
    if not ahead:
        return Goal(text, "not measured", None)
    advantage, row = min(ahead, key=lambda each: each[0])
    measured = f"{number(advantage)} times {row.system} ({row.case})"
    return Goal(text, measured, is_met(advantage))


def _idle_strict(results: Results) -> Goal:
    text = (
        f"idle p50 on Redis + MongoDB, strict: at most {IDLE} times its acknowledged "
        "writes made bare, one after another"
    )
    own, bare = results.row("W2", STRICT), results.row("W2", BARE)
    found = own and bare and ratio(own.figures, bare.figures)
    if own is None or bare is None or found is None:
        return Goal(text, "not measured", None)
    values = f"{number(own.value)} against {number(bare.value)} ms"
    return Goal(text, f"{number(found)} times ({values})", found <= IDLE)


def _idle_fast(results: Results) -> Goal:
    text = 'idle p50 with durability="fast": below every durable peer\'s'
    own = results.row("W2", FAST)
    peers = [row for row in results.rows("W2") if row.kind == "durable"]
    if own is None or not peers:
        return Goal(text, "not measured", None)
    best = min(peers, key=lambda row: row.value)
    return Goal(
        text,
        f"{number(own.value)} ms; best peer {number(best.value)} ms ({best.system})",
        own.value < best.value,
    )


def _idle_sqlite(results: Results) -> Goal:
    text = f"idle p50 on SQLite, strict, between processes: at most {IDLE_SQLITE} ms"
    own = results.row("W2", SQLITE)
    if own is None:
        return Goal(text, "not measured", None)
    return Goal(text, f"{number(own.value)} ms", own.value <= IDLE_SQLITE)


def _flat_claims(results: Results) -> Goal:
    text = (
        "a claim costs the same however much is queued: the dearest at most "
        f"{FLAT} times the cheapest"
    )
    ratios = {
        system: max(values) / min(values)
        for system in (STRICT, SQLITE)
        if (values := [r.value for r in results.rows("W4") if r.system == system])
    }
    if not ratios:
        return Goal(text, "not measured", None)
    worst = max(ratios, key=lambda name: ratios[name])
    return Goal(text, f"{number(ratios[worst])} times ({worst})", ratios[worst] <= FLAT)


GOALS: tuple[Check, ...] = (
    _near_the_ceiling("Redis + MongoDB", (STRICT, STRICT_TWO), BARE),
    _near_the_ceiling("SQLite", (SQLITE, SQLITE_TWO), BARE_SQLITE),
    _sending_too("Redis + MongoDB", (STRICT, STRICT_TWO)),
    _sending_too("SQLite", (SQLITE, SQLITE_TWO)),
    _durable_peers,
    _queues,
    _idle_strict,
    _idle_fast,
    _idle_sqlite,
    _flat_claims,
)
