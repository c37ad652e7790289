"""Many steps as one, many children, and the first of several: the types of each."""

from __future__ import annotations

import asyncio
from typing import Any, assert_type

from worchflow import (
    Context,
    Event,
    ExecutionCancelled,
    ExecutionFailed,
    StepFailed,
    StepsFailed,
    SyncContext,
    event,
    function,
)


class Page(Event[int], name="page"):
    number: int


class Approved(Event[None], name="approved", key="order"):
    order: str


RESIZE = event("resize", bytes, float)


async def length(text: str) -> int:
    return len(text)


def upper(text: str) -> str:
    return text.upper()


@function("go")
async def go(ctx: Context[list[str]]) -> None:
    step, names = ctx.step, ctx.data
    assert_type(await step.map("a", length, names), list[int])
    assert_type(await step.map("a", upper, names), list[str])
    assert_type(await step.map("a", lambda name: name + "!", names), list[str])
    assert_type(await step.map("a", length, iter(names), concurrency=3), list[int])
    assert_type(await step.map("a", length, names, key=lambda each: each), list[int])
    found = await step.map("a", length, names, return_exceptions=True)
    assert_type(found, list[int | StepFailed])
    quick = step.options(key=1, retries=3, timeout="5s")
    assert_type(await quick.map("a", upper, names), list[str])
    both = await asyncio.gather(
        step.map("a", length, names), step.map("b", upper, names)
    )
    assert_type(both, tuple[list[int], list[str]])
    await step.map("a", length, [1, 2])  # BAD
    await step.map("a", length, "names", key=3)  # BAD
    await step.map("a", length, names, key=lambda each: 1.5)  # BAD
    await step.map("a", length, names, concurrency="3")  # BAD
    await step.map(length, "a", names)  # BAD
    await step.map("a", length)  # BAD
    await step.map("a", length, names, names)  # BAD
    await step.map("a", length, names, timeout=3)  # BAD

    pages = [Page(number=n) for n in range(3)]
    assert_type(await step.invoke_many("b", pages), list[int])
    assert_type(await step.invoke_many("b", map(RESIZE, [b"x"])), list[float])
    keyed = await step.invoke_many(
        "b", pages, key=lambda page: page.number, concurrency=2, timeout="1h"
    )
    assert_type(keyed, list[int])
    by_data = await step.invoke_many("b", [RESIZE(b"x")], key=lambda data: data.hex())
    assert_type(by_data, list[float])
    ended = await step.invoke_many("b", pages, return_exceptions=True)
    assert_type(ended, list[int | ExecutionFailed | ExecutionCancelled | TimeoutError])
    messages: list[dict[str, object]] = [{"name": "page", "data": 1}]
    assert_type(await step.invoke_many("b", messages), list[Any])
    await step.invoke_many("b", Page(number=1))  # BAD
    await step.invoke_many("b", pages, key=lambda page: page.nummer)  # BAD
    await step.invoke_many("b", ["page"])  # BAD
    await step.invoke_many("b", pages, return_exceptions="yes")  # BAD
    await step.invoke_many("b", pages, timeout=b"1h")  # BAD
    try:
        await step.map("c", length, names)
    except StepsFailed as error:
        assert_type(error.places, tuple[int, ...])
        assert_type(error.exceptions[0], Exception | ExceptionGroup[Exception])
        assert_type(error.title, str | None)


@function("race")
async def race(ctx: Context[str]) -> str:
    step = ctx.step
    wait = step.wait_for_event
    token = await step.token("Manager", str)
    child = await step.start("Page", Page(number=1))
    match await step.race("a", wait("b", Approved, key="k"), step.sleep("c", 1)):
        case (0, approved):
            assert_type(approved, Approved)
        case (1, nothing):
            assert_type(nothing, None)
    three = await step.race("a", token, child.result(), step.run("d", length, "x"))
    if three[0] == 0:
        assert_type(three[1], str)
    several = await step.race("a", *[step.sleep(f"n{n}", n) for n in range(9)])
    assert_type(several, tuple[int, None])
    name, value = await step.race(
        "a", x=step.run("e", length, "x"), y=step.run("f", length, "y")
    )
    assert_type(name, str)
    assert_type(value, int)
    await step.race("a", length, length)  # BAD
    await step.race("a", lambda: step.sleep("g", 1))  # BAD
    await step.race(step.sleep("g", 1), step.sleep("h", 1))  # BAD
    await step.race("a", 3, step.sleep("g", 1))  # BAD
    return name


@function("plain")
def plain(ctx: SyncContext[list[str]]) -> None:
    step, names = ctx.step, ctx.data
    assert_type(step.map("a", length, names), list[int])
    assert_type(step.map("a", upper, names, key=str.lower), list[str])
    found = step.map("a", upper, names, return_exceptions=True)
    assert_type(found, list[str | StepFailed])
    assert_type(step.invoke_many("b", [Page(number=1)]), list[int])
    first = step.race(
        "a",
        lambda: step.wait_for_event("b", Approved, key="k"),
        lambda: step.sleep("c", 1),
    )
    match first:
        case (0, approved):
            assert_type(approved, Approved)
        case (1, nothing):
            assert_type(nothing, None)
    name, value = step.race(
        "a", x=lambda: step.run("d", upper, "x"), y=lambda: step.run("e", upper, "y")
    )
    assert_type(name, str)
    assert_type(value, str)
    step.map("a", length, [1])  # BAD
    step.race("a", step.sleep("c", 1), lambda: 1)  # BAD
    step.race("a", 3)  # BAD
