"""Sending many messages: through middleware in one write, or batch after batch."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Iterable, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from ..definitions.events import is_event
from ..definitions.middleware import nest_send
from ..foundations.errors import InvalidInput
from .sending import MAX_BATCH

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence

    from ..definitions.middleware import Middleware
    from ..foundations.types import Stream
    from .sending import Prepared

T = TypeVar("T")


class Prepare(Protocol):
    """Validates and encodes a message."""

    def __call__(self, message: Any, *, id: str) -> Prepared:
        """Raise what `send` raises before any I/O."""
        ...


async def send_through(
    middleware: Sequence[Middleware],
    messages: Sequence[Any],
    new_id: Callable[[], str],
    prepare: Prepare,
    accept: Callable[[Sequence[Prepared]], Awaitable[Sequence[Any]]],
) -> list[Any]:
    """Pass each message through the middleware, then accept all of them together.

    Every message's chain waits at its innermost call until all have got there, so
    one that is refused on the way keeps them all from being written.
    """
    waiting: list[tuple[Prepared, asyncio.Future[Any]]] = []
    written = False

    async def follow(message: Any, arrived: asyncio.Event) -> Any:
        own_id = new_id()

        async def innermost(message: Any) -> Any:
            prepared = prepare(message, id=own_id)
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


def refuse_one_message(
    messages: object, by: str = "send_many", allowed: Any = Iterable
) -> None:
    """`InvalidInput` for one message where several are taken.

    An event alone is iterable too, by its fields.
    """
    kind: type = type(messages)
    single = is_event(messages) or issubclass(kind, str | Mapping)
    if single or not issubclass(kind, allowed):
        raise InvalidInput(
            f"{by} takes several messages, not one {kind.__name__}: use send, "
            "or a list",
            field="messages",
        )


def check_stream(
    messages: object, batch: int, allowed: Any = (Iterable, AsyncIterable)
) -> None:
    """`InvalidInput` for what `send_stream` does not take."""
    refuse_one_message(messages, "send_stream", allowed)
    if type(batch) is not int or not 1 <= batch <= MAX_BATCH:
        raise InvalidInput(
            f"batch={batch!r} must be a whole number from 1 to {MAX_BATCH}",
            field="batch",
        )


def in_batches(messages: Iterable[T], size: int) -> Iterator[list[T]]:
    """The messages, so many at a time."""
    left = iter(messages)
    while batch := list(islice(left, size)):
        yield batch


async def send_batches(
    messages: Stream[Any],
    size: int,
    send: Callable[[list[Any]], Awaitable[Sequence[T]]],
) -> AsyncIterator[T]:
    """What sending gives for each message, so many sent at a time."""
    async for batch in _as_they_come(messages, size):
        for outcome in await send(batch):
            yield outcome


async def _as_they_come(messages: Stream[Any], size: int) -> AsyncIterator[list[Any]]:
    if not isinstance(messages, AsyncIterable):
        for batch in in_batches(messages, size):
            yield batch
        return
    come: list[Any] = []
    async for message in messages:
        come.append(message)
        if len(come) == size:
            yield come
            come = []
    if come:
        yield come
