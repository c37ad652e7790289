"""Runs a coroutine in the caller's task, in a copy of its context variables."""

from __future__ import annotations

import contextvars
from typing import TYPE_CHECKING, Any, Generic

from ..foundations.types import T

if TYPE_CHECKING:
    from collections.abc import Coroutine, Generator


class InOwnContext(Generic[T]):
    """Await it once: what the coroutine sets in context variables stays inside.

    A step sets nothing on a replay, so nothing may get out of its first run either.
    A separate task would do the same, and cost a turn of the event loop.
    """

    __slots__ = ("_coroutine",)

    def __init__(self, coroutine: Coroutine[Any, Any, T]) -> None:
        self._coroutine = coroutine

    def __await__(self) -> Generator[Any, Any, T]:
        """Pass on what the coroutine waits for, and what it waited for."""
        coroutine, run = self._coroutine, contextvars.copy_context().run
        resume: Any = coroutine.send
        given: Any = None
        try:
            while True:
                try:
                    waits_for = run(resume, given)
                except StopIteration as end:
                    result: T = end.value
                    return result
                try:
                    given = yield waits_for
                    resume = coroutine.send
                except BaseException as error:  # noqa: BLE001  # all goes inside
                    given, resume = error, coroutine.throw
        finally:
            given = None  # It may hold this frame.
            coroutine.close()
