"""Random histories of one queue against a small model, on every store.

The model is what a reader of the contract would expect. After every step each
execution and its steps must be stored exactly as the model has them. Together the
histories must meet every move that the table of statuses has.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeAlias

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.conformance.conftest import Store
from tests.stores import (
    ERROR,
    claim_many,
    counted,
    end_lease,
    joined,
    new_execution,
    new_step,
    now,
    stored,
)
from tests.waiting import until
from worchflow.model.events import NewEvent
from worchflow.model.options import BackendOptions, Durability
from worchflow.model.records import (
    SUSPENDED,
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
    Suspended,
)
from worchflow.model.step_kind import StepKind
from worchflow.model.transitions import CLAIMABLE, MOVES, RETRYABLE, can_move
from worchflow.model.waits import AwaitedEvent, NewWait
from worchflow.storage.contract.backend import Backend

S = ExecutionStatus
Action: TypeAlias = Callable[["History"], Awaitable[None]]
Moves: TypeAlias = Counter[tuple[ExecutionStatus, ExecutionStatus]]

MOST_WORKERS = 4
MOST_EXECUTIONS = 6
FOR_EVENT = f"{2:032x}"
"""The step of the wait that is for an event."""
EVERY_EVENT = AwaitedEvent(
    name="news", key=None, since=datetime(2020, 1, 1, tzinfo=UTC)
)
FAR = 3600.0
"""Seconds; what waits this long is not due in any history."""

# How many histories of how many steps; a step on servers takes longer.
EFFORT = {
    "sqlite_file": (40, 40),
    "sqlite_memory": (60, 40),
    "simulated": (30, 40),
    "redis_mongo": (25, 35),
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
    claim: Claim | None = None
    """By which it is owned."""
    via: int | None = None
    """The backend through which waits were added under this claim."""
    wakeups: int = 0
    waits: set[str] = field(default_factory=set[str])
    taken: dict[str, str] = field(default_factory=dict[str, str])
    """By which step each event was taken."""

    @property
    def eligible(self) -> bool:
        return self.status in CLAIMABLE and self.due and self.owner is None

    def end(self, status: ExecutionStatus) -> None:
        self.status, self.owner, self.flagged = status, None, False
        self.claim = self.via = None
        if status.is_terminal:
            self.waits = set()

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
            case Suspended(status=status, wakeups=seen, until=until):
                woken = self.wakeups != seen
                self.due = woken or (until is not None and until <= now())
                suspended = S.QUEUED if woken else status
                self.end(S.CANCELLED if flagged else suspended)

    def wake(self) -> None:
        if not self.status.is_terminal:
            self.wakeups += 1
        if self.status in SUSPENDED:
            self.status, self.due = S.QUEUED, True

    def retry(self) -> None:
        self.end(S.QUEUED)
        self.due, self.result, self.failed = True, None, False
        self.attempts = self.recoveries = 0
        self.steps = {
            id_: step
            for id_, step in self.steps.items()
            if step[0] is StepStatus.COMPLETED
        }


class History:
    """Two backends on one store, as two processes, and up to four workers."""

    def __init__(self, store: Store, moves: Moves) -> None:
        self.store = store
        self.moves = moves
        self.model: dict[str, Expected] = {}
        self.workers: dict[str, tuple[Backend, WorkerRecord]] = {}
        self.claims: list[Claim] = []
        self.values = 0
        self.events: set[str] = set()
        """The ids of all that were emitted."""
        self.backends: list[Backend] = []

    async def run(self, actions: list[Action]) -> None:
        try:
            await self.open()
            for action in actions:
                await action(self)
                await self.compare()
            await self.check_whole()
        finally:
            for backend in self.backends:
                await backend.close()

    async def open(self) -> None:
        prefix = f"t{uuid.uuid4().hex[:12]}"
        # Redis and MongoDB acknowledge steps earlier in fast mode, by design.
        is_sqlite = self.store.kind.startswith("sqlite")
        other: Durability = "fast" if is_sqlite else "strict"
        durabilities: list[Durability] = ["strict", other]
        for via, durability in enumerate(durabilities):
            backend = self.store.make(
                BackendOptions(
                    queue_prefix=prefix,
                    timeout=20.0,
                    durability=durability,
                )
            )
            await backend.open()
            self.backends.append(backend)
            await self.join(via)
            await self.insert(0, delayed=False, via=via)

    async def check_whole(self) -> None:
        page = await self.backends[0].listing.page(ExecutionQuery(limit=1000))
        assert {execution.id for execution in page.items} == set(self.model)
        counts = {
            status: sum(one.status is status for one in self.model.values())
            for status in S
        }
        await counted(self.backends[1], counts)

    def chosen(
        self, number: int, preferred: Callable[[Expected], object] = bool
    ) -> tuple[str, Expected]:
        """One of the executions, and a preferred one if there is any."""
        every = list(self.model.items())
        some = [(id_, one) for id_, one in every if preferred(one)] or every
        return some[number % len(some)]

    # -- actions

    async def insert(self, number: int, delayed: bool, via: int) -> None:
        """Insert one more or, where there are enough, one that is there."""
        executions = self.backends[via].executions
        if len(self.model) < MOST_EXECUTIONS:
            new = new_execution(delay=FAR if delayed else None)
            (outcome,) = await executions.insert([new])
            assert outcome.existing is None
            self.model[new.id] = Expected(due=not delayed)
        else:
            id_, _ = self.chosen(number)
            new = new_execution(id_, event_data='"other"')
            (outcome,) = await executions.insert([new])
            assert outcome.existing == await stored(self.backends[via], id_)

    async def join(self, via: int) -> None:
        if len(self.workers) < MOST_WORKERS:
            worker = await joined(self.backends[via])
            self.workers[worker.id] = (self.backends[via], worker)

    async def claim(self, number: int, limit: int) -> None:
        backend, worker = list(self.workers.values())[number % len(self.workers)]
        eligible = {id_ for id_, one in self.model.items() if one.eligible}
        count = min(limit, len(eligible))
        if not count:
            assert not await backend.claims.claim(worker, limit, 0.0)
            return
        claims = await claim_many(backend, worker, count, limit)
        assert {claim.execution.id for claim in claims} <= eligible
        for claim in claims:
            one = self.model[claim.execution.id]
            assert claim.token > one.token
            assert _as_expected(claim.steps.values()) == one.steps
            assert claim.waits.keys() == one.waits
            assert claim.execution.wakeups == one.wakeups
            one.status, one.owner, one.token = S.PROCESSING, worker.id, claim.token
            one.claim = claim
        self.claims += claims

    async def checkpoint(self, number: int, step: int, fails: bool) -> None:
        """Record a step by one of the last claims, which may own nothing any more."""
        if not self.claims:
            return
        claim = self.claims[-1 - number % len(self.claims)]
        one = self.model.get(claim.execution.id)
        if one is None:
            return  # Nobody promises what becomes of a step without its execution.
        self.values += 1
        new = new_step(step, result=f'"value {self.values}"')
        if fails:
            new = new_step(step, status=StepStatus.FAILED, result=None, error=ERROR)
        backend = self.backends[self.values % 2]
        recorded = await backend.steps.checkpoint(claim, new)
        given = (new.status, new.result)
        if fails and claim.token < one.retry_token:
            expected = one.steps.get(new.step_id, given)
        else:
            expected = one.steps.setdefault(new.step_id, given)
        assert (recorded.status, recorded.result) == expected

    async def owned(self, number: int) -> Expected | None:
        """One of what is owned, which is claimed now if nothing is."""
        if not any(one.claim for one in self.model.values()):
            await self.claim(number, 2)
            await self.compare()
        owned = [one for one in self.model.values() if one.claim]
        return owned[number % len(owned)] if owned else None

    async def settle(self, number: int, how: str, via: int) -> None:
        """Settle one of what is owned."""
        if one := await self.owned(number):
            await self.settle_as(one, SETTLEMENTS[how], via)

    async def settle_as(self, one: Expected, settlement: Settlement, via: int) -> None:
        assert one.claim is not None
        via = via if one.via is None else one.via
        settled = await self.backends[via].claims.settle(one.claim, settlement, None)
        one.settle(settlement)
        assert settled.applied
        assert settled.status is one.status

    async def suspend(
        self, number: int, status: ExecutionStatus, until: datetime | None, via: int
    ) -> None:
        """Suspend one of what is owned, as having looked when it was claimed."""
        if one := await self.owned(number):
            assert one.claim is not None
            seen = one.claim.execution.wakeups
            suspension = Suspended(status=status, wakeups=seen, until=until)
            await self.settle_as(one, suspension, via)

    async def wake(self, number: int, suspended: bool, via: int) -> None:
        """Wake one, and all that are suspended if there are any."""
        if not self.model:
            return
        every = list(self.model)
        woken = {every[number % len(every)]}
        if suspended:
            woken |= {i for i, one in self.model.items() if one.status in SUSPENDED}
        count = sum(self.model[id_].status in SUSPENDED for id_ in woken)
        assert await self.backends[via].waits.wake(sorted(woken)) == count
        for id_ in woken:
            self.model[id_].wake()

    async def wait(self, number: int, wait: int, ends: bool, via: int) -> None:
        """Add a wait of one of what is owned, or remove it."""
        one = await self.owned(number)
        if one is None:
            return
        assert one.claim is not None
        step_id = f"{wait:032x}"
        via = one.via = via if one.via is None else one.via
        waits = self.backends[via].waits
        if ends:
            await waits.remove(one.claim, [step_id])
            one.waits.discard(step_id)
        else:
            new = NewWait(step_id=step_id, kind=StepKind.SLEEP, title="wait")
            if step_id == FOR_EVENT:
                new = replace(new, kind=StepKind.WAIT, event=EVERY_EVENT)
            (added,) = await waits.add(one.claim, [new])
            assert (added.token == one.token) or step_id in one.waits
            one.waits.add(step_id)

    async def emit(self, number: int, via: int) -> None:
        """Accept an event, maybe once more, and deliver it to those who wait."""
        events = self.backends[via].events
        new = NewEvent(id=f"event-{number % 4}", name=EVERY_EVENT.name, data="1")
        event = await events.append(new)
        assert await events.deliver(event) is None
        self.events.add(event.id)
        for one in self.model.values():
            if FOR_EVENT in one.waits:
                one.wake()

    async def take(self, number: int, step: int, via: int) -> None:
        """Take an event for a step of one of what is owned."""
        one = await self.owned(number)
        if one is None or FOR_EVENT not in one.waits:
            return
        assert one.claim is not None
        events, waits = self.backends[via].events, self.backends[via].waits
        (wait,) = (
            each
            for each in await waits.all(one.claim.execution.id)
            if each.step_id == FOR_EVENT
        )
        look = await events.find(one.claim, wait, ())
        free = {
            id_ for id_ in self.events if one.taken.get(id_, FOR_EVENT) == FOR_EVENT
        }
        assert (look.event.id in free) if look.event else not free
        for id_ in sorted(self.events)[:1]:
            step_id = f"{step:032x}"
            is_own = one.taken.setdefault(id_, step_id) == step_id
            assert await events.take(one.claim, step_id, id_) == is_own

    async def settle_late(self, number: int, how: str, via: int) -> None:
        """Settle by a claim that owns nothing any more: nothing changes."""
        owning = [one.claim for one in self.model.values()]
        late = [claim for claim in self.claims if claim not in owning]
        if not late:
            return
        claim = late[-1 - number % len(late)]
        settlement = SETTLEMENTS[how]
        settled = await self.backends[via].claims.settle(claim, settlement, None)
        one = self.model.get(claim.execution.id, Expected())
        if one.settled_by != claim.token:
            assert not settled.applied

    async def cancel(
        self, number: int, preferred: ExecutionStatus | None, via: int
    ) -> None:
        if not self.model:
            return
        id_, one = self.chosen(number, lambda one: one.status is preferred)
        _, changed = await self.backends[via].executions.cancel(id_, "stop")
        assert changed == (not one.status.is_terminal and not one.flagged)
        if changed and one.owner is None:
            one.end(S.CANCELLED)
        elif changed:
            one.flagged = True

    async def retry(self, number: int, via: int) -> None:
        if not self.model:
            return
        id_, one = self.chosen(number, lambda one: one.status in RETRYABLE)
        execution, queued = await self.backends[via].executions.retry(id_)
        assert queued == (one.status in RETRYABLE)
        if queued:
            one.retry()
            assert execution is not None
            assert execution.token > one.token
            one.token = one.retry_token = execution.token

    async def prune(self, status: ExecutionStatus, via: int) -> None:
        ended = [id_ for id_, one in self.model.items() if one.status is status]
        removed = 0

        # What ended in this very moment is not older than nothing.
        async def all_gone() -> bool:
            nonlocal removed
            removed += await self.backends[via].retention.prune(status, 0.0, 2)
            return removed >= len(ended)

        await until(all_gone)
        assert removed == len(ended)
        executions = self.backends[1 - via].executions
        for id_ in ended:
            del self.model[id_]
            assert await executions.get(id_) is None
            assert await executions.cancel(id_, "stop") == (None, False)
            assert await executions.retry(id_) == (None, False)
            assert await self.backends[via].steps.all(id_) == []

    async def renew(self, number: int) -> None:
        backend, worker = list(self.workers.values())[number % len(self.workers)]
        renewal = await asyncio.to_thread(backend.workers.renew, worker.id)
        owned = {id_ for id_, one in self.model.items() if one.owner == worker.id}
        assert renewal.alive
        assert renewal.owned == owned
        assert renewal.cancelled == {id_ for id_ in owned if self.model[id_].flagged}

    async def die(self, number: int) -> None:
        if len(self.workers) < 2:
            return
        victim = list(self.workers)[number % len(self.workers)]
        del self.workers[victim]
        held = [id_ for id_, one in self.model.items() if one.owner == victim]
        reaper = next(iter(self.workers))
        await end_lease(self.backends[0], victim)
        await self.workers[reaper][0].workers.reap(reaper, expired=True)
        owners = [(await stored(self.backends[0], id_)).worker for id_ in held]
        assert owners == [None] * len(held)
        for one in self.model.values():
            if one.owner == victim:
                one.die()

    # -- what is stored

    async def compare(self) -> None:
        for id_, one in self.model.items():
            execution = await stored(self.backends[0], id_)
            assert execution.status is one.status
            if execution.status is not one.stored:
                assert can_move(one.stored, execution.status)
                self.moves[one.stored, execution.status] += 1
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
            assert execution.wakeups == one.wakeups
            assert _as_expected(await self.backends[1].steps.all(id_)) == one.steps
            waits = await self.backends[1].waits.all(id_)
            assert {wait.step_id for wait in waits} == one.waits


def _as_expected(steps: Any) -> dict[str, tuple[StepStatus, str | None]]:
    return {step.step_id: (step.status, step.result) for step in steps}


def calls(method: Callable[..., Any], **arguments: st.SearchStrategy[Any]) -> Any:
    """The calls of one method of a history."""
    return st.builds(partial, st.just(method), **arguments)


NUMBERS = st.integers(0, 11)
"""Which one of as many as there are."""
BACKENDS = st.integers(0, 1)
HOW = st.sampled_from(list(SETTLEMENTS))
PAST, FUTURE = now() - timedelta(hours=1), now() + timedelta(hours=1)

ACTIONS: st.SearchStrategy[Action] = st.one_of(
    calls(History.insert, number=NUMBERS, delayed=st.booleans(), via=BACKENDS),
    calls(History.join, via=BACKENDS),
    calls(History.claim, number=NUMBERS, limit=st.integers(1, 3)),
    calls(
        History.checkpoint,
        number=st.integers(0, 2),
        step=st.integers(1, 3),
        fails=st.booleans(),
    ),
    # Twice: everything else needs something that was settled.
    calls(History.settle, number=NUMBERS, how=HOW, via=BACKENDS),
    calls(History.settle, number=NUMBERS, how=HOW, via=BACKENDS),
    calls(History.settle_late, number=NUMBERS, how=HOW, via=BACKENDS),
    calls(
        History.suspend,
        number=NUMBERS,
        status=st.sampled_from(sorted(SUSPENDED)),
        until=st.sampled_from([None, PAST, PAST, FUTURE]),
        via=BACKENDS,
    ),
    calls(History.wake, number=NUMBERS, suspended=st.booleans(), via=BACKENDS),
    calls(
        History.wait,
        number=NUMBERS,
        wait=st.integers(1, 2),
        ends=st.booleans(),
        via=BACKENDS,
    ),
    calls(History.emit, number=NUMBERS, via=BACKENDS),
    calls(History.take, number=NUMBERS, step=st.integers(1, 2), via=BACKENDS),
    calls(
        History.cancel,
        number=NUMBERS,
        preferred=st.sampled_from([None, S.RETRYING, *sorted(SUSPENDED)]),
        via=BACKENDS,
    ),
    calls(History.retry, number=NUMBERS, via=BACKENDS),
    calls(History.prune, status=st.sampled_from(sorted(TERMINAL)), via=BACKENDS),
    calls(History.renew, number=NUMBERS),
    calls(History.die, number=NUMBERS),
)


def _steps(*actions: Any) -> list[Action]:
    return [partial(action, **arguments) for action, arguments in actions]


CLAIM = (History.claim, {"number": 0, "limit": 3})
RETRY = (History.retry, {"number": 0, "via": 1})


def _settle(how: str) -> Any:
    return History.settle, {"number": 0, "how": how, "via": 0}


def _suspend(status: ExecutionStatus, until: datetime | None) -> Any:
    suspended = {"number": 0, "status": status, "until": until, "via": 1}
    return History.suspend, suspended


def _cancel(status: ExecutionStatus) -> Any:
    return History.cancel, {"number": 0, "preferred": status, "via": 0}


WAKE = (History.wake, {"number": 0, "suspended": True, "via": 0})

WAIT = (History.wait, {"number": 0, "wait": 2, "ends": False, "via": 0})
EMIT = (History.emit, {"number": 0, "via": 1})
TAKE = (History.take, {"number": 0, "step": 2, "via": 0})
NAP = (S.SLEEPING, FUTURE)

EVERY_MOVE = _steps(
    *(_settle("retry"), CLAIM, _settle("release"), CLAIM),
    *(_suspend(S.WAITING, PAST), CLAIM, _suspend(S.SLEEPING, PAST), CLAIM),
    *(_suspend(S.WAITING, None), WAKE, CLAIM, _suspend(S.SLEEPING, FUTURE), WAKE),
    *(CLAIM, WAIT, _suspend(S.WAITING, None), EMIT, CLAIM, TAKE, _suspend(*NAP), WAKE),
    *(CLAIM, _suspend(S.WAITING, None), _cancel(S.WAITING), RETRY),
    *(CLAIM, _suspend(S.SLEEPING, FUTURE), _cancel(S.SLEEPING), RETRY),
    *(CLAIM, _settle("retry later"), _cancel(S.RETRYING), RETRY),
    *(_cancel(S.QUEUED), RETRY, CLAIM, _settle("cancel"), RETRY),
    *(CLAIM, _settle("fail"), RETRY, CLAIM, _settle("complete")),
)
"""A history with every move, those included that random ones rarely make."""


@pytest.mark.timeout(600)  # a failure is made small, which takes up to 300 s
@pytest.mark.slow
def test_every_history_goes_as_the_model_expects(store: Store) -> None:
    histories, length = EFFORT[store.kind]
    moves: Moves = Counter()

    @settings(
        max_examples=histories,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(ACTIONS, min_size=length, max_size=length))
    @example(EVERY_MOVE)
    def goes_as_expected(actions: list[Action]) -> None:
        asyncio.run(asyncio.wait_for(History(store, moves).run(actions), 60))

    goes_as_expected()
    met = {before: {after for old, after in moves if old is before} for before in S}
    assert met == MOVES, "a move that no history made is not tested"
