"""What is in flight is cancelled once, awaited to its end, and reported when late."""

from __future__ import annotations

import asyncio

import pytest

from worchflow.engine import in_flight
from worchflow.engine.in_flight import InFlight


async def test_nothing_in_flight_ends_at_once() -> None:
    reports: list[int] = []
    await InFlight().end(reports.append)

    assert reports == []


async def test_tasks_are_cancelled_once_and_cleaned_up_after() -> None:
    work, heard = InFlight(), []

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
    await work.end(heard.append)

    assert heard == ["cancelled", "clean"]
    assert task.cancelled()


async def test_futures_are_awaited_and_not_cancelled() -> None:
    work, heard = InFlight(), []
    future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    work.add_future(future)
    ending = asyncio.ensure_future(work.end(heard.append))
    await asyncio.sleep(0)
    assert not ending.done()
    future.set_exception(ValueError("seen by whoever awaited it"))
    await ending

    assert heard == []


async def test_what_begins_while_it_ends_is_awaited_too() -> None:
    work, heard = InFlight(), []
    late: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def leaves_something() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            work.add_future(late)

    work.add_task(asyncio.ensure_future(leaves_something()))
    await asyncio.sleep(0)
    ending = asyncio.ensure_future(work.end(heard.append))
    for _ in range(5):
        await asyncio.sleep(0)
    assert not ending.done()
    late.set_result(None)
    await ending


async def test_what_does_not_end_is_reported_and_cancelled_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(in_flight, "PATIENCE", 0.01)
    work, heard = InFlight(), []

    async def deaf() -> None:
        for _ in range(3):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                heard.append("ignored")

    work.add_task(asyncio.ensure_future(deaf()))
    await asyncio.sleep(0)
    await work.end(heard.append)

    assert heard == ["ignored", 1, "ignored", 1, "ignored"]


async def test_what_has_ended_is_not_kept() -> None:
    work = InFlight()
    for _ in range(50):
        task = asyncio.ensure_future(asyncio.sleep(0))
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        work.add_task(task)
        work.add_task(task)
        work.add_future(future)
        assert len(work) == 2
        future.set_result(None)
        await task
        await asyncio.sleep(0)
        assert len(work) == 0


async def test_it_is_full_until_something_has_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(in_flight, "MOST", 3)
    work = InFlight()
    futures = [asyncio.get_running_loop().create_future() for _ in range(4)]
    states: list[bool] = []
    for future in futures:
        states.append(work.is_full)
        work.add_future(future)
    assert states == [False, False, False, True]
    for future in futures[:2]:
        future.set_result(None)
    await asyncio.sleep(0)
    assert not work.is_full
