"""Dispatches calls to the store's threads and their answers to one event loop."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from ...foundations.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

logger = logging.getLogger("worchflow.storage.sqlite")

MAX_CALLS = 10_000
"""How many calls of one event loop may be on their way; more wait for their turn."""


@dataclass(slots=True, eq=False)
class Call:
    """One question to the store and where its answer goes.

    `unwanted` gets the answer when the caller stopped waiting before it came.
    """

    dispatcher: CallDispatcher
    future: asyncio.Future[Any]
    deadline: float
    on_orphaned: Callable[[Any], None] | None = None


class Answer(NamedTuple):
    """What became of one call."""

    call: Call
    value: Any = None
    error: BaseException | None = None


def _hand_back(on_orphaned: Callable[[Any], None], value: Any) -> None:
    """Give an answer to whom it is of use; the answers after it must not suffer."""
    try:
        on_orphaned(value)
    except Exception:
        logger.exception("an answer that nobody waits for any more was lost")


def _has_result(future: asyncio.Future[Any]) -> bool:
    return future.done() and not future.cancelled() and future.exception() is None


class CallDispatcher:
    """The calls of one event loop. Everything but `deliver` runs on that loop.

    A call whose answer does not come in time fails with `StoreUnavailable`; what it
    asked for may still happen. Waiting costs no timer per call.
    """

    def __init__(self, timeout: float, location: str) -> None:
        self.loop = asyncio.get_running_loop()
        self._timeout = timeout
        self._location = location
        self._waiting: dict[Call, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        self._capacity = MAX_CALLS
        self._freed = asyncio.Event()

    async def call(
        self,
        send: Callable[[Call], None],
        on_orphaned: Callable[[Any], None] | None = None,
    ) -> Any:
        """Hand a call to a thread of the store and wait for the answer."""
        if self._closed:
            raise self._gone()
        if not self._capacity:
            await self._wait_for_capacity()
        self._capacity -= 1
        deadline = self.loop.time() + self._timeout
        call = Call(self, self.loop.create_future(), deadline, on_orphaned)
        self._waiting[call] = None
        if self._timer is None:
            self._timer = self.loop.call_at(deadline, self._expire)
        send(call)
        try:
            return await call.future
        except asyncio.CancelledError:
            # Cancelled in the very turn in which the answer came.
            if on_orphaned is not None and _has_result(call.future):
                on_orphaned(call.future.result())
            raise

    def deliver(self, answers: Sequence[Answer]) -> None:
        """Answer calls, from any thread."""
        # A closed loop has nobody waiting.
        with suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self._settle, answers)

    async def drain(self) -> None:
        """Wait until every call has its answer or is too late."""
        while futures := [call.future for call in self._waiting]:
            await asyncio.wait(futures)

    def close(self) -> None:
        """Fail what still waits, and every later call."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        for call in self._waiting:
            if not call.future.done():
                call.future.set_exception(self._gone())
        self._waiting.clear()

    def _settle(self, answers: Sequence[Answer]) -> None:
        self._capacity += len(answers)
        self._freed.set()
        for call, value, error in answers:
            self._waiting.pop(call, None)
            if call.future.done():
                if call.on_orphaned is not None and error is None:
                    _hand_back(call.on_orphaned, value)
            elif error is not None:
                call.future.set_exception(error)
            else:
                call.future.set_result(value)

    def _expire(self) -> None:
        self._timer = None
        now = self.loop.time()
        for call in list(self._waiting):
            if call.future.done():
                del self._waiting[call]
            elif call.deadline <= now:
                del self._waiting[call]
                call.future.set_exception(self._late("did not answer"))
            else:
                self._timer = self.loop.call_at(call.deadline, self._expire)
                break

    async def _wait_for_capacity(self) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                while not self._capacity:
                    self._freed.clear()
                    await self._freed.wait()
        except TimeoutError:
            raise self._late("is behind: too many calls wait for it") from None

    def _gone(self) -> StoreUnavailable:
        return StoreUnavailable(f"the database {self._location} was closed meanwhile")

    def _late(self, what: str) -> StoreUnavailable:
        return StoreUnavailable(
            f"the database {self._location} {what} (waited {self._timeout:g} s): the "
            "outcome is unknown, and calling again is safe"
        )
