"""A thread that waits for the loop runs what the loop gives it, and nobody else's."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any

import pytest

from worchflow.engine.calling_thread import CallingThread, runs_a_loop
from worchflow.engine.ownership import Interrupted
from worchflow.engine.threads import ThreadCall


async def in_a_thread(
    work: Coroutine[Any, Any, Any] | None = None, caller: CallingThread | None = None
) -> Any:
    thread = caller or CallingThread(asyncio.get_running_loop())
    return await asyncio.to_thread(thread.result_of, work or asyncio.sleep(0, "slept"))


async def test_it_waits_for_the_coroutine() -> None:
    async def fail() -> None:
        await asyncio.sleep(0)
        raise ValueError("from the loop")

    assert await in_a_thread() == "slept"
    with pytest.raises(ValueError, match="from the loop"):
        await in_a_thread(fail())


async def test_it_runs_every_function_meanwhile() -> None:
    caller = CallingThread(asyncio.get_running_loop())
    idents: list[int] = []

    async def work() -> list[int]:
        for _ in range(3):
            await ThreadCall(
                caller, lambda: idents.append(threading.get_ident())
            ).result()
        return idents

    def wait() -> tuple[int, Any]:
        return threading.get_ident(), caller.result_of(work())

    ident, seen = await asyncio.to_thread(wait)

    assert seen == [ident] * 3
    assert ident != threading.get_ident()


async def test_what_a_function_raises_goes_to_the_loop_first() -> None:
    caller = CallingThread(asyncio.get_running_loop())

    def fail() -> None:
        raise KeyError("k")

    async def work() -> str:
        try:
            await ThreadCall(caller, fail).result()
        except KeyError:
            return "caught on the loop"
        return "not raised"

    assert await in_a_thread(work(), caller) == "caught on the loop"


async def cancelled() -> None:
    raise asyncio.CancelledError


async def interrupted() -> None:
    raise Interrupted


@pytest.mark.parametrize("work", [cancelled, interrupted])
async def test_a_cancelled_coroutine_is_an_interruption(work: Any) -> None:
    raised: list[type[BaseException]] = []
    caller = CallingThread(asyncio.get_running_loop())

    def wait() -> None:
        try:
            caller.result_of(work())
        except BaseException as error:  # noqa: BLE001 - it is looked at below
            raised.append(type(error))

    await asyncio.to_thread(wait)

    assert raised == [Interrupted]


async def test_what_was_called_off_before_it_began_never_begins() -> None:
    caller = CallingThread(asyncio.get_running_loop())
    ran: list[int] = []
    caller.submit(lambda: ran.append(1)).cancel()

    assert await in_a_thread(caller=caller) == "slept"
    assert ran == []


def test_a_thread_knows_whether_it_runs_a_loop() -> None:
    async def inside() -> bool:
        return runs_a_loop()

    assert asyncio.run(inside())
    assert not runs_a_loop()


async def test_what_comes_after_the_end_is_cancelled_and_not_run() -> None:
    caller = CallingThread(asyncio.get_running_loop())
    assert await in_a_thread(caller=caller) == "slept"
    ran: list[int] = []

    late = ThreadCall(caller, lambda: ran.append(1))

    with pytest.raises(asyncio.CancelledError):
        await late.future
    assert not ran
