"""What is measured: programs that run executions, and how one measurement goes."""

from __future__ import annotations

import contextlib
import math
import sys
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from typing_extensions import override

from .driver import TIMEOUT, Program, wait_for
from .measurements import RATE, percentile
from .usage import usage_of

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    from .places import Store

Kind: TypeAlias = Literal["worchflow", "bare", "durable", "queue"]
Mode: TypeAlias = Literal[
    "prefilled",
    "mixed",
    "latency",
    "payloads",
    "claims",
    "rest",
    "scaling",
    "resuming",
]
Values: TypeAlias = dict[str, float]

ALL_MODES: frozenset[Mode] = frozenset(get_args(Mode))
COMPARABLE: frozenset[Mode] = frozenset(("prefilled", "mixed", "latency"))
"""What every system can do that runs executions."""
BARE_MODES: frozenset[Mode] = frozenset((*COMPARABLE, "payloads"))
WARM_UP = 10
"""Executions before anything counts: connections are made, caches are filled."""
OWN_PROGRAM = "worchflow.bench.programs.worchflow_program"
P50, P99 = "p50 ms", "p99 ms"


@dataclass(frozen=True, kw_only=True)
class System:
    """Something that runs executions.

    `place` gives the settings of a new, empty place for one measurement, `servers`
    are processes whose CPU time is told, `modes` what it can be measured in,
    `compared_to` is the system that ratios of this one refer to.
    """

    name: str
    kind: Kind
    command: tuple[str, ...]
    place: Callable[[], AbstractContextManager[dict[str, Any]]]
    compared_to: str
    workers: int = 1
    servers: Callable[[], Mapping[str, int]] = dict
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    modes: frozenset[Mode] = COMPARABLE
    share: float = 1.0
    """Of the executions of a run: who is slow is not given an hour's work."""
    at_most: float = math.inf
    """Seconds of a run; what is complete by then counts."""
    steps: int = 3
    note: str = ""

    def fewer(self, executions: int) -> int:
        """How many of so many it is given."""
        return max(WARM_UP, int(executions * self.share))

    def start(self, place: Mapping[str, Any], role: str, **settings: Any) -> Program:
        """Start one of its programs; it is ready once it answers."""
        return Program(
            self.command,
            {**place, **self.settings, "role": role, **settings},
            environment=self.environment,
        )

    @contextlib.contextmanager
    def started(
        self, place: Mapping[str, Any], role: str, **settings: Any
    ) -> Generator[Program]:
        """One of its programs, ready."""
        with self.start(place, role, **settings) as program:
            program.answer()
            yield program

    @contextlib.contextmanager
    def waiting(self, **settings: Any) -> Generator[tuple[list[Program], Program]]:
        """Its workers, which do not consume yet, and a sender, in a place of theirs."""
        with self.place() as place, contextlib.ExitStack() as stack:
            roles = ["sender", *["worker"] * self.workers]
            programs = [
                stack.enter_context(self.start(place, role, **settings))
                for role in roles
            ]
            for program in programs:
                program.answer()
            yield programs[1:], programs[0]

    @contextlib.contextmanager
    def running(self) -> Generator[tuple[list[Program], Program]]:
        """Its workers and a sender, all warm."""
        with self.waiting(singly=True) as (workers, sender):
            for worker in workers:
                worker.tell(go=True)
            sender.ask(send=WARM_UP)
            wait_for([*workers, sender], WARM_UP)
            yield workers, sender

    def prefilled(self, count: int, payload: int = 0) -> Values:
        """Everything is queued before the workers begin."""
        with self.waiting(singly=False, payload=payload) as (workers, sender):
            sender.ask(count, send=count)
            sender.close()
            meter = Meter({"workers": workers}, self.servers())
            began = time.monotonic()
            for worker in workers:
                worker.tell(go=True)
            done, ended = wait_for(workers, count, self.at_most)
            # How long a worker takes to start is no matter of this.
            began = max(began, min(each.began for each in workers))
            return {**self._rate(done, ended - began), **meter.per_execution(done)}

    def mixed(self, count: int) -> Values:
        """The workers wait; the first event is sent when the time begins."""
        with self.running() as (workers, sender):
            # Who calls the work directly completes it in the sender.
            programs = [*workers, sender]
            before = sum(each.done for each in programs)
            meter = Meter({"workers": workers, "sender": [sender]}, self.servers())
            sender.tell(send=count)
            done, ended = wait_for(programs, before + count, self.at_most)
            done -= before
            return {
                **self._rate(done, ended - sender.sending),
                **meter.per_execution(done),
            }

    def latency(self, rounds: int) -> Values:
        """One at a time, from before the send until the sender has the result."""
        with self.running() as (_, sender):
            sender.ask(rounds=WARM_UP)
            at_most = min(self.at_most, TIMEOUT / 2)
            return latency_values(sender.ask(rounds=rounds, at_most=at_most))

    def _rate(self, count: int, seconds: float) -> Values:
        return {RATE: count / seconds, "steps/s": self.steps * count / seconds}


