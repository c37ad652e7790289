"""Random histories of one queue against a small model, on every store.

The model is what a reader of the contract would expect. After every step each
execution and its steps must be stored exactly as the model has them.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Coroutine
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar, cast

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.conformance.conftest import Store
from tests.stores import (
    ERROR,
    claim_many,
    counted,
    end_lease,
    joined,
    new_execution,
    new_step,
    stored,
)
from tests.waiting import until
from worchflow.model.options import BackendOptions, Durability
from worchflow.model.records import (
    TERMINAL,
    Claim,
    ExecutionQuery,
    ExecutionStatus,
    StepStatus,
    WorkerRecord,
)
from worchflow.model.settlement import (
    Cancelled,
    Completed,
    Failed,
    Released,
    RetryAt,
    Settlement,
)
from worchflow.model.transitions import can_move
from worchflow.storage.contract.backend import Backend

S = ExecutionStatus
T = TypeVar("T")

MOST_WORKERS = 4
FAR = 3600.0
"""Seconds; what waits this long is not due in any history."""

# How many histories of how many steps; a step on servers takes longer.
EFFORT = {
    "sqlite_file": (40, 40),
    "sqlite_memory": (60, 40),
    "simulated": (30, 30),
    "redis_mongo": (30, 30),
}

SETTLEMENTS: dict[str, Settlement] = {
    "complete": Completed(result='"done"'),
    "fail": Failed(error=ERROR),
    "give up unattempted": Failed(error=ERROR, attempted=False),
    "retry": RetryAt(error=ERROR, delay=0.0),
    "retry later": RetryAt(error=ERROR, delay=FAR),
    "release": Released(),
    "release for later": Released(delay=FAR, reason="waits"),
    "cancel": Cancelled(),
}


@dataclass
class Expected:
    """What should be stored about one execution."""

    status: ExecutionStatus = S.QUEUED
    due: bool = True
    owner: str | None = None
    token: int = 0
    attempts: int = 0
    recoveries: int = 0
    flagged: bool = False
    result: str | None = None
    failed: bool = False
    steps: dict[str, tuple[StepStatus, str | None]] = field(default_factory=dict)
    settled_by: int = 0
    """The token of the claim that settled it last."""
    stored: ExecutionStatus = S.QUEUED
    """What was stored before the last move."""
    retry_token: int = 0
    """Failures of steps under an earlier claim are not recorded any more."""

    @property
    def eligible(self) -> bool:
        waits = self.status in (S.QUEUED, S.RETRYING)
        return waits and self.due and self.owner is None

    def end(self, status: ExecutionStatus) -> None:
        self.status, self.owner, self.flagged = status, None, False

    def die(self) -> None:
        self.recoveries += 1
        flagged, self.due = self.flagged, True
        self.end(S.CANCELLED if flagged else S.QUEUED)

    def settle(self, settlement: Settlement) -> None:
        flagged, self.settled_by = self.flagged, self.token
        self.due = getattr(settlement, "delay", 0.0) == 0.0
        match settlement:
            case Completed(result=result):
                self.result, self.failed = result, False
                self.end(S.COMPLETED)
            case Failed(attempted=attempted):
                self.failed = True
                self.attempts += attempted
                self.end(S.FAILED)
            case Cancelled():
                self.failed = False
                self.end(S.CANCELLED)
            case RetryAt():
                self.attempts += 1
                self.failed = True
                self.end(S.CANCELLED if flagged else S.RETRYING)
            case Released():
                self.end(S.CANCELLED if flagged else S.QUEUED)

    def retry(self) -> None:
        self.end(S.QUEUED)
        self.due, self.result, self.failed = True, None, False
        self.attempts = self.recoveries = 0
        self.steps = {
            id_: step
            for id_, step in self.steps.items()
            if step[0] is StepStatus.COMPLETED
        }


class Histories(RuleBasedStateMachine):
    """Two backends on one store, as two processes, and up to four workers."""

    executions = Bundle("executions")
    claims = Bundle("claims")

    def __init__(self, store: Store) -> None:
        super().__init__()
        self.store = store
        self.runner = asyncio.Runner()
        self.model: dict[str, Expected] = {}
        self.workers: dict[str, tuple[Backend, WorkerRecord]] = {}
        self.values = 0
        self.backends: list[Backend] = []

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(asyncio.wait_for(work, 25))

    @initialize()
    def open(self) -> None:
        prefix = f"t{uuid.uuid4().hex[:12]}"
        # Redis and MongoDB acknowledge steps earlier in fast mode, by design.
        is_sqlite = self.store.kind.startswith("sqlite")
        other: Durability = "fast" if is_sqlite else "strict"
        durabilities: list[Durability] = ["strict", other]
        for durability in durabilities:
            backend = self.store.make(
                BackendOptions(
                    queue_prefix=prefix,
                    timeout=20.0,
                    durability=durability,
                )
            )
            self.run(backend.open())
            self.backends.append(backend)
        self.join(0)

    def teardown(self) -> None:
        try:
            if self.backends:
                self.run(self.check_whole())
        finally:
            for backend in self.backends:
                self.run(backend.close())
            self.runner.close()

    async def check_whole(self) -> None:
        page = await self.backends[0].listing.page(ExecutionQuery(limit=1000))
        assert {execution.id for execution in page.items} == set(self.model)
        counts = {
            status: sum(one.status is status for one in self.model.values())
            for status in S
        }
        await counted(self.backends[1], counts)

    @rule(target=executions, delayed=st.booleans(), via=st.integers(0, 1))
    def insert(self, delayed: bool, via: int) -> str:
        new = new_execution(delay=FAR if delayed else None)
        (outcome,) = self.run(self.backends[via].executions.insert([new]))
        assert outcome.existing is None
        self.model[new.id] = Expected(due=not delayed)
        return new.id

    @rule(id_=executions, via=st.integers(0, 1))
    def insert_again(self, id_: str, via: int) -> None:
        if id_ not in self.model:
            return
        new = new_execution(id_, event_data='"other"')
        (outcome,) = self.run(self.backends[via].executions.insert([new]))
        assert outcome.existing == self.run(stored(self.backends[via], id_))

    @precondition(lambda self: len(self.workers) < MOST_WORKERS)
    @rule(via=st.integers(0, 1))
    def join(self, via: int) -> None:
        worker = self.run(joined(self.backends[via]))
        self.workers[worker.id] = (self.backends[via], worker)

    @rule(target=claims, number=st.integers(0, 3), limit=st.integers(1, 3))
    def claim(self, number: int, limit: int) -> Any:
        backend, worker = list(self.workers.values())[number % len(self.workers)]
        eligible = {id_ for id_, one in self.model.items() if one.eligible}
        count = min(limit, len(eligible))
        if not count:
            assert not self.run(backend.claims.claim(worker, limit, 0.0))
            return multiple()
        claims = self.run(claim_many(backend, worker, count, limit))
        assert {claim.execution.id for claim in claims} <= eligible
        for claim in claims:
            one = self.model[claim.execution.id]
            assert claim.token > one.token
            assert _as_expected(claim.steps.values()) == one.steps
            one.status, one.owner, one.token = S.PROCESSING, worker.id, claim.token
        return multiple(*claims)

    @rule(claim=claims, number=st.integers(1, 3), fails=st.booleans())
    def checkpoint(self, claim: Claim, number: int, fails: bool) -> None:
        self.values += 1
        step = new_step(number, result=f'"value {self.values}"')
        if fails:
            step = new_step(number, status=StepStatus.FAILED, result=None, error=ERROR)
        backend = self.backends[self.values % 2]
        one = self.model.get(claim.execution.id)
        if one is None:
            return  # Nobody promises what becomes of a step without its execution.
        recorded = self.run(backend.steps.checkpoint(claim, step))
        given = (step.status, step.result)
        if fails and claim.token < one.retry_token:
            expected = one.steps.get(step.step_id, given)
        else:
            expected = one.steps.setdefault(step.step_id, given)
        assert (recorded.status, recorded.result) == expected

    @rule(claim=claims, how=st.sampled_from(sorted(SETTLEMENTS)), via=st.integers(0, 1))
    def settle(self, claim: Claim, how: str, via: int) -> None:
        settlement = SETTLEMENTS[how]
        one = self.model.get(claim.execution.id, Expected())
        settled = self.run(self.backends[via].claims.settle(claim, settlement, None))
        if one.owner == claim.worker_id and one.token == claim.token:
            one.settle(settlement)
            assert settled.applied
            assert settled.status is one.status
        elif one.settled_by != claim.token:
            assert not settled.applied

    @rule(id_=executions, via=st.integers(0, 1))
    def cancel(self, id_: str, via: int) -> None:
        if id_ not in self.model:
            assert self.run(self.backends[via].executions.cancel(id_, "stop")) == (
                None,
                False,
            )
            return
        one = self.model[id_]
        _, changed = self.run(self.backends[via].executions.cancel(id_, "stop"))
        assert changed == (not one.status.is_terminal and not one.flagged)
        if changed and one.owner is None:
            one.end(S.CANCELLED)
        elif changed:
            one.flagged = True

    @rule(id_=executions, via=st.integers(0, 1))
    def retry(self, id_: str, via: int) -> None:
        if id_ not in self.model:
            assert self.run(self.backends[via].executions.retry(id_)) == (None, False)
            return
        one = self.model[id_]
        execution, queued = self.run(self.backends[via].executions.retry(id_))
        assert queued == (one.status in (S.FAILED, S.CANCELLED))
        if queued:
            one.retry()
            assert execution is not None
            assert execution.token > one.token
            one.token = one.retry_token = execution.token

    @rule(status=st.sampled_from(sorted(TERMINAL)), via=st.integers(0, 1))
    def prune(self, status: ExecutionStatus, via: int) -> None:
        ended = [id_ for id_, one in self.model.items() if one.status is status]
        self.run(self.prune_all(status, via, len(ended)))
        for id_ in ended:
            del self.model[id_]
            assert self.run(self.backends[1 - via].executions.get(id_)) is None
            assert self.run(self.backends[via].steps.all(id_)) == []

    async def prune_all(self, status: ExecutionStatus, via: int, count: int) -> None:
        removed = 0

        # What ended in this very moment is not older than nothing.
        async def all_gone() -> bool:
            nonlocal removed
            removed += await self.backends[via].retention.prune(status, 0.0, 2)
            return removed >= count

        await until(all_gone)
        assert removed == count

    @rule(number=st.integers(0, 3))
    def renew(self, number: int) -> None:
        backend, worker = list(self.workers.values())[number % len(self.workers)]
        renewal = self.run(asyncio.to_thread(backend.workers.renew, worker.id))
        owned = {id_ for id_, one in self.model.items() if one.owner == worker.id}
        assert renewal.alive
        assert renewal.owned == owned
        assert renewal.cancelled == {id_ for id_ in owned if self.model[id_].flagged}

    @precondition(lambda self: len(self.workers) > 1)
    @rule(number=st.integers(0, 3))
    def die(self, number: int) -> None:
        victim = list(self.workers)[number % len(self.workers)]
        del self.workers[victim]
        self.run(self.reap(victim))

    async def reap(self, victim: str) -> None:
        held = [id_ for id_, one in self.model.items() if one.owner == victim]
        reaper = next(iter(self.workers))
        await end_lease(self.backends[0], victim)
        await self.workers[reaper][0].workers.reap(reaper, expired=True)
        owners = [(await stored(self.backends[0], id_)).worker for id_ in held]
        assert owners == [None] * len(held)
        self.mourn(victim)

    def mourn(self, worker_id: str) -> None:
        for one in self.model.values():
            if one.owner == worker_id:
                one.die()

    @invariant()
    def stored_as_expected(self) -> None:
        if self.backends:
            self.run(self.compare())

    async def compare(self) -> None:
        for id_, one in self.model.items():
            execution = await stored(self.backends[0], id_)
            assert execution.status is one.status
            if execution.status is not one.stored:
                assert can_move(one.stored, execution.status)
            one.stored = execution.status
            assert execution.worker == one.owner
            # Anything may count the token on, but not while it is owned.
            assert execution.token == one.token or not one.owner
            assert execution.token >= one.token
            one.token = execution.token
            assert execution.attempt_count == one.attempts
            assert execution.recoveries == one.recoveries
            assert execution.result == one.result
            assert (execution.error == ERROR) == one.failed or one.status.is_terminal
            if not one.status.is_terminal:
                assert execution.cancel_requested == one.flagged
            assert _as_expected(await self.backends[1].steps.all(id_)) == one.steps


def _as_expected(steps: Any) -> dict[str, tuple[StepStatus, str | None]]:
    return {step.step_id: (step.status, step.result) for step in steps}


@pytest.mark.timeout(120)
@pytest.mark.slow
def test_every_history_goes_as_the_model_expects(store: Store) -> None:
    examples, steps = EFFORT[store.kind]
    run_state_machine_as_test(
        cast("Any", partial(Histories, store)),
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
