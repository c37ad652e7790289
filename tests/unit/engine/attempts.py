"""Attempts without a worker: one handler over a store in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from tests.stores import new_step, now
from worchflow.definitions.function import create_function
from worchflow.definitions.middleware import Middleware
from worchflow.engine.attempt import Attempt
from worchflow.engine.emitter import Emitter
from worchflow.engine.ownership import Interruption
from worchflow.engine.runner import ExecutionRunner
from worchflow.engine.threads import Threads
from worchflow.engine.worker_runtime import WorkerRuntime
from worchflow.foundations.ids import step_id
from worchflow.foundations.repeated_lines import RepeatedLines
from worchflow.foundations.runtime import SYSTEM
from worchflow.model.records import Claim, ExecutionStatus, StoredExecution, StoredStep
from worchflow.serialization.payloads import Payloads


class Steps:
    """What is recorded; the first write wins. Each of `failures` is raised once."""

    def __init__(self) -> None:
        self.recorded: dict[str, StoredStep] = {}
        self.failures: list[Exception] = []
        self.asked = 0

    async def checkpoint(self, claim: Claim, step: StoredStep) -> StoredStep:
        self.asked += 1
        if self.failures:
            raise self.failures.pop(0)
        return self.recorded.setdefault(step.step_id, step)

    @property
    def results(self) -> dict[str, str | None]:
        """What is recorded, by title."""
        return {step.title: step.result for step in self.recorded.values()}


class Claims:
    """Nobody watches."""

    def announce(self, claim: Claim) -> None: ...


class Trust:
    """A lease that holds, as long as nobody says otherwise."""

    def holds(self) -> bool:
        return True

    async def regain(self) -> None:
        raise AssertionError("nobody took it away")


class Engine:
    """Makes attempts and runs them; closes its threads at the end."""

    def __init__(
        self, *, step_threads: int = 4, middleware: Sequence[Middleware] = ()
    ) -> None:
        self.steps = Steps()
        self.ownership: Any = Trust()
        self.handler_threads = Threads(4, "test-handler")
        self.step_threads = Threads(step_threads, "test-step")
        store: Any = SimpleNamespace(steps=self.steps, claims=Claims())
        self.runtime = WorkerRuntime(
            store=store,
            payloads=Payloads(),
            middleware=middleware,
            emitter=Emitter(),
            handler_threads=self.handler_threads,
            step_threads=self.step_threads,
            clock=SYSTEM,
            random=lambda: 0.0,
            repeated=RepeatedLines(SYSTEM.monotonic),
        )

    def close(self) -> None:
        self.handler_threads.close()
        self.step_threads.close()

    def record(self, title: str, result: str = "null", **fields: Any) -> None:
        """Record a step as an earlier attempt would have."""
        identity = step_id(title)
        self.steps.recorded[identity] = new_step(
            step_id=identity, title=title, result=result, **fields
        )

    def runner(self, handler: Callable[..., Any], **options: Any) -> ExecutionRunner:
        function = create_function("name", handler, **{"retries": 0, **options})
        claim = Claim(
            execution=StoredExecution(
                id="e-1",
                event_name="name",
                event_data="null",
                status=ExecutionStatus.PROCESSING,
                created_at=now(),
                updated_at=now(),
            ),
            worker_id="w-1",
            token=1,
            steps=dict(self.steps.recorded),
        )
        return ExecutionRunner(self.runtime, self.ownership, claim, function)

    def attempt(self, handler: Callable[..., Any], **options: Any) -> Attempt:
        return self.runner(handler, **options).attempt

    async def settlement(self, handler: Callable[..., Any], **options: Any) -> Any:
        """Run a handler; how its attempt ended, without the record of it."""
        outcome = await self.runner(handler, **options).run()
        assert outcome is not None
        settlement: Any = outcome.settlement
        return replace(settlement, attempt=None)


def stop(runner: ExecutionRunner) -> None:
    """Interrupt an attempt as a worker that stops does."""
    runner.attempt.scope.interrupt(Interruption.STOPPING)
