"""What is unfinished is cancelled once, awaited to its end, and reported when late."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import pytest

from worchflow.definitions.calls import StepCall
from worchflow.engine import scope
from worchflow.engine.ownership import Interrupted, Interruption
from worchflow.engine.scope import Scope
from worchflow.engine.threads import Threads

FIELDS = {"execution_id": "e-1", "function": "f", "attempt": 1}

place: ContextVar[str] = ContextVar("place", default="nowhere")


class Asked:
    """An operation as far as a scope looks at one."""

    def __init__(self, title: str = "step") -> None:
        self.call = StepCall(title, print)


def new_scope() -> Any:
    return Scope(FIELDS)


def new_future() -> asyncio.Future[Any]:
    return asyncio.get_running_loop().create_future()


@pytest.fixture
def heard() -> Iterator[list[Any]]:
    """What was heard: of the log, how many are late."""
    heard: list[Any] = []
    logger = logging.getLogger("worchflow.engine")

    def hear(record: logging.LogRecord) -> bool:
        assert isinstance(record.args, tuple)
        heard.append(record.args[1])
        return False

    logger.addFilter(hear)
    yield heard
    logger.removeFilter(hear)


async def test_a_scope_of_nothing_ends_at_once(heard: list[Any]) -> None:
    await new_scope().close()

    assert heard == []


async def test_tasks_are_cancelled_once_and_cleaned_up_after(heard: list[Any]) -> None:
    work = new_scope()

    async def tidy() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            heard.append("cancelled")
            for _ in range(5):
                await asyncio.sleep(0)
            heard.append("clean")
            raise

    task = asyncio.ensure_future(tidy())
    work.add_task(task)
    await asyncio.sleep(0)
    work.cancel()
    await asyncio.sleep(0)
    work.cancel()
    await work.close()

    assert heard == ["cancelled", "clean"]
    assert task.cancelled()


async def test_futures_are_awaited_and_not_cancelled(heard: list[Any]) -> None:
    work, future = new_scope(), new_future()
    work.keep(future)
    ending = asyncio.ensure_future(work.close())
    await asyncio.sleep(0)
    assert not ending.done()
    future.set_exception(ValueError("seen by whoever awaited it"))
    await ending

    assert heard == []


async def test_what_begins_while_it_ends_is_awaited_too() -> None:
    work, late = new_scope(), new_future()

    async def leaves_something() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            work.keep(late)

    work.add_task(asyncio.ensure_future(leaves_something()))
    await asyncio.sleep(0)
    ending = asyncio.ensure_future(work.close())
    for _ in range(5):
        await asyncio.sleep(0)
    assert not ending.done()
    late.set_result(None)
    await ending


async def test_what_does_not_end_is_reported_and_cancelled_again(
    monkeypatch: pytest.MonkeyPatch, heard: list[Any]
) -> None:
    monkeypatch.setattr(scope, "LATE_AFTER_SECONDS", 0.01)
    work = new_scope()

    async def deaf() -> None:
        for _ in range(3):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                heard.append("ignored")

    work.add_task(asyncio.ensure_future(deaf()))
    await asyncio.sleep(0)
    await work.close()

    assert heard == ["ignored", 1, "ignored", 1, "ignored"]


async def test_what_has_ended_is_not_kept() -> None:
    work = new_scope()
    for _ in range(50):
        task = asyncio.ensure_future(asyncio.sleep(0))
        future = new_future()
        work.add_task(task)
        work.add_task(task)
        work.keep(future)
        assert len(work) == 2
        future.set_result(None)
        await task
        await asyncio.sleep(0)
        assert len(work) == 0


async def test_it_is_full_until_something_has_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scope, "MAX_UNFINISHED", 3)
    work = new_scope()
    futures = [new_future() for _ in range(4)]
    states: list[bool] = []
    for future in futures:
        states.append(work.is_full)
        work.keep(future)
    assert states == [False, False, False, True]
    for future in futures[:2]:
        future.set_result(None)
    await asyncio.sleep(0)
    assert not work.is_full


async def test_unfinished_operations_fill_it_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scope, "MAX_UNFINISHED", 2)
    work, first, second = new_scope(), Asked(), Asked()
    work.begin(first)
    assert not work.is_full
    work.begin(second)
    assert work.is_full
    work.end(first, None)

    assert not work.is_full


async def test_nothing_begins_once_it_is_interrupted() -> None:
    work = new_scope()
    work.interrupt(Interruption.TIMEOUT)
    work.interrupt(Interruption.STOPPING)

    assert work.interruption is Interruption.TIMEOUT
    assert work.ended.done()
    with pytest.raises(Interrupted):
        work.begin(Asked())
    assert work.first_running is None


async def test_the_handlers_end_is_the_end() -> None:
    work = new_scope()
    assert work.handler_runs
    handler = asyncio.ensure_future(asyncio.sleep(0))
    states: list[tuple[bool, bool]] = []
    handler.add_done_callback(
        lambda _: states.append((work.handler_runs, work.ended.done()))
    )
    work.begin_handler(handler)
    await work.ended

    # A timeout in the very turn in which it ended is too late already.
    assert states == [(False, False)]


async def test_what_was_never_awaited_runs_before_the_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    work, task = new_scope(), asyncio.current_task()
    ran: list[str] = []

    async def run(asked: Asked, failure: Exception | None) -> None:
        work.begin(asked)
        await asyncio.sleep(0)
        ran.append(asked.call.title)
        work.end(asked, failure)

    for title, failure in (("a", None), ("b", ValueError("first")), ("c", OSError())):
        asked = Asked(title)
        work.issue(asked, run(asked, failure), task)
    with pytest.raises(ValueError, match="first"):
        await work.join()
    work.forget()

    assert ran == ["a", "b", "c"]
    assert caplog.text.count("was never awaited") == 3


async def test_what_did_not_begin_never_does() -> None:
    work, caller = new_scope(), asyncio.ensure_future(asyncio.sleep(0))
    await caller
    ran: list[int] = []

    async def run() -> None:
        ran.append(1)

    forgotten = run()
    work.issue(Asked(), forgotten, caller)
    await work.close()

    with pytest.raises(RuntimeError, match="cannot reuse"):
        await forgotten
    assert ran == []


async def test_a_thread_has_the_callers_context_and_is_awaited() -> None:
    work, threads, go_on = new_scope(), Threads(1, "test-scope"), threading.Event()

    def function() -> str:
        assert go_on.wait(10)
        seen = place.get()
        place.set("inside")
        return seen

    place.set("outside")
    call = work.in_thread(threads, function)
    closing = asyncio.ensure_future(work.close())
    await asyncio.sleep(0)
    assert not closing.done()
    go_on.set()
    await closing
    threads.close()

    assert await call.result() == "outside"
    assert place.get() == "outside"


async def test_a_pause_ends_by_itself_or_with_the_task() -> None:
    work = new_scope()
    await work.pause(0)
    task = asyncio.ensure_future(work.pause(1000))
    work.add_task(task)
    await asyncio.sleep(0)
    await work.close()

    assert task.cancelled()


async def test_what_waits_for_its_parts_does_not_run_and_is_joined() -> None:
    scope, whole, part = new_scope(), Asked("whole"), Asked("part")
    scope.begin(whole)
    scope.delegate(whole, 1)
    scope.begin(part)
    assert scope.runs_only([part])
    assert whole in scope.delegating
    joining = asyncio.ensure_future(scope.join())
    scope.end(part, None)
    for _ in range(3):
        await asyncio.sleep(0)
    assert not joining.done()

    scope.take_back(whole)
    assert scope.runs_only([whole])
    scope.take_back(whole)
    scope.end(whole, None)
    await joining

    scope.take_back(whole)
    assert scope.runs_only([])


async def test_parts_do_not_count_as_unfinished(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scope, "MAX_UNFINISHED", 3)
    own, whole = new_scope(), Asked("whole")
    own.begin(whole)
    own.delegate(whole, 5)
    for _ in range(7):
        own.begin(Asked("part"))
    assert not own.is_full
    own.begin(Asked("other"))

    assert own.is_full


async def test_a_coroutine_that_is_withdrawn_is_not_run() -> None:
    own, operation = new_scope(), Asked()

    async def never() -> None:
        raise AssertionError

    task = asyncio.current_task()
    coroutine, other = own.issue(operation, never(), task), never()

    assert own.withdraw(other) is None
    assert own.withdraw("text") is None
    assert own.withdraw(coroutine) is operation
    assert own.withdraw(coroutine) is None
    other.close()
    own.issue(Asked(), coroutine, task)
    assert own.withdraw(coroutine) is None  # It is closed, or has begun.
