"""The deadline of a stop comes forward, never back."""

from __future__ import annotations

import asyncio

from worchflow.worker.deadline import Deadline


async def forever() -> None:
    await asyncio.Event().wait()


async def test_work_that_ends_in_time_is_kept() -> None:
    deadline = Deadline()
    deadline.bring_forward(10)

    assert await deadline.keeps(lambda: asyncio.sleep(0))
    assert 9 < deadline.left() <= 10


async def test_work_that_does_not_end_is_cancelled() -> None:
    deadline = Deadline()
    deadline.bring_forward(0)

    assert not await deadline.keeps(forever)
    assert deadline.left() == 0


async def test_a_later_deadline_does_not_count() -> None:
    deadline = Deadline()
    deadline.bring_forward(1)
    deadline.bring_forward(100)

    assert deadline.left() <= 1


async def test_an_earlier_deadline_counts_while_it_is_waited_for() -> None:
    deadline = Deadline()
    deadline.bring_forward(1000)
    waiting = asyncio.ensure_future(deadline.keeps(forever))
    await asyncio.sleep(0)
    deadline.bring_forward(0)
    deadline.bring_forward(0)

    assert not await asyncio.wait_for(waiting, 10)


async def test_a_reserve_is_kept_back() -> None:
    deadline = Deadline()
    deadline.bring_forward(5)

    assert not await deadline.keeps(forever, reserve=5)
    assert deadline.left() > 4


async def test_it_can_be_put_off_for_the_last_things_to_do() -> None:
    deadline = Deadline()
    deadline.bring_forward(0)
    deadline.at_least(5)

    assert deadline.left() > 4
    deadline.at_least(1)
    assert deadline.left() > 4