class Bare(System):
    """The store's own limit: one program that makes the writes in ideal batches."""

    @override
    def prefilled(self, count: int, payload: int = 0) -> Values:
        """Everything is queued before it begins."""
        with (
            self.place() as place,
            self.started(place, "bare", payload=payload) as program,
        ):
            program.ask(count, send=count)
            return self._timed(program, count, go=True)

    @override
    def mixed(self, count: int) -> Values:
        """Each batch is queued right before it is run."""
        with self.place() as place, self.started(place, "bare") as program:
            return self._timed(program, count, whole=count)

    @override
    def latency(self, rounds: int) -> Values:
        """The acknowledged writes of one execution after another."""
        with self.place() as place, self.started(place, "bare") as program:
            program.ask(rounds=WARM_UP)
            return latency_values(program.ask(rounds=rounds, at_most=TIMEOUT / 2))

    def _timed(self, program: Program, count: int, **line: Any) -> Values:
        meter = Meter({"workers": [program]}, self.servers())
        seconds = program.ask(count, **line)["seconds"]
        return {**self._rate(count, seconds), **meter.per_execution(count)}


class Meter:
    """CPU time that processes use from now on; nothing where none can be read."""

    def __init__(
        self, programs: Mapping[str, list[Program]], servers: Mapping[str, int]
    ) -> None:
        started = {name: [each.pid for each in them] for name, them in programs.items()}
        self._pids = {**started, **{name: [pid] for name, pid in servers.items()}}
        self._before = self._cpu()

    def per_execution(self, count: int) -> Values:
        """Microseconds of CPU for each execution, and memory, by name."""
        values: Values = {}
        for name, cpu in self._cpu().items():
            values[f"CPU µs {name}"] = (cpu - self._before.get(name, 0)) / count * 1e6
        return values | self.memory()

    def share(self, seconds: float) -> Values:
        """Percent of one core, and memory, by name."""
        values: Values = {}
        for name, cpu in self._cpu().items():
            values[f"CPU % {name}"] = (cpu - self._before.get(name, 0)) / seconds * 100
        return values | self.memory()

    def memory(self) -> Values:
        """MiB in use, by name."""
        return {
            f"MiB {name}": sum(each.memory for each in used) / 2**20
            for name, used in self._used().items()
        }

    def _cpu(self) -> Values:
        return {
            name: sum(each.cpu for each in used) for name, used in self._used().items()
        }

    def _used(self) -> dict[str, list[Any]]:
        found = {
            name: [used for used in map(usage_of, pids) if used is not None]
            for name, pids in self._pids.items()
        }
        return {name: used for name, used in found.items() if used}


def worchflow(
    store: Store,
    *,
    workers: int,
    concurrency: int,
    modes: frozenset[Mode] = ALL_MODES,
) -> System:
    """Worchflow itself on a store."""
    name = own_name(store, workers)
    processes = "1 process" if workers == 1 else f"{workers} processes"
    return System(
        name=name,
        kind="worchflow",
        command=(sys.executable, "-m", OWN_PROGRAM),
        place=store.place,
        compared_to=name,
        workers=workers,
        servers=lambda: store.servers,
        settings={"concurrency": concurrency},
        modes=modes,
        note=f"{processes}, concurrency {concurrency:,}",
    )


def own_name(store: Store, workers: int) -> str:
    """As the tables name Worchflow on a store."""
    processes = "" if workers == 1 else f", {workers} processes"
    return f"Worchflow, {store.name}, {store.durability}{processes}"


def bare(store: Store, compared_to: str) -> System:
    """The limit of a store."""
    return Bare(
        name=f"bare writes, {store.name}, {store.bare_durability}",
        kind="bare",
        command=(sys.executable, "-m", store.bare),
        place=store.place,
        compared_to=compared_to,
        servers=lambda: store.servers,
        modes=BARE_MODES,
        note=store.bare_note,
    )


def latency_values(answer: Mapping[str, Any]) -> Values:
    """Median and 99th percentile, in milliseconds."""
    seconds: list[float] = answer["seconds"]
    return {P50: percentile(seconds, 50) * 1e3, P99: percentile(seconds, 99) * 1e3}
