"""The worker's loops: started again after a failure, ended only by who may end them."""

from __future__ import annotations

import asyncio

import pytest

from worchflow.engine.emitter import Emitter
from worchflow.worker.background import Background


class Loop:
    """A loop of which each turn does what it is told to."""

    def __init__(self, *first: BaseException) -> None:
        self.failures = list(first)
        self.goes_on = asyncio.Event()

    async def run(self) -> None:
        if self.failures:
            raise self.failures.pop(0)
        self.goes_on.set()
        await asyncio.get_running_loop().create_future()


@pytest.mark.parametrize(
    "failure", [ValueError("a bug"), asyncio.CancelledError()], ids=["bug", "cancelled"]
)
async def test_a_loop_goes_on_after_what_it_awaited_failed_or_was_cancelled(
    failure: BaseException,
) -> None:
    emitter, errors = Emitter(), list[BaseException]()
    emitter.on("error", lambda raised: errors.append(raised.error))
    background, loop = Background(emitter), Loop(failure)

    background.keep_up("claim loop", loop.run)
    async with asyncio.timeout(5):
        await loop.goes_on.wait()

    assert errors == [failure]
    await background.end()


async def test_a_loop_that_is_told_to_end_ends() -> None:
    background, loop = Background(Emitter()), Loop()
    background.keep_up("claim loop", loop.run)
    await loop.goes_on.wait()

    async with asyncio.timeout(5):
        await background.end()

    others = asyncio.all_tasks() - {asyncio.current_task()}
    assert others == set()
