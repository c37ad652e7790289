"""Whether a task awaits nothing but certain futures, through all of asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from worchflow.engine.awaited import awaits_only

Future = asyncio.Future[None]
Code = Callable[[Future, Future], Awaitable[Any]]


async def directly(a: Future, b: Future) -> None:
    await a


async def in_a_coroutine(a: Future, b: Future) -> None:
    async def inner() -> None:
        async with asyncio.timeout(60):
            await a

    await inner()


async def of(future: Future) -> None:
    await future


async def in_a_task(a: Future, b: Future) -> None:
    await asyncio.create_task(of(a))


async def gathered(a: Future, b: Future) -> None:
    await asyncio.gather(of(a), b)


async def gathered_in_a_gathering(a: Future, b: Future) -> None:
    await asyncio.gather(a, asyncio.gather(of(a), of(b)))


async def waited(a: Future, b: Future) -> None:
    tasks = [asyncio.create_task(of(a)), asyncio.create_task(of(b))]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)


async def waited_for(a: Future, b: Future) -> None:
    await asyncio.wait_for(of(a), 60)


async def in_a_group(a: Future, b: Future) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(of(a))
        group.create_task(of(b))


async def in_the_body_of_a_group(a: Future, b: Future) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(of(b))
        await a


async def beside_what_has_ended(a: Future, b: Future) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.sleep(0))
        group.create_task(of(a))


async def sleeps(a: Future, b: Future) -> None:
    await asyncio.sleep(60)


async def gathered_with_a_sleep(a: Future, b: Future) -> None:
    await asyncio.gather(of(a), asyncio.sleep(60))


async def waited_with_a_sleep(a: Future, b: Future) -> None:
    await asyncio.wait([asyncio.create_task(of(a)), asyncio.create_task(sleeps(a, b))])


async def in_a_group_with_a_sleep(a: Future, b: Future) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(of(a))
        group.create_task(asyncio.sleep(60))


async def through_an_event(a: Future, b: Future) -> None:
    """Nobody can tell who will set it."""
    event = asyncio.Event()
    a.add_done_callback(lambda _: event.set())
    await event.wait()


async def busy(a: Future, b: Future) -> None:
    while True:  # noqa: ASYNC110 - that is what is tested
        await asyncio.sleep(0)


WAITS = [
    *(directly, in_a_coroutine, in_a_task, gathered, gathered_in_a_gathering),
    *(waited, waited_for, in_a_group, in_the_body_of_a_group, beside_what_has_ended),
]
RUNS = [
    *(sleeps, gathered_with_a_sleep, waited_with_a_sleep, in_a_group_with_a_sleep),
    *(through_an_event, busy),
]


@pytest.mark.parametrize("code", [*WAITS, *RUNS], ids=lambda code: code.__name__)
async def test_it_waits_if_only_the_futures_can_let_it_continue(code: Code) -> None:
    loop = asyncio.get_running_loop()
    a, b = loop.create_future(), loop.create_future()
    task = asyncio.ensure_future(code(a, b))
    for _ in range(5):
        await asyncio.sleep(0)

    assert awaits_only(task, {a, b}) == (code in WAITS)  # type: ignore[arg-type]
    assert not awaits_only(task, set())  # type: ignore[arg-type]
    a.set_result(None)
    b.set_result(None)
    # It is about to continue.
    assert not awaits_only(task, {a, b})  # type: ignore[arg-type]
    task.cancel()
    await asyncio.wait({task})
    assert not awaits_only(task, {a, b})  # type: ignore[arg-type]
