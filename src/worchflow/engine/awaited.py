"""Finds out whether a task awaits nothing but certain futures.

What is awaited is followed through tasks, `gather`, `wait`, `wait_for` and task groups.
asyncio says only some of it in public: what cannot be told is taken for running code.
"""

from __future__ import annotations

import asyncio
import asyncio.tasks
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator
    from types import CodeType, FrameType

WAIT: CodeType = vars(asyncio.tasks)["_wait"].__code__
"""`asyncio.wait`, whose local variable `fs` has what it waits for."""
WAIT_FOR: CodeType = asyncio.wait_for.__code__
"""Until Python 3.12 with a task of its own in `fut`."""
LEAVE_GROUP: CodeType = asyncio.TaskGroup.__aexit__.__code__
MAX_DEPTH = 50
"""Tasks within tasks, and frames within frames, that are followed."""


def awaits_only(
    task: asyncio.Task[Any], futures: Collection[asyncio.Future[Any]]
) -> bool:
    """Whether a task can continue only once one of the futures is done."""
    return _waits(task, futures, 0)


def _waits(
    awaited: asyncio.Future[Any],
    futures: Collection[asyncio.Future[Any]],
    depth: int,
) -> bool:
    if awaited.done() or depth > MAX_DEPTH:
        return False
    if awaited in futures:
        return True
    waiter = getattr(awaited, "_fut_waiter", None)
    if waiter is not None and waiter in futures:
        # As most tasks do: no need to walk through the frames.
        return not waiter.done()
    inner = _inner(awaited)
    return bool(inner) and all(_waits(each, futures, depth + 1) for each in inner)


def _inner(awaited: asyncio.Future[Any]) -> list[asyncio.Future[Any]]:
    """What a future waits for, as far as it can be told."""
    if isinstance(awaited, asyncio.Task):
        waiter: asyncio.Future[Any] | None = getattr(awaited, "_fut_waiter", None)
        if waiter is None:
            return []  # It is about to run.
        return _in_frames(awaited) or [waiter]
    # Those of `gather`.
    return _unfinished(getattr(awaited, "_children", ()))


def _in_frames(task: asyncio.Task[Any]) -> list[asyncio.Future[Any]]:
    """The futures that a function of asyncio waits for on behalf of a task."""
    found: list[asyncio.Future[Any]] = []
    for frame in _frames(task.get_coro()):
        values = frame.f_locals
        if frame.f_code is WAIT:
            found = _unfinished(values.get("fs", ()))
        elif frame.f_code is LEAVE_GROUP:
            found = _unfinished(getattr(values.get("self"), "_tasks", ()))
        elif frame.f_code is WAIT_FOR and "fut" in values:
            found = _unfinished([values["fut"]])
    return found


def _frames(awaitable: object) -> Iterator[FrameType]:
    """The frames of a coroutine and of what it awaits, the outermost first."""
    for _ in range(MAX_DEPTH):
        for kind in ("cr", "gi", "ag"):
            frame = getattr(awaitable, f"{kind}_frame", None)
            if frame is not None:
                yield frame
                inner = "gi_yieldfrom" if kind == "gi" else f"{kind}_await"
                awaitable = getattr(awaitable, inner, None)
                break
        else:
            return


def _unfinished(found: Iterable[object]) -> list[asyncio.Future[Any]]:
    return [
        each for each in found if isinstance(each, asyncio.Future) and not each.done()
    ]
