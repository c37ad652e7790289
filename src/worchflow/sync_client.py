"""`client.sync`: the client's calls for code without an event loop."""

from __future__ import annotations

import asyncio
import concurrent.futures
import sys
import threading
import traceback
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from .engine.batch import check_stream, in_batches
from .engine.sending import BATCH
from .errors import ConfigurationError
from .types import R, R_co, Schema

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from datetime import datetime
    from types import TracebackType
    from typing import Self

    from .client import WorchflowClient
    from .handle import ExecutionHandle
    from .notices import ExecutionUpdated
    from .records import Execution, ExecutionStatus, Page, StepRecord
    from .types import Duration, EventSource, Message

T = TypeVar("T")

CLOSED = "client.sync is closed: open() opens it again, as `with client.sync` does"

OWN_THREAD = (
    "client.sync was called from a callback of its own, and would wait for itself: "
    "give the work to another thread, and do not wait for it"
)

CANCELLATIONS = 3
"""How often a call that goes on nevertheless is cancelled, a second apart."""
CLOSE_TIMEOUT = 60.0
"""Seconds for closing: far more than stores and callbacks are given to end."""


class Portal:
    """A client on an event loop of its own, in a daemon thread, for calls from others.

    Calls may come from any thread but that one, where the client's callbacks and
    middleware run.
    """

    def __init__(self, client: WorchflowClient[Any]) -> None:
        self.client = client
        self._closed = False
        self._admission = threading.Lock()
        self._calls: set[concurrent.futures.Future[Any]] = set()
        self._loop = asyncio.new_event_loop()
        self._ending: concurrent.futures.Future[None] | None = None
        self._thread = threading.Thread(
            target=self._run, name="worchflow-sync", daemon=True
        )
        self._thread.start()

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
        if self._closed:
            return CLOSED
        if threading.get_ident() == self._thread.ident:
            return OWN_THREAD
        return None

    async def _end(self) -> None:
        await self.client.drain(1.0)
        for _ in range(CANCELLATIONS):
            calls = asyncio.all_tasks() - {asyncio.current_task()}
            if not calls:
                break
            for call in calls:
                call.cancel()
            await asyncio.wait(calls, timeout=1.0)
        await self.client.close()
        await self._loop.shutdown_asyncgens()
        await self._loop.shutdown_default_executor()


class SyncExecutionHandle(Generic[R_co]):
    """`ExecutionHandle` with blocking calls."""

    def __init__(self, portal: Portal, handle: ExecutionHandle[R_co]) -> None:
        self.id = handle.id
        self.duplicate = handle.duplicate
        self._portal = portal
        self._handle = handle

    def result(self, timeout: Duration | None = None) -> R_co:
        """As `ExecutionHandle.result`."""
        return self._portal.call(self._handle.result(timeout))

    def status(self) -> ExecutionStatus:
        """As `ExecutionHandle.status`."""
        return self._portal.call(self._handle.status())

    def cancel(self, reason: str | None = None) -> None:
        """As `ExecutionHandle.cancel`."""
        self._portal.call(self._handle.cancel(reason))

    def updates(self) -> Iterator[ExecutionUpdated]:
        """As `ExecutionHandle.updates`."""
        updates = self._handle.updates()

        async def following() -> ExecutionUpdated | None:
            return await anext(updates, None)

        try:
            while (update := self._portal.call(following())) is not None:
                yield update
        finally:
            self._portal.call(updates.aclose())


