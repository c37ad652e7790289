"""One run: a fleet, its stores and its faults, all of them from one seed."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import hashlib
import logging
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

from tests.simulation.faults import Faults
from tests.simulation.handling import Handling
from tests.simulation.history import shown
from tests.simulation.limits import make_limited_plans
from tests.simulation.network import Network
from tests.simulation.oracle import Oracle
from tests.simulation.plans import CLIENTS, Plan, make_plans
from tests.simulation.processes import Process, World
from tests.simulation.senders import Sender
from tests.simulation.virtual import SimulatedRuntime, machine_of
from tests.simulation.workload import (
    FUNCTIONS,
    Functions,
    make_worker,
)
from worchflow import Worcher
from worchflow.foundations.errors import ConfigurationError, StoreUnavailable
from worchflow.model.options import BackendOptions

FAULTS_UNTIL = 4.0
"""Virtual seconds in which things go wrong."""
PATIENCE = 200.0
"""Virtual seconds afterwards in which everything has to end."""
WORKERS = (2, 3)
SLOTS = 2
EXECUTIONS = (2, 8)
LEASE_TTL = 3.0
TIMEOUT = 1.5
FAST_SHARE = 0.25
PARTIAL_SHARE = 0.3
"""Of the fleets; twice as many of their workers serve only some functions."""
MOST_SHARED = 5
"""Functions that a worker of some serves at most."""
CLOCKS = (0.0, 0.0, 0.0, 86_400.0, -86_400.0)
"""Seconds by which wall clocks are wrong."""


@dataclass(frozen=True)
class Outcome:
    """What became of one run."""

    seed: int
    violations: tuple[str, ...]
    hits: Counter[str]
    counts: Counter[str]
    history: list[tuple[Any, ...]]
    lasted: float
    """Virtual seconds."""

    @property
    def digest(self) -> str:
        """The same for the same history."""
        text = "\n".join(map(repr, self.history))
        return hashlib.sha256(text.encode()).hexdigest()

    def report(self, last: int = 150) -> str:
        """What to read when it failed."""
        return "\n".join(
            [
                shown(self.history, last),
                "",
                f"seed {self.seed} after {self.lasted:.3f} virtual seconds:",
                *(f"  {violation}" for violation in self.violations),
                f"again: .venv/bin/python -m tests.simulation.run {self.seed}",
            ]
        )


class Simulation:
    """The parts of a run, for its faults to choose from."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.world = World(seed)
        self.random = Random(self.world.random.getrandbits(64))
        self.is_strict = self.random.random() >= FAST_SHARE
        self.is_calm = False
        # Of its own, so that what else a seed decides does not depend on it.
        self._shares = Random(f"{seed}: functions")
        self.is_partial = self._shares.random() < PARTIAL_SHARE
        self.options = BackendOptions(
            durability="strict" if self.is_strict else "fast",
            lease_ttl=LEASE_TTL,
            timeout=TIMEOUT,
            queue_prefix="w",
            runtime=SimulatedRuntime(self.world),
        )
        self.network = Network(self.world)
        self.oracle = Oracle(self.world, self.network, SLOTS, self.is_strict)
        self.workers: list[Process] = []
        self.senders: list[Process] = []
        self._sending: dict[Process, asyncio.Task[None]] = {}
        self._worchers: dict[Process, Worcher] = {}
        self._started = 0

    def run(self) -> Outcome:
        """Run it to its end, or to the first promise that is broken."""
        oracle = Handling.oracle = self.oracle
        with machine_of(self.world), _quiet():
            try:
                self._begin()
                self.world.run(lambda: bool(oracle.violations), FAULTS_UNTIL)
                self._calm_down()
                self.world.run(self._is_over, FAULTS_UNTIL + PATIENCE, every=0.05)
                if not oracle.violations:
                    self._judge()
                self._look_for_errors()
            finally:
                self.network.hits["worker of some functions"] += (
                    self.network.redis.sorted
                )
                for process in self.world.processes:
                    process.dispose()
        return Outcome(
            seed=self.seed,
            violations=tuple(oracle.violations),
            hits=self.network.hits,
            counts=oracle.counts,
            history=self.world.history,
            lasted=self.world.now,
        )

    # -- what faults do

    def start_worker(self, after: float = 0.0) -> None:
        """Start one more worker process."""
        self.world.after(after, self._start_worker)

    def stop_worker(self, process: Process, timeout: float) -> None:
        """Ask a worker to stop, as SIGTERM does; its process ends with it."""
        self.workers.remove(process)
        process.deliver(lambda: process.start(self._stop(process, timeout)))

    def owns_something(self, process: Process) -> bool:
        """Whether a worker's claim is on something now."""
        worcher = self._worchers.get(process)
        worker_id = None if worcher is None else worcher.id
        executions = self.network.mongo.collection("executions").latest.values()
        return any(e.get("owner") == worker_id for e in executions if worker_id)

    # -- inside

    def _begin(self) -> None:
        for _ in range(self.random.choice(WORKERS)):
            self._start_worker()
        plans = make_plans(self.random, self.random.randint(*EXECUTIONS))
        # Of its own as well: what was there before them stays what it was.
        plans += make_limited_plans(Random(f"{self.seed}: limits"), len(plans))
        for number in range(CLIENTS):
            process = self._new_process(f"client-{number}")
            self.senders.append(process)
            random = Random(self.random.getrandbits(64))
            process.deliver(self._send, process, number, plans, random)
        Faults(self, Random(self.random.getrandbits(64))).begin()

    def _calm_down(self) -> None:
        self.is_calm = True
        # What is frozen by then thaws in its own time, among workers that are well.
        self.network.calm_down()
        clients = list(self.senders)
        process = self._new_process("teller")
        self.senders.append(process)
        process.deliver(self._tell, process, clients)
        if self.is_partial:
            # Something serves each function in the end.
            self._start_worker(FUNCTIONS)

    def _is_over(self) -> bool:
        return bool(self.oracle.violations) or (
            all(
                task.done() or not process.is_alive
                for process, task in self._sending.items()
            )
            and len(self._sending) == len(self.senders)
            and self.oracle.is_done()
            and not self._without_identity()
        )

    def _judge(self) -> None:
        self.oracle.judge()
        for process, task in self._sending.items():
            if process.is_alive and not task.done():
                self.oracle.violated(f"{process.name} still waits for an answer")
            elif process.is_alive and task.exception() is not None:
                self.oracle.violated(f"{process.name} ended: {task.exception()!r}")
        for process in self._without_identity():
            self.oracle.violated(f"{process.name} is not a member of the fleet again")

    def _without_identity(self) -> list[Process]:
        """Workers that nobody stopped and that cannot claim anything."""
        return [
            process
            for process in self.workers
            if process.is_alive
            and process in self._worchers
            and self._worchers[process].id is None
        ]

    def _look_for_errors(self) -> None:
        """What nobody has caught."""
        for process in self.world.processes:
            for context in process.loop.errors if process.is_alive else ():
                error = repr(context.get("exception", ""))
                self.oracle.violated(f"{process.name}: {context['message']}: {error}")

    def _new_process(self, name: str) -> Process:
        offset = self.random.choice(CLOCKS)
        self.network.hits["wrong clock"] += bool(offset)
        return Process(self.world, name, offset)

    def _start_worker(self, functions: Functions = ()) -> None:
        self._started += 1
        process = self._new_process(f"worker-{self._started}")
        self.workers.append(process)
        process.deliver(self._work, process, functions or self._share())

    def _share(self) -> Functions:
        """What a new worker serves."""
        if self.is_calm or not self.is_partial:
            return FUNCTIONS
        if self._shares.random() > 2 * PARTIAL_SHARE:
            return FUNCTIONS
        return tuple(
            self._shares.sample(FUNCTIONS, self._shares.randint(1, MOST_SHARED))
        )

    def _work(self, process: Process, functions: Functions) -> None:
        process.start(self._keep_started(process, functions))

    async def _keep_started(self, process: Process, functions: Functions) -> None:
        while True:
            worcher = make_worker(process, self.network, self.options, SLOTS, functions)
            self._worchers[process] = worcher
            try:
                return await worcher.start()
            except ConfigurationError:
                return None  # it was stopped meanwhile
            except StoreUnavailable:
                # As a supervisor would, with a new process after a moment.
                await asyncio.sleep(0.5)

    async def _stop(self, process: Process, timeout: float) -> None:
        await self._worchers[process].stop(timeout=timeout)

    def _tell(self, process: Process, clients: list[Process]) -> None:
        """Emit and answer what clients have left: executions wait for it."""
        teller = Sender(process, self.network, self.options)

        def is_over() -> bool:
            sending = [self._sending.get(each) for each in clients if each.is_alive]
            return all(task is not None and task.done() for task in sending)

        self._sending[process] = process.start(teller.tell_the_rest(is_over))
        # Nothing waits for its end: a token may be made as late as anything.
        process.start(teller.answer_the_rest())

    def _send(
        self, process: Process, number: int, plans: list[Plan], random: Random
    ) -> None:
        sender = Sender(process, self.network, self.options)
        self._sending[process] = process.start(sender.run(number, plans, random))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No logging, and no garbage collection in the middle of a run.

    What a killed process leaves must not be cleaned up at a moment that differs.
    """
    logger = logging.getLogger("worchflow")
    level, hook, collects = logger.level, sys.unraisablehook, gc.isenabled()
    logger.setLevel(logging.CRITICAL + 1)
    gc.disable()
    sys.unraisablehook = lambda _: None
    try:
        yield
    finally:
        sys.unraisablehook = hook
        logger.setLevel(level)
        if collects:
            gc.enable()


def run_seed(seed: int) -> Outcome:
    """Run one seed."""
    return Simulation(seed).run()
