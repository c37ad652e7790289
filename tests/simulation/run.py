"""Runs seeds from the command line.

    .venv/bin/python -m tests.simulation.run 17            one seed, with its history
    .venv/bin/python -m tests.simulation.run 0 50000       a range of seeds
    .venv/bin/python -m tests.simulation.run --mutants 200 the table of the mutants

It ends with 1 if a promise was broken, if a kind of fault never mattered, or if a
move between two statuses or an end of a token never came up.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar
from unittest import mock

from tests.simulation.faults import FAULTS
from tests.simulation.mutants import MUTANTS, Mutant
from tests.simulation.oracle import move
from tests.simulation.oracle_of_children import EVERY_END_OF_A_CHILD
from tests.simulation.oracle_of_deadlines import EVERY_CASE_OF_DEADLINES
from tests.simulation.oracle_of_fan_out import EVERY_CASE_OF_FAN_OUT
from tests.simulation.oracle_of_tokens import EVERY_END_OF_A_TOKEN
from tests.simulation.oracle_of_tries import EVERY_CASE_OF_TRIES
from tests.simulation.simulation import Outcome, run_seed
from worchflow.model.transitions import MOVES

T = TypeVar("T")

CHUNK = 20
MAX_PARTS = 5
"""Parts of one process: what a run leaves unfinished stays in its memory."""
REPORTED = 3
"""How many failed seeds are shown in full."""
ENOUGH = 200
"""From so many seeds on, every kind of fault must have mattered."""


EVERY_MOVE = [
    move(before, after)
    for before, targets in MOVES.items()
    for after in sorted(targets)
]
EVERY_COUNT = [
    *EVERY_MOVE,
    *EVERY_END_OF_A_TOKEN,
    *EVERY_END_OF_A_CHILD,
    *EVERY_CASE_OF_FAN_OUT,
    *EVERY_CASE_OF_DEADLINES,
    *EVERY_CASE_OF_TRIES,
]
"""What has to come up as often as every fault."""


@dataclass
class Summary:
    """What became of many seeds."""

    seeds: int = 0
    failed: list[Outcome] = field(default_factory=list)
    hits: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    virtual: float = 0.0

    def add(self, other: Summary) -> None:
        """Count another one in."""
        self.seeds += other.seeds
        self.failed += other.failed
        self.hits += other.hits
        self.counts += other.counts
        self.virtual += other.virtual

    @property
    def missing(self) -> list[str]:
        """Faults, moves and ends of tokens that came up less often than planned."""
        planned = self.seeds // ENOUGH
        faults = [fault for fault in FAULTS if self.hits[fault] < planned]
        return faults + [each for each in EVERY_COUNT if self.counts[each] < planned]

    def __str__(self) -> str:
        hits = ", ".join(f"{fault} {self.hits[fault]}" for fault in FAULTS)
        counts = ", ".join(f"{name} {count}" for name, count in self.counts.items())
        return (
            f"{self.seeds} seeds, {self.virtual:,.0f} virtual seconds, "
            f"{len(self.failed)} failed\n{counts}\nfaults that mattered: {hits}"
        )


def run_chunk(seeds: range) -> Summary:
    """Run some seeds in this process."""
    summary = Summary()
    gc.disable()
    for seed in seeds:
        outcome = run_seed(seed)
        summary.seeds += 1
        summary.hits += outcome.hits
        summary.counts += outcome.counts
        summary.virtual += outcome.lasted
        if outcome.violations:
            summary.failed.append(outcome)
    gc.collect()
    return summary


def run_range(first: int, last: int, processes: int | None = None) -> Summary:
    """Run the seeds from `first` up to and without `last` on all cores."""
    chunks = [
        range(start, min(start + CHUNK, last)) for start in range(first, last, CHUNK)
    ]
    summary = Summary()
    for part in in_processes(run_chunk, chunks, processes):
        summary.add(part)
    return summary


def in_processes(
    work: Callable[[Any], T], parts: Iterable[Any], count: int | None = None
) -> Iterator[T]:
    """Do the parts of some work in processes that all hash text alike.

    Sets of text have an order that hangs on it, and runs may hang on that order.
    """
    context = multiprocessing.get_context("spawn")
    with (
        mock.patch.dict(os.environ, PYTHONHASHSEED="0"),
        context.Pool(
            count or os.cpu_count(), initializer=_begin, maxtasksperchild=MAX_PARTS
        ) as pool,
    ):
        yield from pool.imap_unordered(work, parts)


def digests(seeds: Sequence[int]) -> list[str]:
    """The digests of the histories of some seeds, run in this order."""
    return [run_seed(seed).digest for seed in seeds]


def _begin() -> None:
    """What is there from the start is not looked at by any collection.

    Nothing is said of coroutines of killed processes that cannot clean up.
    """
    sys.unraisablehook = lambda _: None
    gc.collect()
    gc.freeze()


@dataclass(frozen=True)
class Hunt:
    """How a mutant fared: of how many seeds how many caught it, and what they saw."""

    number: int
    seeds: int
    caught: int
    first: str


def hunt(part: tuple[int, int, bool]) -> Hunt:
    """Run a mutant on seeds, until one catches it or on all."""
    number, seeds, only_first = part
    caught, first = 0, ""
    done = 0
    gc.disable()
    with MUTANTS[number].applied():
        for seed in range(seeds):
            outcome = run_seed(seed)
            done += 1
            if outcome.violations:
                caught += 1
                first = first or outcome.violations[0]
                if only_first:
                    break
            if seed % CHUNK == CHUNK - 1:
                gc.collect()
    gc.collect()
    return Hunt(number, done, caught, first)


def hunt_all(seeds: int, *, only_first: bool, equivalent: bool) -> list[Hunt]:
    """Hunt every mutant, those argued to be equivalent only if wanted."""
    parts = [
        (number, seeds, only_first)
        for number, mutant in enumerate(MUTANTS)
        if equivalent or not mutant.equivalent
    ]
    return sorted(in_processes(hunt, parts), key=lambda each: each.number)


def table(hunts: list[Hunt]) -> str:
    """The hunts as a table in Markdown."""
    lines = ["| The rule taken out | What breaks | Noticed by |", "|---|---|---|"]
    for each in hunts:
        mutant: Mutant = MUTANTS[each.number]
        noticed = f"{each.caught} of {each.seeds} seeds"
        lines.append(f"| {mutant.name} | {mutant.breaks} | {noticed} |")
    return "\n".join(lines)


def main() -> int:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, usage="FIRST [LAST]")
    parser.add_argument("first", type=int, help="a seed, or the first of a range")
    parser.add_argument("last", type=int, nargs="?", help="where the range ends")
    parser.add_argument("--mutants", action="store_true", help="FIRST seeds of each")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--lines", type=int, default=10**9, help="of the history")
    arguments = parser.parse_args()
    say = sys.stdout.write
    if arguments.mutants:
        say(table(hunt_all(arguments.first, only_first=False, equivalent=True)) + "\n")
        return 0
    if arguments.last is None:
        (outcome,) = in_processes(run_seed, [arguments.first], 1)
        say(outcome.report(arguments.lines) + "\n")
        return bool(outcome.violations)
    began = time.perf_counter()
    summary = run_range(arguments.first, arguments.last, arguments.processes)
    for outcome in summary.failed[:REPORTED]:
        say(outcome.report() + "\n\n")
    say(f"{summary}\n{time.perf_counter() - began:.0f} s\n")
    if summary.missing:
        say(f"too seldom, or never: {', '.join(summary.missing)}\n")
    return bool(summary.failed or summary.missing)


if __name__ == "__main__":
    raise SystemExit(main())
