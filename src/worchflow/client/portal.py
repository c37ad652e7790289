"""Calls from any thread into a client that has its own event loop."""

from __future__ import annotations

import asyncio
import concurrent.futures
import sys
import threading
import traceback
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from ..foundations import forking
from ..foundations.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine


class Client(Protocol):
    """What is closed with the portal."""

    async def close(self) -> None:
        """Close the stores."""
        ...


T = TypeVar("T")
ClientT = TypeVar("ClientT", bound=Client)

CLOSED = "client.sync is closed: open() opens it again, as `with client.sync` does"

OWN_THREAD = (
    "client.sync was called from its own callback, and would wait for itself: "
    "give the work to another thread, and do not wait for it"
)

FORKED = (
    "this belongs to client.sync of the parent process, from before the fork: ask "
    "client.sync again, which has its own connection here"
)

MAX_CANCELLATIONS = 3
"""How often a call that continues nevertheless is cancelled, a second apart."""
CLOSE_TIMEOUT = 60.0
"""Seconds for closing: far more than stores and callbacks are given to end."""


class Portal(Generic[ClientT]):
    """A client on its own event loop, in a daemon thread, for calls from others.

    Calls may come from any thread but that one, where the client's callbacks and
    middleware run.
    """

    def __init__(
        self, client: ClientT, drain: Callable[[float], Awaitable[None]]
    ) -> None:
        """`drain` waits, so many seconds at most, for callbacks that run."""
        self.client = client
        self._drain = drain
        self._closed = self._is_forked = False
        self._admission = threading.Lock()
        self._calls: set[concurrent.futures.Future[Any]] = set()
        self._loop = asyncio.new_event_loop()
        self._ending: concurrent.futures.Future[None] | None = None
        self._thread = threading.Thread(
            target=self._run, name="worchflow-sync", daemon=True
        )
        forking.watch(self)
        self._thread.start()

    def after_fork(self) -> None:
        """Refuse every call: the thread is not in this process."""
        self._is_forked = True
        self._admission = threading.Lock()

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` on the loop and wait for it."""
        with self._admission:
            refusal = self._refusal()
            if refusal is not None:
                work.close()
                raise ConfigurationError(refusal)
            future = asyncio.run_coroutine_threadsafe(work, self._loop)
            self._calls.add(future)
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise ConfigurationError(CLOSED) from None
        except BaseException:
            # Ctrl-C here must not leave the call running there.
            future.cancel()
            raise
        finally:
            with self._admission:
                self._calls.discard(future)

    def close(self) -> None:
        """Close the client, end calls still waiting, stop the loop and its thread.

        Whoever closes it again waits as well. `ConfigurationError` on that thread, and
        after `CLOSE_TIMEOUT`, when code on it has kept it from ending: it ends then as
        soon as that code does.
        """
        self.refuse_own_thread()
        with self._admission:
            if self._ending is None:
                self._closed = True
                # The threads that wait are told first: the cancellation of a task may
                # be swallowed on its way, as `asyncio.wait_for` of Python 3.11 can.
                for call in self._calls:
                    call.cancel()
                self._ending = asyncio.run_coroutine_threadsafe(self._end(), self._loop)
                self._ending.add_done_callback(self._stop)
        self._thread.join(CLOSE_TIMEOUT)
        if self._thread.is_alive():
            raise ConfigurationError(
                f"client.sync did not close within {CLOSE_TIMEOUT:g} s: code on its "
                "thread does not end. A callback or middleware there must not wait for "
                f"whoever closes it. Its calls are refused now. Stack:\n{self._stack()}"
            )
        self._ending.result()

    def refuse_own_thread(self) -> None:
        """`ConfigurationError` on the thread that could only wait for itself."""
        if threading.get_ident() == self._thread.ident:
            raise ConfigurationError(OWN_THREAD)

    def _run(self) -> None:
        try:
            self._loop.run_forever()
        finally:
            self._loop.close()

    def _stop(self, _: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _stack(self) -> str:
        """What the thread is doing."""
        frames = sys._current_frames()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
        frame = frames.get(self._thread.ident or 0)
        return "".join(traceback.format_stack(frame)) if frame else "(no frame)"

    def _refusal(self) -> str | None:
        if self._is_forked:
            return FORKED
        if self._closed:
            return CLOSED
        if threading.get_ident() == self._thread.ident:
            return OWN_THREAD
        return None

    async def _end(self) -> None:
        await self._drain(1.0)
        for _ in range(MAX_CANCELLATIONS):
            calls = asyncio.all_tasks() - {asyncio.current_task()}
            if not calls:
                break
            for call in calls:
                call.cancel()
            await asyncio.wait(calls, timeout=1.0)
        await self.client.close()
        await self._loop.shutdown_asyncgens()
        await self._loop.shutdown_default_executor()
