"""Attempts without a worker: one handler over a real store, under real claims."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any, Self

from typing_extensions import override

from tests.stores import claim_one, ignore, insert_one, new_step, new_worker, settle
from worchflow.definitions.function import WorchflowFunction, create_function
from worchflow.definitions.middleware import Middleware
from worchflow.engine.attempt import Attempt
from worchflow.engine.emitter import Emitter
from worchflow.engine.ownership import Interruption
from worchflow.engine.runner import ExecutionRunner
from worchflow.engine.sending import Sender
from worchflow.engine.slot import ParkingCounts
from worchflow.engine.threads import Threads
from worchflow.engine.worker_runtime import WorkerRuntime
from worchflow.foundations.ids import step_id
from worchflow.foundations.repeated_lines import RepeatedLines
from worchflow.foundations.runtime import SYSTEM
from worchflow.model.options import BackendOptions
from worchflow.model.records import Claim, StoredStep
from worchflow.model.settlement import Released
from worchflow.serialization.payloads import Payloads
from worchflow.storage.contract.steps import StepStore
from worchflow.storage.sqlite.backend import SQLiteBackend
from worchflow.worker.lease import Lease

EXECUTION = "e-1"
LEASE_TTL = 3600.0
"""Seconds: nobody renews the lease, and no test takes as long."""


class Steps(StepStore):
    """The steps of a store. Each of `failures` is raised once, before it is asked."""

    def __init__(self, stored: StepStore) -> None:
        self.stored = stored
        self.failures: list[Exception] = []
        self.asked = 0

    @override
    async def all(self, execution_id: str) -> list[StoredStep]:
        return await self.stored.all(execution_id)

    @override
    async def checkpoint(self, claim: Claim, step: StoredStep) -> StoredStep:
        self.asked += 1
        if self.failures:
            raise self.failures.pop(0)
        return await self.stored.checkpoint(claim, step)

    @override
    async def flush(self, claim: Claim) -> bool:
        return await self.stored.flush(claim)

    async def recorded(self) -> list[StoredStep]:
        """What the store has of the execution."""
        return await self.all(EXECUTION)

    async def results(self) -> dict[str, str | None]:
        """What is recorded, by title."""
        return {step.title: step.result for step in await self.recorded()}


class OpenSlot:
    """A slot that is always free; `suspend` is what an attempt parked with last."""

    def __init__(self) -> None:
        self.park_for = 1.0
        self.suspend: Callable[[], bool] | None = None
        self.taken = 0

    def park(self, suspend: Callable[[], bool], size: int) -> bool:
        assert size >= 0
        self.suspend = suspend
        return True

    def ask(self) -> asyncio.Future[None]:
        asked: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        asked.set_result(None)
        return asked

    def take(self) -> None:
        self.taken += 1


class Engine:
    """Makes attempts of one execution and runs them, on a database in memory."""

    def __init__(
        self, *, step_threads: int = 4, middleware: Sequence[Middleware] = ()
    ) -> None:
        self.backend = SQLiteBackend(":memory:", BackendOptions(lease_ttl=LEASE_TTL))
        self.steps = Steps(self.backend.steps)
        store: Any = self.backend
        store._steps = self.steps  # so the engine asks through them
        self.worker = replace(new_worker(functions={"name": "name"}), id="w-1")
        self.lease = Lease(self.worker, LEASE_TTL, SYSTEM)
        self.handler_threads = Threads(4, "test-handler")
        self.step_threads = Threads(step_threads, "test-step")
        self.runtime = WorkerRuntime(
            store=self.backend,
            payloads=Payloads(),
            middleware=middleware,
            emitter=Emitter(),
            handler_threads=self.handler_threads,
            step_threads=self.step_threads,
            clock=SYSTEM,
            random=lambda: 0.0,
            repeated=RepeatedLines(SYSTEM.monotonic),
            parking=ParkingCounts(),
            sender=Sender(store=self.backend, payloads=Payloads()),
        )
        self.slot = OpenSlot()
        self._held: Claim | None = None
        self._closing = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            stack.callback(self.handler_threads.close)
            stack.callback(self.step_threads.close)
            await self.backend.open()
            stack.push_async_callback(self.backend.close)
            asked_at = SYSTEM.monotonic()
            await self.backend.workers.join(self.worker, ignore)
            self.lease.renewed(asked_at)
            await insert_one(
                self.backend, id=EXECUTION, event="name", event_data="null"
            )
            self._closing = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._closing.aclose()

    async def record(
        self, title: str, result: str | None = "null", **fields: Any
    ) -> None:
        """Record a step in an attempt of its own, which ends with that."""
        step = new_step(step_id=step_id(title), title=title, result=result, **fields)
        await self.record_step(step)

    async def record_step(self, step: StoredStep) -> None:
        """As `record`. What a test does to `steps` has no bearing on it."""
        recorded = await self.steps.stored.checkpoint(await self._claim(), step)
        assert recorded == step

    async def runner(
        self, handler: Callable[..., Any], **options: Any
    ) -> ExecutionRunner:
        """Claim the execution, with all that is recorded of it."""
        options.setdefault("retries", 0)
        function: WorchflowFunction[Any, Any] = create_function(
            "name", handler, **options
        )
        claim = await self._claim()
        return ExecutionRunner(self.runtime, self.lease, claim, function, self.slot)

    async def attempt(self, handler: Callable[..., Any], **options: Any) -> Attempt:
        return (await self.runner(handler, **options)).attempt

    async def settlement(self, handler: Callable[..., Any], **options: Any) -> Any:
        """Run a handler; how its attempt ended, without the record of it."""
        outcome = await (await self.runner(handler, **options)).run()
        assert outcome is not None
        settlement: Any = outcome.settlement
        return replace(settlement, attempt=None)

    async def _claim(self) -> Claim:
        """A new claim; the one before is released, so no attempt is counted."""
        if self._held is not None:
            released = await settle(self.backend, self._held, Released())
            assert released.applied
        self._held = await claim_one(self.backend, self.worker)
        return self._held


def stop(runner: ExecutionRunner) -> None:
    """Interrupt an attempt as a worker that stops does."""
    runner.attempt.scope.interrupt(Interruption.STOPPING)
