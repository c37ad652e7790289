"""A coroutine in its own context behaves as if it were awaited directly."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import Any

import pytest

from worchflow.engine.own_context import InOwnContext

place: ContextVar[str] = ContextVar("place", default="nowhere")


async def test_what_it_sets_stays_inside_and_what_was_set_is_seen() -> None:
    place.set("outside")
    seen: list[str] = []

    async def inner() -> int:
        seen.append(place.get())
        place.set("inside")
        await asyncio.sleep(0)
        seen.append(place.get())
        async with asyncio.TaskGroup() as group:
            group.create_task(child())
        return 7

    async def child() -> None:
        seen.append(place.get())

    assert await InOwnContext(inner()) == 7
    assert seen == ["outside", "inside", "inside"]
    assert place.get() == "outside"


async def test_it_is_the_same_task_and_its_timeouts_hold() -> None:
    async def inner() -> Any:
        task = asyncio.current_task()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await asyncio.sleep(30)
        return task

    assert await InOwnContext(inner()) is asyncio.current_task()


async def test_errors_come_out_with_their_cause() -> None:
    async def inner() -> None:
        await asyncio.sleep(0)
        try:
            raise KeyError("a")
        except KeyError as error:
            raise ValueError("b") from error

    with pytest.raises(ValueError, match="b") as raised:
        await InOwnContext(inner())
    assert isinstance(raised.value.__cause__, KeyError)


async def test_a_cancellation_goes_in_and_may_be_answered() -> None:
    began = asyncio.Event()
    seen: list[str] = []

    async def inner() -> str:
        place.set("inside")
        try:
            began.set()
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            seen.append(place.get())
            await asyncio.sleep(0)
        return "answered"

    async def outer() -> str:
        return await InOwnContext(inner())

    task = asyncio.create_task(outer())
    await began.wait()
    task.cancel()

    assert await task == "answered"
    assert seen == ["inside"]


def test_closing_closes_what_it_runs() -> None:
    closed: list[bool] = []

    class Pause:
        def __await__(self) -> Any:
            yield

    async def inner() -> None:
        try:
            await Pause()
        finally:
            closed.append(True)

    async def outer() -> None:
        await InOwnContext(inner())

    coroutine = outer()
    coroutine.send(None)
    coroutine.close()

    assert closed == [True]
