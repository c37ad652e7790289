"""What a function, a value or a task is to the event loop."""

from __future__ import annotations

import asyncio
import functools
from typing import Any

import pytest

from worchflow.engine.coroutines import (
    discard,
    has_not_begun,
    is_being_cancelled,
    is_coroutine_function,
)


async def coroutine() -> None:
    pass


def plain() -> Any:
    return coroutine()


async def generator() -> Any:
    yield 1


class Callable:
    async def __call__(self) -> None:
        pass


@pytest.mark.parametrize(
    ("function", "is_one"),
    [
        (coroutine, True),
        (functools.partial(coroutine), True),
        (Callable().__call__, True),
        (plain, False),
        (generator, False),
        (Callable(), False),
        (len, False),
    ],
)
def test_only_an_async_def_itself_is_a_coroutine_function(
    function: Any, is_one: bool
) -> None:
    assert is_coroutine_function(function) is is_one


async def test_a_task_that_somebody_cancels_says_so() -> None:
    seen: list[bool] = []

    async def work() -> None:
        seen.append(is_being_cancelled())
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            seen.append(is_being_cancelled())

    task = asyncio.ensure_future(work())
    await asyncio.sleep(0)
    task.cancel()
    await task

    assert seen == [False, True]


async def test_a_coroutine_can_begin_until_it_has_or_is_discarded() -> None:
    unused, used = coroutine(), coroutine()
    assert has_not_begun(unused)
    assert has_not_begun(used)

    discard(unused)
    await used

    assert not has_not_begun(unused)
    assert not has_not_begun(used)
    discard("no coroutine")
