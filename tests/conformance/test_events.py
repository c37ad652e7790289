"""The log of events: accepted once, delivered to whoever waits, taken once."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from tests.stores import (
    MakeBackend,
    claim_one,
    claimed,
    collect,
    end_lease,
    expect,
    insert,
    insert_one,
    joined,
    new_execution,
    new_worker,
    now,
    settle,
    stored,
)
from tests.waiting import until
from worchflow.model.events import NewEvent, StoredEvent, sent_id
from worchflow.model.records import Claim, ExecutionStatus
from worchflow.model.settlement import Completed, Released, Suspended
from worchflow.model.step_kind import StepKind
from worchflow.model.waits import AwaitedEvent, NewWait, StoredWait
from worchflow.storage.contract.backend import Backend
from worchflow.storage.contract.workers import WorkerHint

S = ExecutionStatus


def new_event(id: str | None = None, **fields: Any) -> NewEvent:
    """Make an event for order 1."""
    values: dict[str, Any] = {"name": "approved", "data": "{}", "key": "order 1"}
    return NewEvent(**values | {"id": id or uuid4().hex} | fields)


async def emit(backend: Backend, event: NewEvent) -> StoredEvent:
    """Accept an event and deliver it to everybody."""
    accepted = await backend.events.append(event)
    after = await backend.events.deliver(accepted)
    while after is not None:
        after = await backend.events.deliver(accepted, after)
    return accepted


async def wait_for(
    backend: Backend, claim: Claim, number: int = 1, **fields: Any
) -> StoredWait:
    """Store a wait for the event of order 1, or another one."""
    times = {name: fields.pop(name) for name in ("timeout", "until") if name in fields}
    since = {"since": claim.execution.created_at - timedelta(seconds=1)}
    event = {"name": "approved", "key": "order 1"} | since | fields
    wait = NewWait(
        step_id=f"{number:032x}",
        kind=StepKind.WAIT,
        title=f"wait {number}",
        event=AwaitedEvent(**event),
        **times,
    )
    (added,) = await backend.waits.add(claim, [wait])
    return added


async def found(
    backend: Backend, claim: Claim, wait: StoredWait, *passed: str
) -> str | None:
    """The id of the event that a wait may take."""
    look = await backend.events.find(claim, wait, passed)
    return look.event.id if look.event else None


# -- accepting


async def test_an_event_is_stored_as_it_is_with_the_moment_of_the_store(
    backend: Backend,
) -> None:
    before = now()

    event = await backend.events.append(
        new_event("e-1", data='{"$set":"$x"}', key="$key", name="$n")
    )

    assert (event.id, event.name, event.key) == ("e-1", "$n", "$key")
    assert event.data == '{"$set":"$x"}'
    assert abs(event.at - before) < timedelta(seconds=5)


async def test_the_first_content_of_an_id_counts(backend: Backend) -> None:
    first = await backend.events.append(new_event("e", data="1", key=None))

    again = await backend.events.append(new_event("e", data="2", name="other"))

    assert again == first
    assert (first.is_new, again.is_new) == (True, False)


async def test_the_events_of_another_prefix_are_not_seen(
    make_backend: MakeBackend,
) -> None:
    backend = await make_backend(queue_prefix="a")
    other = await make_backend(queue_prefix="b")
    claim = await claimed(backend)
    wait = await wait_for(backend, claim)

    mine = await emit(backend, new_event("e", data="1"))
    theirs = await emit(other, new_event("e", data="2"))

    assert (mine.data, theirs.data) == ("1", "2")
    look = await backend.events.find(claim, wait, ())
    assert look.event == mine
    await expect(backend, claim.execution.id, wakeups=1)


# -- delivering


async def test_an_event_wakes_those_who_wait_for_its_name_and_key(
    backend: Backend,
) -> None:
    claims = [await claimed(backend) for _ in range(4)]
    await wait_for(backend, claims[0])
    await wait_for(backend, claims[1], key="order 2")
    await wait_for(backend, claims[2], name="rejected")
    await wait_for(backend, claims[3], key=None)

    await emit(backend, new_event())

    async def wakeups() -> list[int]:
        each = [await stored(backend, claim.execution.id) for claim in claims]
        return [execution.wakeups for execution in each]

    assert await wakeups() == [1, 0, 0, 0]
    await emit(backend, new_event(key=None))
    assert await wakeups() == [1, 0, 0, 1]


async def test_an_event_queues_what_is_suspended(backend: Backend) -> None:
    worker = await joined(backend)
    id_ = await insert_one(backend)
    claim = await claim_one(backend, worker)
    wait = await wait_for(backend, claim)
    await settle(backend, claim, Suspended(status=S.WAITING, wakeups=0))

    event = await emit(backend, new_event())

    again = await claim_one(backend, worker)
    assert again.execution.id == id_
    assert again.waits[wait.step_id].event == wait.event
    look = await backend.events.find(again, again.waits[wait.step_id], ())
    assert look.event == event


async def test_more_who_wait_than_a_page_are_woken_page_by_page(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("sqlite", "redis_mongo"):
        monkeypatch.setattr(f"worchflow.storage.{module}.events.DELIVERY_PAGE", 2)
    claims = [await claimed(backend) for _ in range(5)]
    for claim in claims:
        await wait_for(backend, claim)
        await wait_for(backend, claim, 2, key="order 2")
    event = await backend.events.append(new_event())

    pages = [await backend.events.deliver(event)]
    while pages[-1] is not None:
        pages.append(await backend.events.deliver(event, pages[-1]))

    assert len(pages) == 3
    for claim in claims:
        await expect(backend, claim.execution.id, wakeups=1)


async def test_a_worker_is_told_that_what_it_runs_was_woken(
    make_backend: MakeBackend,
) -> None:
    backend, other = await make_backend(), await make_backend()
    worker = new_worker()
    hints: list[str] = []
    await backend.workers.join(worker, collect(hints, WorkerHint.WOKEN))
    id_ = await insert_one(backend)
    claim = await claim_one(backend, worker)
    await wait_for(backend, claim)

    async def told() -> bool:
        await emit(other, new_event())
        return id_ in hints

    await until(told)


async def test_a_sweep_delivers_what_was_left_pending(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = await joined(backend)
    id_ = await insert_one(backend)
    claim = await claim_one(backend, worker)
    await wait_for(backend, claim)
    await backend.events.append(new_event())
    assert await backend.leadership.holds(worker.id)

    await backend.sweeping.sweep(worker.id)
    await expect(backend, id_, wakeups=0)
    monkeypatch.setattr("worchflow.storage.sqlite.events.GRACE", -1000)
    monkeypatch.setattr(
        "worchflow.storage.redis_mongo.events.GRACE_MILLISECONDS", -1000
    )

    for _ in range(2):
        await backend.sweeping.sweep(worker.id)
    # Once: it is pending no more.
    await expect(backend, id_, wakeups=1)


# -- executions that are events as well


async def sends(backend: Backend, id: str, *, told: bool, key: str = "order 1") -> Any:
    """Insert an execution whose event others may wait for."""
    new = new_execution(id, "approved", event_key=key)
    (outcome,) = await backend.executions.insert([new])
    if told:
        await backend.events.publish([new])
    return outcome


async def sweep_all(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, worker_id: str
) -> None:
    """Sweep what is left behind as if that was long ago."""
    monkeypatch.setattr("worchflow.storage.sqlite.events.GRACE", -1000)
    for module in ("events", "follow_ups"):
        name = f"worchflow.storage.redis_mongo.{module}.GRACE_MILLISECONDS"
        monkeypatch.setattr(name, -1000)
    assert await backend.leadership.holds(worker_id)
    for _ in range(2):
        await backend.sweeping.sweep(worker_id)


async def test_an_execution_may_be_an_event_as_well(backend: Backend) -> None:
    claim, other = await claimed(backend), await claimed(backend)
    wait = await wait_for(backend, claim)
    await wait_for(backend, other, key="order 2")

    await sends(backend, "e-1", told=True)

    await expect(backend, claim.execution.id, wakeups=1)
    await expect(backend, other.execution.id, wakeups=0)
    look = await backend.events.find(claim, wait, ())
    assert look.event is not None
    assert (look.event.id, look.event.name) == (sent_id("e-1"), "approved")
    assert look.event.data == '{"amount":100}'
    await expect(backend, "e-1", status=S.QUEUED, is_published=True)


async def test_many_that_are_events_are_told_of_at_once(backend: Backend) -> None:
    claims = [await claimed(backend) for _ in range(3)]
    for number, claim in enumerate(claims):
        await wait_for(backend, claim, key=f"order {number}")
    new = [
        new_execution(event="approved", event_key=f"order {number}")
        for number in range(40)
    ]
    await backend.executions.insert(new)

    await backend.events.publish(new)

    for claim in claims:
        await expect(backend, claim.execution.id, wakeups=1)


async def test_those_that_are_sent_together_are_found_in_their_order(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worchflow.storage.redis_mongo.events.LOOK_PAGE", 3)
    claim = await claimed(backend)
    wait = await wait_for(backend, claim)
    sent = [new_execution(event="approved", event_key="order 1") for _ in range(12)]
    await insert(backend, *sent)
    await backend.events.publish(sent)

    taken: list[str] = []
    for number in range(12):
        event_id = await found(backend, claim, wait)
        assert event_id is not None
        assert await backend.events.take(claim, f"{number + 10:032x}", event_id)
        taken.append(event_id)

    assert taken == [sent_id(each.id) for each in sent]


async def test_a_sweep_tells_those_whom_a_dead_sender_did_not(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = await claimed(backend)
    wait = await wait_for(backend, claim)
    await sends(backend, "e-1", told=False)

    await sweep_all(backend, monkeypatch, claim.worker_id)

    await expect(backend, claim.execution.id, wakeups=1)
    assert await found(backend, claim, wait) == sent_id("e-1")
    await expect(backend, "e-1", is_published=True)


ENDS = [*("settled", "settled with waits", "cancelled", "reaped", "released")]


@pytest.mark.parametrize("end", ENDS)
async def test_whatever_becomes_of_it_those_who_wait_are_told(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    waiting = await claimed(backend)
    wait = await wait_for(backend, waiting)
    worker = await joined(backend, "approved")
    await sends(backend, "e-1", told=False)
    claim = await claim_one(backend, worker) if end != "cancelled" else None
    if claim is None:
        await backend.executions.cancel("e-1", None)
    elif end.startswith("settled"):
        if end == "settled with waits":
            await wait_for(backend, claim, key="order 3")
        await settle(backend, claim, Completed(result="1"))
    elif end == "released":
        await settle(backend, claim, Released())
    else:
        await end_lease(backend, claim.worker_id)
        reaper = await joined(backend)
        await backend.workers.reap(reaper.id, expired=True)

    await sweep_all(backend, monkeypatch, waiting.worker_id)

    # Of some ends, whoever ended it may have told them as well: that harms nobody.
    assert (await stored(backend, waiting.execution.id)).wakeups >= 1
    assert await found(backend, waiting, wait) == sent_id("e-1")


async def test_what_was_sent_before_is_not_told_of_again(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = await claimed(backend)
    await sends(backend, "e-1", told=True)
    await asyncio.sleep(0.01)
    while await backend.events.prune(-1, 10):
        pass

    again = await sends(backend, "e-1", told=False)
    await sweep_all(backend, monkeypatch, claim.worker_id)

    assert again.existing is not None
    wait = await wait_for(backend, claim)
    assert await found(backend, claim, wait) is None


# -- looking and taking


async def test_the_oldest_event_since_the_wait_looks_for_is_found(
    backend: Backend,
) -> None:
    early = await emit(backend, new_event("early"))
    await asyncio.sleep(0.005)
    claim = await claimed(backend)
    every = await wait_for(backend, claim)
    from_now = await wait_for(backend, claim, 2, since=None)
    await asyncio.sleep(0.005)
    late = await emit(backend, new_event("late"))
    await asyncio.sleep(0.005)
    await emit(backend, new_event("last"))

    # Of the second before the execution was sent.
    assert await found(backend, claim, every) == early.id
    assert await found(backend, claim, every, early.id) == late.id
    assert await found(backend, claim, from_now) == late.id
    assert await found(backend, claim, from_now, "late", "last") is None


async def test_only_what_was_accepted_before_the_deadline_is_found(
    backend: Backend,
) -> None:
    claim = await claimed(backend)
    wait = await wait_for(backend, claim, timeout=0.05)
    look = await backend.events.find(claim, wait, ())
    assert look.event is None
    assert look.left is not None
    await asyncio.sleep(0.06)

    async def over() -> bool:
        look = await backend.events.find(claim, wait, ())
        assert look.event is None
        return look.left == 0

    await until(over)
    await emit(backend, new_event())
    assert await found(backend, claim, wait) is None
    later = await wait_for(backend, claim, 2)
    assert await found(backend, claim, later) is not None


async def test_one_step_of_an_execution_takes_an_event(backend: Backend) -> None:
    first, second = await claimed(backend), await claimed(backend)
    a, b = await wait_for(backend, first, 1), await wait_for(backend, first, 2)
    other = await wait_for(backend, second, 1)
    event = await emit(backend, new_event())

    assert await backend.events.take(first, a.step_id, event.id)

    # Again, as after an unknown outcome.
    assert await backend.events.take(first, a.step_id, event.id)
    assert not await backend.events.take(first, b.step_id, event.id)
    assert await found(backend, first, a) == event.id
    assert await found(backend, first, b) is None
    assert await found(backend, second, other) == event.id
    assert await backend.events.take(second, other.step_id, event.id)


async def test_what_a_step_has_taken_that_is_left_out_is_free(
    backend: Backend,
) -> None:
    events, claim = backend.events, await claimed(backend)
    lost, next_ = await wait_for(backend, claim), await wait_for(backend, claim, 2)
    third = await wait_for(backend, claim, 3)
    event = await emit(backend, new_event())
    assert await events.take(claim, lost.step_id, event.id)
    assert (await events.find(claim, next_, ())).event is None
    left_out = [lost.step_id, f"{7:032x}"]

    look = await events.find(claim, next_, (), left_out)

    assert look.event == event
    assert (await events.find(claim, next_, [event.id], left_out)).event is None
    assert await events.take(claim, next_.step_id, event.id, left_out)
    # It is that step's now: what the one that is left out does late changes nothing.
    assert not await events.take(claim, lost.step_id, event.id)
    assert not await events.take(claim, third.step_id, event.id, left_out)
    assert (await events.find(claim, third, (), left_out)).event is None
    assert await events.take(claim, next_.step_id, event.id, left_out)


async def test_what_another_execution_has_taken_is_not_looked_at(
    backend: Backend,
) -> None:
    events = backend.events
    one, two = await claimed(backend), await claimed(backend)
    wait, other = await wait_for(backend, one), await wait_for(backend, two)
    event = await emit(backend, new_event())
    assert await events.take(one, wait.step_id, event.id)

    assert await events.take(two, other.step_id, event.id, [wait.step_id])
    assert await events.take(one, wait.step_id, event.id)


async def test_many_taken_events_are_passed_over(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worchflow.storage.redis_mongo.events.LOOK_PAGE", 3)
    claim = await claimed(backend)
    wait = await wait_for(backend, claim)
    for number in range(7):
        await emit(backend, new_event(f"e{number}"))
        await asyncio.sleep(0.002)
        assert await backend.events.take(claim, f"{number + 10:032x}", f"e{number}")
    assert await found(backend, claim, wait) is None

    await emit(backend, new_event("free"))

    assert await found(backend, claim, wait) == "free"


async def test_another_execution_of_the_same_id_has_taken_nothing(
    backend: Backend,
) -> None:
    claim = await claimed(backend, id="again")
    wait = await wait_for(backend, claim, since=now() - timedelta(hours=1))
    event = await emit(backend, new_event())
    assert await backend.events.take(claim, f"{9:032x}", event.id)
    await settle(backend, claim, Completed(result="1"))
    assert await backend.retention.prune(S.COMPLETED, -1, 10) == 1

    claim = await claimed(backend, id="again")
    wait = await wait_for(backend, claim, since=now() - timedelta(hours=1))

    assert await found(backend, claim, wait) == event.id


# -- removing


async def test_old_events_are_removed_but_for_those_that_may_be_taken(
    backend: Backend,
) -> None:
    await emit(backend, new_event("old"))
    await emit(backend, new_event("nobodys", key="order 2"))
    await emit(backend, new_event("no-key", key=None))
    await backend.events.append(new_event("pending", key="order 3"))
    claim = await claimed(backend)
    await wait_for(backend, claim)
    await emit(backend, new_event("wanted"))
    away = f"{77:032x}"

    assert await backend.events.prune(3600, 10) == 0
    await asyncio.sleep(0.01)
    assert await backend.events.prune(-1, 1) == 1
    for _ in range(5):
        await backend.events.prune(-1, 10)

    left = {
        id_
        for id_ in ("old", "nobodys", "no-key", "pending", "wanted")
        if (await backend.events.append(new_event(id_, data=away))).data != away
    }
    # The wait may take what was accepted in the second before its execution.
    assert left == {"old", "pending", "wanted"}


async def test_a_wait_for_time_alone_finds_no_event(
    backend: Backend,
) -> None:
    claim = await claimed(backend)
    wait = NewWait(step_id=f"{1:032x}", kind=StepKind.SLEEP, title="nap", timeout=9.0)

    (stored_wait,) = await backend.waits.add(claim, [wait])

    assert stored_wait.event is None
    assert (await backend.events.find(claim, stored_wait, ())).event is None
