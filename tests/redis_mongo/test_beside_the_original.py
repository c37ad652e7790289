"""With `ts_compat` each fleet takes over what the other one has left.

The original knows nothing of our stamps (token, owner, due time, nonce): what its
commands leave behind is judged by the status and the recorded steps.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.command_line import Project
from tests.redis_mongo.conftest import Mongo, OpenBackend
from tests.redis_mongo.profile import profiled
from tests.redis_mongo.the_original import UNDEFINED, Original
from tests.stores import (
    ERROR,
    claim_many,
    claim_one,
    end_lease,
    expect,
    insert_one,
    joined,
    new_step,
    nothing_to_claim,
    renew,
    settle,
    stored,
)
from tests.waiting import TIMEOUT, until
from worchflow import (
    Context,
    Event,
    ExecutionFailed,
    InvalidInput,
    SerializationError,
    Worcher,
    WorchflowClient,
    function,
)
from worchflow.foundations.ids import step_id
from worchflow.model.records import ExecutionStatus, StepStatus, StoredStep
from worchflow.model.settlement import Completed, Failed, Released, RetryAt, Settlement
from worchflow.storage.redis_mongo.backend import RedisMongoBackend
from worchflow.storage.redis_mongo.typescript_original import Original as TakingOver

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture
async def backend(open_backend: OpenBackend) -> RedisMongoBackend:
    return await open_backend(ts_compat=True)


@pytest.fixture
def original(raw_redis: redis.Redis, raw_mongo: Mongo, prefix: str) -> Original:
    return Original(raw_redis, raw_mongo, prefix)


async def sent(backend: RedisMongoBackend, **fields: Any) -> str:
    """Send as our client did long ago; everybody can see it."""
    id_ = await insert_one(backend, **{"created_at": LONG_AGO} | fields)
    assert await backend._open_parts.stores.write_behind.flush(5)
    await due_long_ago(backend, id_)
    return id_


async def due_long_ago(backend: RedisMongoBackend, id_: str) -> None:
    """Let a sweep not take it for what is on its way."""
    due = {"$set": {"dueAt": LONG_AGO, "enqueuedAt": LONG_AGO}}
    statement = {"q": {"id": id_, "dueAt": {"$exists": True}}, "u": due}
    await backend._open_parts.stores.mongo.update("executions", [statement])


# -- recorded steps


async def test_a_step_of_the_original_is_replayed_by_the_first_claim_of_what_we_sent(
    backend: RedisMongoBackend, original: Original
) -> None:
    id_ = await sent(backend)
    assert original.take() == id_
    original.step(id_, "charge", {"receipt": 1})
    original.fail(id_, retries=True)

    claim = await claim_one(backend, await joined(backend))

    assert claim.token == 1
    steps = {key: step.result for key, step in claim.steps.items()}
    assert steps == {step_id("charge"): '{"receipt":1}'}


async def test_steps_of_both_stay_in_redis_where_the_original_looks_for_them(
    backend: RedisMongoBackend, original: Original
) -> None:
    """Also after it has written anew what a wipe took."""
    id_ = await sent(backend)
    original.take()
    original.fail(id_, retries=True)
    original.redis.flushdb()
    original.recover()
    assert original.take() == id_
    original.step(id_, "charge", 1)
    original.fail(id_, retries=True)
    claim = await claim_one(backend, await joined(backend))
    ours = new_step(2, step_id=step_id("ship"), title="ship", result="2")
    await backend.steps.checkpoint(claim, ours)
    await backend.claims.settle(claim, RetryAt(error=ERROR, delay=0), None)
    assert await backend._open_parts.stores.write_behind.flush(5)

    original.recover()
    assert original.take() == id_

    assert original.step(id_, "charge", "again") == 1
    assert original.step(id_, "ship", "again") == 2


async def test_a_sweep_leaves_the_steps_in_redis_that_the_original_recorded_there(
    backend: RedisMongoBackend, original: Original
) -> None:
    """It has written the hash anew after a wipe, and does not say whose it is."""
    worker = await joined(backend)
    id_ = await sent(backend)
    original.take()
    original.redis.flushdb()
    original.recover()
    original.take()
    original.step(id_, "charge", 1)

    assert await backend.sweeping.sweep(worker.id) == 1

    assert original.take() == id_
    assert original.step(id_, "charge", "again") == 1


async def test_steps_of_an_earlier_execution_of_the_original_go_when_its_id_is_sent(
    backend: RedisMongoBackend, original: Original
) -> None:
    original.send("same")
    original.take()
    original.step("same", "charge", 1)
    original.mongo.executions.delete_many({})
    original.mongo.steps.delete_many({})

    await sent(backend, id="same")

    claim = await claim_one(backend, await joined(backend))
    assert claim.steps == {}
    assert original.redis.exists(f"{original.prefix}:steps:same") == 0


# -- what ended has ended


@pytest.mark.parametrize("status", ["completed", "failed"])
async def test_what_the_original_ended_of_a_dead_worker_stays_ended(
    backend: RedisMongoBackend, original: Original, status: str
) -> None:
    dead, alive = await joined(backend), await joined(backend)
    id_ = await sent(backend)
    await claim_one(backend, dead)
    await end_lease(backend, dead.id)
    original.recover()
    original.take()
    _end(original, id_, status)
    ended = original.mongo.executions.find_one({"id": id_})
    assert ended is not None
    assert ended["owner"] == dead.id

    assert await backend.workers.reap(alive.id, expired=True) == 0
    assert await backend.sweeping.sweep(alive.id) == 0

    stays = await stored(backend, id_)
    assert (stays.status, stays.worker) == (status, None)
    assert stays.result == (None if status == "failed" else '"theirs"')
    assert stays.finished_at is not None
    assert await nothing_to_claim(backend, alive)


async def test_what_the_original_ended_is_in_the_way_of_no_other(
    backend: RedisMongoBackend, original: Original, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worchflow.storage.redis_mongo.reaper.PAGE", 1)
    dead, alive = await joined(backend), await joined(backend)
    ended, open_ = await sent(backend), await sent(backend)
    await claim_many(backend, dead, 2)
    original.complete(ended, 1)
    await end_lease(backend, dead.id)

    assert await backend.workers.reap(alive.id, expired=True) == 1

    assert (await claim_one(backend, alive)).execution.id == open_


async def test_what_the_original_ends_while_it_is_reaped_stays_ended(
    backend: RedisMongoBackend, original: Original
) -> None:
    dead = await joined(backend)
    id_ = await sent(backend)
    await claim_one(backend, dead)
    page = list(original.mongo.executions.find({"id": id_}))
    original.complete(id_, 1)

    assert await backend._open_parts.workers._reaper._release(page, [dead.id]) == []

    assert (await stored(backend, id_)).status == "completed"


@pytest.mark.parametrize("status", ["completed", "failed"])
async def test_what_the_original_ended_is_not_settled_by_who_owns_it(
    backend: RedisMongoBackend, original: Original, status: str
) -> None:
    """Nor is it claimed again by its owner, who hears of it at its next heartbeat."""
    worker = await joined(backend)
    id_ = await sent(backend)
    claim = await claim_one(backend, worker)
    _end(original, id_, status)

    later = RetryAt(error=ERROR, delay=0)
    for settlement in (Completed(result="1"), Failed(error=ERROR), later):
        settled = await backend.claims.settle(claim, settlement, None)
        assert (settled.applied, settled.status) == (False, status)
    renewal = await renew(backend, worker.id)
    assert renewal.owned == frozenset()
    assert await backend.claims.adopt(worker, frozenset({id_})) == []
    assert (await stored(backend, id_)).status == status


async def test_settlements_in_one_statement_leave_what_the_original_has_ended(
    backend: RedisMongoBackend, original: Original
) -> None:
    worker = await joined(backend)
    for _ in range(5):
        await sent(backend)
    claims = await claim_many(backend, worker, 5)
    theirs = claims[2].execution.id
    original.complete(theirs, "theirs")

    settled = await asyncio.gather(
        *(backend.claims.settle(claim, Completed(result="1"), None) for claim in claims)
    )

    assert [each.applied for each in settled] == [True, True, False, True, True]
    assert (await stored(backend, theirs)).result == '"theirs"'


async def test_what_the_original_ended_is_never_put_back_in_the_queue(
    backend: RedisMongoBackend, original: Original
) -> None:
    worker = await joined(backend)
    done, waits = await sent(backend), await sent(backend)
    original.take()
    original.complete(done, 1)
    original.redis.delete(f"{original.prefix}:queue")

    assert await backend.sweeping.sweep(worker.id) == 1

    assert original.redis.lrange(f"{original.prefix}:queue", 0, -1) == [waits]
    closed = original.mongo.executions.find_one({"id": done})
    assert closed is not None
    assert "dueAt" not in closed
    assert closed["updatedAt"] == closed["finishedAt"].timestamp() * 1000


async def test_what_the_original_ended_after_us_is_no_attempt_of_ours(
    backend: RedisMongoBackend, original: Original
) -> None:
    worker = await joined(backend)
    id_ = await sent(backend)
    await settle(backend, await claim_one(backend, worker), Released())
    await until(original.take)
    original.complete(id_, 1)
    await backend.sweeping.sweep(worker.id)

    found = await expect(backend, id_, status=ExecutionStatus.COMPLETED, attempts=())
    assert found.finished_at is not None


async def test_what_we_sent_and_the_original_ended_is_removed_in_its_time(
    backend: RedisMongoBackend, original: Original
) -> None:
    worker = await joined(backend)
    id_ = await sent(backend)
    original.take()
    original.step(id_, "charge", 1)
    original.complete(id_)
    await backend.sweeping.sweep(worker.id)

    assert await backend.retention.prune(ExecutionStatus.COMPLETED, 600.0, 10) == 0
    assert await backend.retention.prune(ExecutionStatus.COMPLETED, 60.0, 10) == 1

    assert await backend.executions.get(id_) is None
    assert original.mongo.steps.count_documents({}) == 0


# -- what the original left is taken over


@pytest.mark.parametrize("by", ["ours", "original"])
async def test_what_ran_when_the_original_was_killed_is_taken_over(
    backend: RedisMongoBackend, original: Original, by: str
) -> None:
    worker = await joined(backend)
    if by == "ours":
        id_ = await sent(backend)
    else:
        original.send(id_ := "theirs")
    assert original.take() == id_
    original.step(id_, "charge", 1)

    assert await backend.sweeping.sweep(worker.id) == 1

    claim = await claim_one(backend, worker)
    assert claim.execution.id == id_
    assert list(claim.steps) == [step_id("charge")]


async def test_what_the_original_began_a_moment_ago_is_left_to_it(
    backend: RedisMongoBackend, original: Original
) -> None:
    worker = await joined(backend)
    id_ = await sent(backend)
    replace(original, ago=30).take()

    assert await backend.sweeping.sweep(worker.id) == 0

    assert (await stored(backend, id_)).status == "processing"


@pytest.mark.parametrize("ended_by", ["ours", "original"])
async def test_a_retry_of_the_original_is_found_without_its_queue_entry(
    backend: RedisMongoBackend, original: Original, ended_by: str
) -> None:
    worker = await joined(backend)
    id_ = await sent(backend)
    if ended_by == "ours":
        claim = await claim_one(backend, worker)
        await backend.claims.settle(claim, Failed(error=ERROR), None)
    else:
        original.take()
        original.fail(id_)
        await backend.sweeping.sweep(worker.id)
    original.retry(id_)
    original.redis.flushdb()

    assert await backend.sweeping.sweep(worker.id) == 1
    assert await backend.sweeping.sweep(worker.id) == 0

    claim = await claim_one(backend, worker)
    assert (claim.execution.id, claim.execution.attempt_count) == (id_, 0)
    assert claim.execution.finished_at is None


async def test_what_poisoned_workers_is_innocent_again_after_the_originals_retry(
    backend: RedisMongoBackend, original: Original
) -> None:
    worker = await joined(backend)
    id_ = await sent(backend)
    claim = await claim_one(backend, worker)
    await backend.claims.settle(claim, Failed(error=ERROR), None)
    original.mongo.executions.update_one({"id": id_}, {"$set": {"deaths": 9}})
    original.retry(id_)
    await backend.sweeping.sweep(worker.id)

    again = await backend.claims.claim_quarantined(worker)

    assert again is not None
    assert (again.execution.id, again.execution.deaths) == (id_, 0)


async def test_what_the_original_sent_and_we_began_is_swept_like_our_own(
    backend: RedisMongoBackend, original: Original
) -> None:
    """Claimed before a sweep has ever seen it, and lost by Redis afterwards."""
    worker = await joined(backend)
    original.send("theirs")
    claim = await claim_one(backend, worker)
    await backend.claims.settle(claim, Released(), None)
    assert await backend._open_parts.stores.write_behind.flush(5)
    await due_long_ago(backend, "theirs")
    original.redis.flushdb()

    assert await backend.sweeping.sweep(worker.id) == 1

    assert (await claim_one(backend, worker)).token == 2


async def test_a_deadline_is_counted_anew_after_the_originals_retry(
    backend: RedisMongoBackend, original: Original
) -> None:
    worker = await joined(backend)
    id_ = await sent(backend)
    claim = await claim_one(backend, worker)
    first = await backend.claims.begin(claim, 1.0)
    assert first is not None
    await settle(backend, claim, Failed(error=ERROR))
    original.retry(id_)

    claim = await claim_one(backend, worker)

    assert (claim.execution.deadline_at, claim.deadline_left) == (None, None)
    assert claim.execution.started_at == claim.execution.may_begin_at
    again = await backend.claims.begin(claim, 1.0)
    assert again is not None
    assert again.deadline_at == claim.execution.may_begin_at + timedelta(seconds=1)
    assert first.deadline_at is not None
    assert again.deadline_at > first.deadline_at


async def test_a_retry_of_ours_is_found_without_its_queue_entry(
    backend: RedisMongoBackend, original: Original
) -> None:
    worker = await joined(backend)
    original.send("theirs")
    original.take()
    original.fail("theirs")
    await backend.executions.retry("theirs")
    assert await backend._open_parts.stores.write_behind.flush(5)
    await due_long_ago(backend, "theirs")
    original.redis.flushdb()

    assert await backend.sweeping.sweep(worker.id) == 1

    assert (await claim_one(backend, worker)).execution.id == "theirs"


async def test_what_the_original_holds_does_not_keep_a_worker_without_redis_busy(
    backend: RedisMongoBackend, original: Original
) -> None:
    """Of one page it may take one: what the original runs or ended is not on it."""
    worker = await joined(backend)
    running, done = await sent(backend), await sent(backend)
    last = await sent(backend)
    original.take()
    original.take()
    original.complete(done, 1)
    claimer = backend.claims.claimer(worker)

    assert await claimer._poll(1) == [last]

    assert (await stored(backend, running)).status == "processing"


async def test_a_sweep_reads_nothing_of_what_the_original_left_in_order(
    backend: RedisMongoBackend, original: Original, raw_mongo: Mongo
) -> None:
    """However much it has ended, and however much of it waits."""
    worker = await joined(backend)
    for number in range(20):
        original.send(f"done {number}", status="completed")
        original.send(f"waits {number}")
    await backend.sweeping.sweep(worker.id)
    assert raw_mongo.executions.count_documents({"dueAt": {"$exists": True}}) == 20
    takeover = TakingOver(backend._open_parts.stores)

    with profiled(raw_mongo) as reads:
        await takeover.take_over()

    assert reads.keys <= 8
    assert reads.documents == 0


def _end(original: Original, id_: str, status: str) -> None:
    if status == "completed":
        original.complete(id_, "theirs")
    else:
        original.fail(id_)


# -- whole numbers


class Order(Event[Any], name="order"):
    amount: int


@pytest.mark.parametrize("place", ["result", "step", "swallowed step"])
async def test_a_number_that_the_original_would_change_fails_the_execution_at_once(
    backend: RedisMongoBackend, place: str, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[str] = []

    def large() -> int:
        return 2**53 + 1

    @function(Order)
    async def handle(ctx: Context[Order]) -> Any:
        calls.append(place)
        if place == "result":
            return large()
        with contextlib.suppress(*[SerializationError] * (place != "step")):
            await ctx.step.run("large", large)
        return None

    async with (
        WorchflowClient(backend=backend) as client,
        Worcher([handle], backend=backend),
    ):
        handle_ = await client.send(Order(amount=1))
        with pytest.raises(ExecutionFailed, match=r"2\^53") as failed:
            await handle_.result(timeout=TIMEOUT)

    assert failed.value.error_type == "SerializationError"
    (line,) = (each for each in caplog.records if each.levelname == "ERROR")
    assert line.exc_info is not None
    assert isinstance(line.exc_info[1], SerializationError)
    assert (vars(line)["function"], vars(line)["attempt"]) == ("order", 1)
    assert calls == [place]
    assert (await stored(backend, handle_.id)).attempt_count == 1


# -- reading


async def test_a_listing_goes_on_behind_any_of_either(
    backend: RedisMongoBackend, original: Original
) -> None:
    """Also where some of both were sent at the same moment."""
    moment = datetime(2025, 1, 1, tzinfo=UTC)
    created = int(moment.timestamp() * 1000)
    for number in range(3):
        original.send(f"theirs {number}", createdAt=created)
        await sent(backend, id=f"ours-{number}", created_at=moment)
        original.send(f"later {number}")
    async with WorchflowClient(backend=backend) as client:
        found: list[str] = []
        cursor: str | None = None
        while True:
            page = await client.list(limit=1, cursor=cursor, status="queued")
            found += [each.id for each in page.items]
            cursor = page.cursor
            if cursor is None:
                break

    assert len(found) == len(set(found)) == 9
    assert {each.split()[0] for each in found[:3]} == {"later"}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2**31, "2147483648"),
        ({"at": [1_778_051_289_123, 1.5]}, '{"at":[1778051289123,1.5]}'),
        (-(2**53), "-9007199254740992"),
        (1e300, "1e+300"),
        (UNDEFINED, "null"),
    ],
)
async def test_numbers_of_the_original_are_what_they_are_in_javascript(
    backend: RedisMongoBackend, original: Original, value: Any, text: str
) -> None:
    id_ = await sent(backend)
    original.take()
    original.step(id_, "charge", value)
    original.complete(id_, None if value is UNDEFINED else value)

    (step,) = await backend.steps.all(id_)

    assert (step.result, (await stored(backend, id_)).result) == (text, text)


@pytest.mark.parametrize("value", ["3000000000.0", "1.0", '"5"', "[1E9]"])
async def test_values_of_ours_stay_as_they_were_sent(
    backend: RedisMongoBackend, original: Original, value: str
) -> None:
    worker = await joined(backend)
    id_ = await sent(backend)
    original.take()
    original.fail(id_, retries=True)
    claim = await claim_one(backend, worker)
    await backend.steps.checkpoint(claim, new_step(1, result=value))
    await backend.claims.settle(claim, Completed(result=value), None)

    (step,) = await backend.steps.all(id_)

    assert (step.result, (await stored(backend, id_)).result) == (value, value)


async def test_a_result_takes_the_place_of_one_of_the_others(
    backend: RedisMongoBackend, original: Original
) -> None:
    """Ours may be kept as text, which the original does not know of."""
    worker = await joined(backend)
    id_ = await sent(backend)
    claim = await claim_one(backend, worker)
    await backend.claims.settle(claim, Completed(result="[1E9]"), None)

    original.retry(id_)
    original.take()
    original.complete(id_, "theirs")
    assert (await stored(backend, id_)).result == '"theirs"'

    original.retry(id_)
    claim = await claim_one(backend, worker)
    await backend.claims.settle(claim, Completed(result='"ours"'), None)
    assert (await stored(backend, id_)).result == '"ours"'


async def test_a_large_number_that_only_redis_has_of_a_step_stops_no_claim(
    backend: RedisMongoBackend, original: Original
) -> None:
    id_ = await sent(backend)
    key = f"{original.prefix}:steps:{id_}"
    original.redis.hset(
        key, step_id("large"), '{"cached":true,"value":10000000000000000000}'
    )

    claim = await claim_one(backend, await joined(backend))

    (step,) = claim.steps.values()
    assert step.result == "10000000000000000000"


# -- failed steps


def failed_step(title: str) -> StoredStep:
    return new_step(
        step_id=step_id(title),
        title=title,
        status=StepStatus.FAILED,
        result=None,
        error=ERROR,
    )


# In the index the failure of the one is behind what has completed, of the other before.
@pytest.mark.parametrize("title", ["charge", "charge 26"])
@pytest.mark.parametrize("settlement", [Failed(error=ERROR), Released()])
async def test_the_original_runs_and_records_a_step_that_had_failed_for_us(
    backend: RedisMongoBackend, original: Original, settlement: Settlement, title: str
) -> None:
    """Also where nobody has retried it since, and its failure is not a void one."""
    worker = await joined(backend)
    id_ = await sent(backend)
    claim = await claim_one(backend, worker)
    await backend.steps.checkpoint(claim, failed_step(title))
    await backend.claims.settle(claim, settlement, None)
    assert [s.status for s in await backend.steps.all(id_)] == [StepStatus.FAILED]
    assert await backend._open_parts.stores.write_behind.flush(5)

    if isinstance(settlement, Failed):
        original.retry(id_)
    assert original.take() == id_
    assert original.step(id_, title, "paid") == "paid"
    original.fail(id_, retries=True)

    again = await claim_one(backend, worker)
    steps = {key: step.result for key, step in again.steps.items()}
    assert steps == {step_id(title): '"paid"'}
    assert [s.status for s in await backend.steps.all(id_)] == [StepStatus.COMPLETED]


@pytest.mark.parametrize("by", ["ours", "original"])
async def test_a_retry_clears_the_failed_step(
    backend: RedisMongoBackend, original: Original, by: str
) -> None:
    """It runs again and is recorded in its place."""
    worker = await joined(backend)
    id_ = await sent(backend)
    claim = await claim_one(backend, worker)
    await backend.steps.checkpoint(claim, failed_step("charge"))
    await backend.claims.settle(claim, Failed(error=ERROR), None)
    if by == "ours":
        await backend.executions.retry(id_)
    else:
        original.retry(id_)

    again = await claim_one(backend, worker)
    assert again.steps == {}
    paid = replace(failed_step("charge"), status=StepStatus.COMPLETED, error=None)
    paid = replace(paid, result='"paid"')
    assert await backend.steps.checkpoint(again, paid) == paid
    assert await backend.steps.all(id_) == [paid]
    record = original.mongo.steps.find_one({"executionId": id_, "stepId": paid.step_id})
    assert record is not None
    assert original.mongo.steps.count_documents({"executionId": id_}) == 1


async def test_a_failed_step_is_a_fact_among_ours(
    backend: RedisMongoBackend, original: Original
) -> None:
    """Whichever comes first is what all of ours go on with."""
    worker = await joined(backend)
    await sent(backend)
    claim = await claim_one(backend, worker)
    failed = failed_step("charge")
    paid = new_step(step_id=failed.step_id, title="charge", result='"paid"')

    assert await backend.steps.checkpoint(claim, failed) == failed
    assert (await backend.steps.checkpoint(claim, paid)).status is StepStatus.FAILED
    await backend.claims.settle(claim, RetryAt(error=ERROR, delay=0), None)

    again = await claim_one(backend, worker)
    assert again.steps == {failed.step_id: failed}
    other = failed_step("ship")
    shipped = new_step(step_id=other.step_id, title="ship", result="1")
    assert await backend.steps.checkpoint(again, shipped) == shipped
    assert (await backend.steps.checkpoint(again, other)).status is StepStatus.COMPLETED


async def test_a_failure_gives_way_to_what_the_original_has_completed(
    backend: RedisMongoBackend, original: Original
) -> None:
    worker = await joined(backend)
    id_ = await sent(backend)
    claim = await claim_one(backend, worker)
    original.step(id_, "charge", "paid")

    recorded = await backend.steps.checkpoint(claim, failed_step("charge"))

    assert (recorded.status, recorded.result) == (StepStatus.COMPLETED, '"paid"')


# -- cancelling


async def test_what_is_cancelled_while_it_waits_is_not_there_for_the_original(
    backend: RedisMongoBackend, original: Original
) -> None:
    cancelled, other = await sent(backend), await sent(backend)
    original.redis.rpush(f"{original.prefix}:queue", cancelled)

    _, changed = await backend.executions.cancel(cancelled, None)

    assert changed
    assert await backend._open_parts.stores.write_behind.flush(5)
    assert [original.take(), original.take()] == [other, None]


async def test_what_is_cancelled_while_it_is_delayed_is_not_there_for_the_original(
    backend: RedisMongoBackend, original: Original
) -> None:
    id_ = await sent(backend, delay=60.0)

    await backend.executions.cancel(id_, None)

    assert await backend._open_parts.stores.write_behind.flush(5)
    assert original.redis.exists(f"{original.prefix}:delayed") == 0
    assert original.take() is None


# -- what the original lets through


@pytest.mark.parametrize("id_", ["order #42 ü", "x" * 250, "ready steady", "a\nb"])
async def test_any_id_that_the_original_has_taken_can_be_asked_for(
    backend: RedisMongoBackend, original: Original, id_: str
) -> None:
    worker = await joined(backend)
    original.send(id_)
    async with WorchflowClient(backend=backend) as client:
        assert (await client.get(id_)).id == id_
        assert [one.id for one in (await client.list(id_prefix=id_)).items] == [id_]
        await client.cancel(id_)
        await client.retry(id_)
        claim = await claim_one(backend, worker)
        await backend.steps.checkpoint(claim, new_step(1))
        await backend.claims.settle(claim, Completed(result="1"), None)
        assert await client.handle(id_).result(timeout=TIMEOUT) == 1
        assert len(await client.steps(id_)) == 1
        with pytest.raises(InvalidInput):
            await client.send(Order(amount=1), id=id_)


@pytest.mark.parametrize("id_", ["", "\ud800", 7, {"$ne": None}])
async def test_what_can_be_no_id_is_refused(
    backend: RedisMongoBackend, id_: Any
) -> None:
    async with WorchflowClient(backend=backend) as client:
        for call in (client.get, client.steps, client.retry, client.cancel):
            with pytest.raises(InvalidInput, match="not an id"):
                await call(id_)
        with pytest.raises(InvalidInput, match="not an id"):
            client.handle(id_)


@pytest.mark.parametrize("kept", ["null", "missing", "only in Redis"])
async def test_data_that_is_undefined_is_none(
    backend: RedisMongoBackend, original: Original, kept: str
) -> None:
    worker = await joined(backend)
    original.send("theirs", data=UNDEFINED)
    if kept == "missing":
        original.mongo.executions.update_one(
            {"id": "theirs"}, {"$unset": {"eventData": ""}}
        )
    elif kept == "only in Redis":
        original.mongo.executions.delete_many({})
    else:
        async with WorchflowClient(backend=backend) as client:
            assert (await client.get("theirs")).data is None

    claim = await claim_one(backend, worker)

    assert claim.execution.event_data == "null"


async def test_a_function_that_needs_data_fails_at_once_without_it(
    backend: RedisMongoBackend, original: Original
) -> None:
    @function(Order)
    async def handle(ctx: Context[Order]) -> Any:
        return ctx.data.amount

    original.send("theirs", event="order", data=UNDEFINED)
    async with (
        WorchflowClient(backend=backend) as client,
        Worcher([handle], backend=backend),
    ):
        with pytest.raises(ExecutionFailed, match="data") as failed:
            await client.handle("theirs").result(timeout=TIMEOUT)

    assert failed.value.error_type == "EventValidationError"


async def test_a_document_that_cannot_be_read_says_which_one_it_is(
    backend: RedisMongoBackend, original: Original
) -> None:
    original.send("theirs", status="lost")
    async with WorchflowClient(backend=backend) as client:
        with pytest.raises(SerializationError, match=r"theirs.*'lost'") as refused:
            await client.get("theirs")

    assert refused.value.execution_id == "theirs"


# -- waiting


@pytest.mark.parametrize("way", ["result", "updates"])
async def test_who_waits_hears_soon_of_what_a_worker_of_the_original_has_done(
    backend: RedisMongoBackend,
    original: Original,
    monkeypatch: pytest.MonkeyPatch,
    way: str,
) -> None:
    """It tells nobody: without looks at the store this would take an hour."""
    monkeypatch.setattr("worchflow.client.handle.POLL_SECONDS", 3600.0)
    async with WorchflowClient(backend=backend) as client:
        id_ = await sent(backend)
        handle = client.handle(id_)

        async def result() -> Any:
            if way == "result":
                return await handle.result()
            return [each.status async for each in handle.updates()]

        waiting = asyncio.create_task(result())
        channel = f"{original.prefix}:updates:{id_}"
        await until(lambda: original.redis.pubsub_numsub(channel)[0][1])
        original.take()
        original.complete(id_, "theirs")

        found = await asyncio.wait_for(waiting, TIMEOUT)

    assert found == ("theirs" if way == "result" else ["completed"])


# -- the command line

RESULT = ("executions", "result", "--wait", "--timeout", "20s")


@pytest.mark.parametrize("where", ["environment", "file"])
def test_the_command_line_is_told_of_the_original(
    original: Original, redis_url: str, mongo_url: str, tmp_path: Path, where: str
) -> None:
    project = Project(tmp_path)
    stores = {
        "redis_url": redis_url,
        "mongo_url": mongo_url,
        "prefix": original.prefix,
        "ts_compat": "true",
    }
    environment: dict[str, object] = {}
    if where == "file":
        lines = [f'{name} = "{value}"' for name, value in stores.items()]
        project.write("worchflow.toml", "\n".join(lines).replace('"true"', "true"))
    else:
        environment = {f"WORCHFLOW_{name.upper()}": v for name, v in stores.items()}
    original.send("order #42 ü", event="process-payment", data={"amount": 5})

    id_ = "order #42 ü"
    shown = project.run("executions", "show", id_, "-o", "json", **environment)
    assert shown.code == 0, shown.err
    assert shown.json["status"] == "queued"
    with project.start("worker", "shop:app", **environment):
        result = project.run(*RESULT, id_, **environment)
    assert (result.code, "txn-ada-5" in result.out) == (0, True), result.err