class SyncClient(Generic[Schema]):
    """The calls of `WorchflowClient`, blocking; usable from any thread.

    Opens at its first call. Needs stores that were given as URLs, as an SQLite path
    or by the environment: clients bound to an event loop cannot be shared.

    Callbacks and middleware of the client see what happens here as well. They are
    called on the thread of `client.sync`, "worchflow-sync", and async ones run on its
    event loop: what belongs to another loop has to be reached from there by
    `loop.call_soon_threadsafe`. On that thread every call raises `ConfigurationError`.
    """

    def __init__(self, make_client: Callable[[], WorchflowClient[Any]]) -> None:
        self._make_client = make_client
        self._changing = threading.Lock()
        self._portal: Portal | None = None
        self._closing: Portal | None = None
        self._closed = False

    def open(self) -> Self:
        """As `WorchflowClient.open`."""
        with self._changing:
            self._closed = False
        portal = self._opened()
        portal.call(portal.client.open())
        return self

    def close(self) -> None:
        """As `WorchflowClient.close`, and end the thread.

        Returns once it has ended; `ConfigurationError` when it was called in a callback
        on that thread, or when code there has not ended after a minute.
        """
        with self._changing:
            if self._portal is not None:
                self._portal.refuse_own_thread()
                self._portal, self._closing = None, self._portal
            self._closed = True
            closing = self._closing
        # Without the lock: what still runs on the thread may call, and is refused.
        if closing is not None:
            closing.close()

    @property
    def in_use(self) -> bool:
        """Whether it was opened and not closed since."""
        return self._portal is not None

    def _opened(self) -> Portal:
        with self._changing:
            if self._portal is None:
                if self._closed:
                    raise ConfigurationError(CLOSED)
                self._portal = Portal(self._make_client())
            return self._portal

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None:
        self.close()

    @overload
    def send(
        self,
        message: Message[R],
        /,
        *,
        id: str | None = None,
        delay: Duration | None = None,
        at: datetime | None = None,
    ) -> SyncExecutionHandle[R]: ...
    @overload
    def send(
        self,
        message: Schema,
        /,
        *,
        id: str | None = None,
        delay: Duration | None = None,
        at: datetime | None = None,
    ) -> SyncExecutionHandle[Any]: ...
    def send(
        self,
        message: Any,
        /,
        *,
        id: str | None = None,
        delay: Duration | None = None,
        at: datetime | None = None,
    ) -> SyncExecutionHandle[Any]:
        """As `WorchflowClient.send`."""
        portal = self._opened()
        handle = portal.call(portal.client.send(message, id=id, delay=delay, at=at))
        return SyncExecutionHandle(portal, handle)

    @overload
    def send_many(
        self, messages: Iterable[Message[R]], /
    ) -> list[SyncExecutionHandle[R]]: ...
    @overload
    def send_many(
        self, messages: Iterable[Message[Any] | Schema], /
    ) -> list[SyncExecutionHandle[Any]]: ...
    def send_many(self, messages: Iterable[Any], /) -> list[SyncExecutionHandle[Any]]:
        """As `WorchflowClient.send_many`."""
        portal = self._opened()
        handles = portal.call(portal.client.send_many(messages))
        return [SyncExecutionHandle(portal, handle) for handle in handles]

    @overload
    def send_stream(
        self, messages: Iterable[Message[R]], /, *, batch: int = BATCH
    ) -> Iterator[SyncExecutionHandle[R]]: ...
    @overload
    def send_stream(
        self, messages: Iterable[Message[Any] | Schema], /, *, batch: int = BATCH
    ) -> Iterator[SyncExecutionHandle[Any]]: ...
    def send_stream(
        self, messages: Iterable[Any], /, *, batch: int = BATCH
    ) -> Iterator[SyncExecutionHandle[Any]]:
        """As `WorchflowClient.send_stream`, of plain iterables."""
        check_stream(messages, batch, Iterable)
        return (
            handle
            for some in in_batches(messages, batch)
            for handle in self.send_many(some)
        )

    @overload
    def handle(
        self, id: str, event: EventSource[Any, R], /
    ) -> SyncExecutionHandle[R]: ...
    @overload
    def handle(self, id: str, /) -> SyncExecutionHandle[Any]: ...
    def handle(self, id: str, event: Any = None, /) -> SyncExecutionHandle[Any]:
        """As `WorchflowClient.handle`."""
        portal = self._opened()
        return SyncExecutionHandle(portal, portal.client.handle(id, event))

    def get(self, id: str, /) -> Execution:
        """As `WorchflowClient.get`."""
        portal = self._opened()
        return portal.call(portal.client.get(id))

    def steps(self, id: str, /) -> list[StepRecord]:
        """As `WorchflowClient.steps`."""
        portal = self._opened()
        return portal.call(portal.client.steps(id))

    def counts(self) -> dict[ExecutionStatus, int]:
        """As `WorchflowClient.counts`."""
        portal = self._opened()
        return portal.call(portal.client.counts())

    def retry(self, id: str, /) -> None:
        """As `WorchflowClient.retry`."""
        portal = self._opened()
        portal.call(portal.client.retry(id))

    def prune(
        self,
        *,
        older_than: Duration | None = None,
        status: ExecutionStatus | str | None = None,
        limit: int | None = None,
    ) -> int:
        """As `WorchflowClient.prune`."""
        portal = self._opened()
        return portal.call(
            portal.client.prune(older_than=older_than, status=status, limit=limit)
        )

    def cancel(self, id: str, /, *, reason: str | None = None) -> None:
        """As `WorchflowClient.cancel`."""
        portal = self._opened()
        portal.call(portal.client.cancel(id, reason=reason))

    # Last, so that the name does not shadow the builtin in annotations above.
    def list(
        self,
        *,
        status: ExecutionStatus | str | None = None,
        function: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        id_prefix: str | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[Execution]:
        """As `WorchflowClient.list`."""
        portal = self._opened()
        return portal.call(
            portal.client.list(
                status=status,
                function=function,
                since=since,
                until=until,
                id_prefix=id_prefix,
                cursor=cursor,
                limit=limit,
            )
        )
