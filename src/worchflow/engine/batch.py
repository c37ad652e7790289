"""Sending many messages through middleware in one write."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ..errors import InvalidInput
from ..events import is_event
from ..ids import new_execution_id
from ..middleware import nest_send

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from ..middleware import Middleware
    from .sending import Prepared


async def send_through(
    middleware: Sequence[Middleware],
    messages: Sequence[Any],
    prepare: Callable[[Any, str], Prepared],
    accept: Callable[[Sequence[Prepared]], Awaitable[Sequence[Any]]],
) -> list[Any]:
    """Pass each message through the middleware, then accept all of them together.

    Every message's chain waits at its innermost call until all have got there, so
    one that is refused on the way keeps them all from being written.
    """
    waiting: list[tuple[Prepared, asyncio.Future[Any]]] = []
    written = False

    async def follow(message: Any, arrived: asyncio.Event) -> Any:
        own_id = new_execution_id()

        async def innermost(message: Any) -> Any:
            prepared = prepare(message, own_id)
            if written:  # a middleware that tries again
                return (await accept([prepared]))[0]
            outcome: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            waiting.append((prepared, outcome))
            arrived.set()
            return await outcome

        try:
            return await nest_send(middleware, innermost)(message)
        finally:
            arrived.set()

    arrivals = [asyncio.Event() for _ in messages]
    tasks = [
        asyncio.ensure_future(follow(message, arrived))
        for message, arrived in zip(messages, arrivals, strict=True)
    ]
    try:
        for arrived in arrivals:
            await arrived.wait()
        for task in tasks:
            if task.done():
                task.result()
        written = True
        await _write(waiting, accept)
        return [await task for task in tasks]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _write(
    waiting: Sequence[tuple[Prepared, asyncio.Future[Any]]],
    accept: Callable[[Sequence[Prepared]], Awaitable[Sequence[Any]]],
) -> None:
    try:
        accepted = await accept([prepared for prepared, _ in waiting])
    except Exception as error:  # noqa: BLE001 - every sender gets it
        for _, outcome in waiting:
            if not outcome.done():
                outcome.set_exception(error)
        return
    for (_, outcome), one in zip(waiting, accepted, strict=True):
        if not outcome.done():
            outcome.set_result(one)


def refuse_one_message(messages: object) -> None:
    """`InvalidInput` for one message where several are taken.

    An event alone is iterable too, by its fields.
    """
    kind: type = type(messages)
    single = is_event(messages) or issubclass(kind, str | Mapping)
    if single or not issubclass(kind, Iterable):
        raise InvalidInput(
            f"send_many takes several messages, not one {kind.__name__}: use send, "
            "or a list",
            field="messages",
        )
