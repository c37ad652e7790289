"""A step is done once in an attempt, whoever asks for it, and recorded in any case."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest

from tests.stores import new_step
from tests.unit.engine.attempts import Engine
from worchflow import Context
from worchflow.engine import journal
from worchflow.engine.journal import Journal
from worchflow.foundations.backoff import Backoff
from worchflow.foundations.errors import StepFailed, StoreUnavailable
from worchflow.foundations.ids import step_id
from worchflow.model.records import Claim, StoredStep

STEP = new_step()


class Asked:
    """An operation that does what it is told."""

    def __init__(
        self, journal: Journal, do: Callable[[], Awaitable[Any]] | None = None
    ) -> None:
        self.step_id = STEP.step_id
        self._journal = journal
        self._do = do

    def recorded(self) -> StoredStep | None:
        return self._journal.find(self.step_id)

    def replay(self, recorded: StoredStep) -> Any:
        return "replayed", recorded.result

    async def do(self) -> Any:
        assert self._do is not None, "it is recorded"
        return await self._do()


async def nothing(ctx: Context[None]) -> None: ...


async def new_journal(engine: Engine) -> Any:
    return (await engine.attempt(nothing)).journal


def in_turn(journal: Journal, *operations: Any) -> list[asyncio.Task[Any]]:
    return [asyncio.ensure_future(journal.once(each)) for each in operations]


async def test_a_record_is_replayed_and_not_done(engine: Engine) -> None:
    await engine.record("first", "7")
    records = await new_journal(engine)
    asked = Asked(records)
    asked.step_id = step_id("first")

    assert await records.once(asked) == ("replayed", "7")
    assert records.find(step_id("first")).title == "first"
    assert records.find(step_id("second")) is None


async def test_one_does_it_and_the_others_replay_its_record(engine: Engine) -> None:
    records, go_on = await new_journal(engine), asyncio.Event()

    async def do() -> Any:
        await go_on.wait()
        return (await records.checkpoint(STEP)).title

    tasks = in_turn(records, Asked(records, do), Asked(records), Asked(records))
    await asyncio.sleep(0)
    go_on.set()

    replayed = ("replayed", STEP.result)
    assert await asyncio.gather(*tasks) == ["step 1", replayed, replayed]
    assert engine.steps.asked == 1


async def test_a_failure_of_the_first_is_that_of_all(engine: Engine) -> None:
    records, failure = await new_journal(engine), ValueError("once")

    async def fail() -> None:
        await asyncio.sleep(0)
        raise failure

    tasks = in_turn(records, Asked(records, fail), Asked(records), Asked(records))

    assert await asyncio.gather(*tasks, return_exceptions=True) == [failure] * 3
    # It is over: the next use does it.
    with pytest.raises(ValueError, match="twice"):
        await records.once(Asked(records, _failing("twice")))


def _failing(text: str) -> Callable[[], Awaitable[Any]]:
    async def fail() -> None:
        raise ValueError(text)

    return fail


async def test_after_a_cancelled_one_the_next_does_it(engine: Engine) -> None:
    records = await new_journal(engine)

    async def endless() -> None:
        await asyncio.Event().wait()

    async def do() -> str:
        return "second"

    first, second = in_turn(records, Asked(records, endless), Asked(records, do))
    await asyncio.sleep(0)
    first.cancel()

    assert await second == "second"
    assert first.cancelled()


async def test_what_continues_holds_up_the_next(engine: Engine) -> None:
    records = await new_journal(engine)
    thread: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def leaves_a_thread() -> None:
        records.hold(STEP.step_id, thread)
        await asyncio.Event().wait()

    first, second = in_turn(records, Asked(records, leaves_a_thread), Asked(records))
    await asyncio.sleep(0)
    first.cancel()
    for _ in range(5):
        await asyncio.sleep(0)
    assert first.cancelled()
    assert not second.done()
    await records.checkpoint(STEP)
    thread.set_result(None)

    assert await second == ("replayed", STEP.result)


async def test_a_save_whose_caller_is_cancelled_is_made_all_the_same(
    engine: Engine,
) -> None:
    attempt = await engine.attempt(nothing)
    records: Any = attempt.journal
    stored, go_on = engine.steps.checkpoint, asyncio.Event()

    async def slow(claim: Claim, step: StoredStep) -> StoredStep:
        await go_on.wait()
        return await stored(claim, step)

    engine.steps.checkpoint = slow  # type: ignore[method-assign]

    async def do() -> None:
        await records.checkpoint(STEP)

    first, second = in_turn(records, Asked(records, do), Asked(records))
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert not second.done()
    closing = asyncio.ensure_future(attempt.scope.close())
    await asyncio.sleep(0)
    assert not closing.done()
    go_on.set()
    await closing

    assert await second == ("replayed", STEP.result)
    assert await engine.steps.results() == {"step 1": STEP.result}


async def test_a_save_is_repeated_until_a_store_answers(
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(journal, "Backoff", partial(Backoff, first=0.001))
    engine.steps.failures = [StoreUnavailable("away")] * 3
    records = await new_journal(engine)

    assert await records.checkpoint(STEP) is STEP
    assert engine.steps.asked == 4
    assert records.find(STEP.step_id) is STEP
    assert 'away; step "step 1" of execution e-1 is done and waits' in caplog.text


async def test_what_was_recorded_first_counts(engine: Engine) -> None:
    records = await new_journal(engine)
    other = new_step(result='"theirs"')
    await engine.record_step(other)

    assert await records.checkpoint(STEP) == other
    assert await records.once(Asked(records)) == ("replayed", '"theirs"')


async def test_other_errors_of_a_store_come_out(engine: Engine) -> None:
    engine.steps.failures = [StepFailed("no", title="t", execution_id="e")]
    records = await new_journal(engine)
    with pytest.raises(StepFailed):
        await records.checkpoint(STEP)

    assert engine.steps.asked == 1


async def test_what_has_lost_a_race_is_not_waited_for_by_the_replay(
    engine: Engine,
) -> None:
    await engine.record("lost")
    records, lost = await new_journal(engine), step_id("lost")
    assert records.replay.continues

    records.leave_out([lost])

    assert not records.replay.continues
    assert records.left_out == {lost}
    # One title for the same step again: it is asked for after all.
    records.ask_for(lost)
    assert records.left_out == set()
