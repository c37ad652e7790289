"""The pool of daemon threads: its bound, its reuse, and what comes back."""

from __future__ import annotations

import asyncio
import concurrent.futures
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from typing import Any

import pytest

from worchflow.engine.ownership import Interrupted
from worchflow.engine.threads import ThreadCall, Threads


@pytest.fixture
def make_threads() -> Iterator[Callable[[int], Threads]]:
    made: list[Threads] = []

    def make(limit: int) -> Threads:
        made.append(Threads(limit, f"test-{len(made)}"))
        return made[-1]

    yield make
    for threads in made:
        threads.close()


def names(threads: Threads) -> list[str]:
    return [
        each.name
        for each in threading.enumerate()
        if each.name.startswith(threads._name)
    ]


def test_one_thread_serves_what_comes_one_after_another(
    make_threads: Callable[[int], Threads],
) -> None:
    threads = make_threads(4)
    for number in range(50):
        future = threads.submit(lambda number=number: number)
        assert future.result(10) == number
        # It is idle again only once it has said so.
        while not threads._idle:
            pass

    assert len(names(threads)) == 1
    assert all(each.daemon for each in threading.enumerate() if "test-" in each.name)


def test_no_more_than_the_limit_run_and_all_that_wait_are_served(
    make_threads: Callable[[int], Threads],
) -> None:
    threads = make_threads(3)
    all_here, go_on = threading.Barrier(4, timeout=10), threading.Event()
    running: list[int] = []

    def hold(number: int) -> int:
        running.append(number)
        if number < 3:
            all_here.wait()
        assert go_on.wait(10)
        return number

    futures = [threads.submit(lambda n=n: hold(n)) for n in range(10)]
    all_here.wait()
    assert sorted(running) == [0, 1, 2]
    go_on.set()

    assert [future.result(10) for future in futures] == list(range(10))
    assert len(names(threads)) == 3


def test_work_that_meets_never_waits_for_a_thread_that_is_busy(
    make_threads: Callable[[int], Threads],
) -> None:
    # One thread is idle and two pieces of work come that wait for each other: the
    # second must not count on the thread that is just taking the first.
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(500):
            threads = make_threads(2)
            threads.submit(int).result(10)
            while not threads._idle:
                pass
            meeting = threading.Barrier(2, timeout=10)
            pair = [threads.submit(meeting.wait) for _ in range(2)]
            done, _ = wait(pair, 5)
            assert len(done) == 2
            threads.close()
    finally:
        sys.setswitchinterval(interval)


def test_what_is_called_off_before_it_began_never_begins(
    make_threads: Callable[[int], Threads],
) -> None:
    threads = make_threads(1)
    go_on = threading.Event()
    ran: list[int] = []
    first = threads.submit(lambda: go_on.wait(10))
    second: Future[Any] = threads.submit(lambda: ran.append(2))
    third: Future[Any] = threads.submit(lambda: ran.append(3))
    assert second.cancel()
    go_on.set()

    assert first.result(10)
    third.result(10)
    assert ran == [3]


def stop_iteration() -> Any:
    return next(iter(()))


def system_exit() -> Any:
    sys.exit(1)


def keyboard_interrupt() -> Any:
    raise KeyboardInterrupt


def cancelled() -> Any:
    raise asyncio.CancelledError


def future_cancelled() -> Any:
    raise concurrent.futures.CancelledError


@pytest.mark.parametrize(
    "function",
    [stop_iteration, system_exit, keyboard_interrupt, cancelled, future_cancelled],
)
async def test_what_no_future_can_hand_on_comes_back_as_an_error(
    make_threads: Callable[[int], Threads], function: Callable[[], Any]
) -> None:
    call = ThreadCall(make_threads(1), function)
    with pytest.raises(RuntimeError, match="code in a thread raised") as raised:
        await asyncio.wait_for(call.result(), 10)

    assert raised.value.__cause__ is not None


async def test_an_interruption_comes_back_as_it_is(
    make_threads: Callable[[int], Threads],
) -> None:
    def interrupted() -> Any:
        raise Interrupted

    with pytest.raises(Interrupted):
        await ThreadCall(make_threads(1), interrupted).result()


async def test_giving_up_leaves_a_running_call_alone(
    make_threads: Callable[[int], Threads],
) -> None:
    threads = make_threads(1)
    began, go_on = threading.Event(), threading.Event()
    loop = asyncio.get_running_loop()
    started = asyncio.Event()

    def work() -> str:
        began.set()
        loop.call_soon_threadsafe(started.set)
        assert go_on.wait(10)
        return "done"

    running = ThreadCall(threads, work)
    waiting = ThreadCall(threads, lambda: "never")
    await asyncio.wait_for(started.wait(), 10)
    for call in (running, waiting):
        task = asyncio.ensure_future(call.result())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    go_on.set()

    assert await asyncio.wait_for(running.future, 10) == "done"
    with pytest.raises(asyncio.CancelledError):
        await waiting.future


def test_a_thread_that_outlives_its_loop_says_nothing(
    make_threads: Callable[[int], Threads], caplog: pytest.LogCaptureFixture
) -> None:
    threads, go_on = make_threads(1), threading.Event()
    calls: list[ThreadCall] = []

    async def main() -> None:
        calls.append(ThreadCall(threads, lambda: go_on.wait(10)))

    asyncio.run(main())
    go_on.set()

    assert calls[0]._source.result(10)
    assert threads.submit(int).result(10) == 0  # its callbacks are done by now
    assert caplog.text == ""


def test_closing_lets_threads_end_after_their_work(
    make_threads: Callable[[int], Threads],
) -> None:
    threads = make_threads(3)
    go_on = threading.Event()
    futures = [threads.submit(lambda: go_on.wait(10)) for _ in range(3)]
    pool = [each for each in threading.enumerate() if each.name in names(threads)]
    threads.close()
    go_on.set()

    assert all(future.result(10) for future in futures)
    for thread in pool:
        thread.join(10)
    assert names(threads) == []
