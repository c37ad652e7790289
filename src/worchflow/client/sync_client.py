"""`client.sync`: the client's calls for code without an event loop."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Generic, overload

from ..engine.batch import check_stream, in_batches
from ..engine.sending import MAX_BATCH
from ..foundations import forking
from ..foundations.errors import ConfigurationError
from ..foundations.types import R, R_co, Schema
from .portal import CLOSED, Portal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType
    from typing import Self, Unpack

    from ..definitions.correlation_key import Keys
    from ..engine.sending import SendOptions, SharedSendOptions
    from ..foundations.types import Duration, EventSource, Message
    from ..model.notices import ExecutionUpdated
    from ..model.records import Execution, ExecutionStatus, Page, StepRecord, WaitRecord
    from .client import WorchflowClient
    from .handle import ExecutionHandle
    from .listing import ListFilters


class SyncExecutionHandle(Generic[R_co]):
    """`ExecutionHandle` with blocking calls."""

    def __init__(self, portal: Portal[Any], handle: ExecutionHandle[R_co]) -> None:
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

    Opens at its first call, and again at the first one in a forked child. Needs stores
    that were given as URLs, as an SQLite path or by the environment: clients bound to
    an event loop cannot be shared.

    Callbacks and middleware of the client see what happens here as well. They are
    called on the thread of `client.sync`, "worchflow-sync", and async ones run on its
    event loop: what belongs to another loop has to be reached from there by
    `loop.call_soon_threadsafe`. On that thread every call raises `ConfigurationError`.
    """

    def __init__(self, make_client: Callable[[], WorchflowClient[Any]]) -> None:
        self._make_client = make_client
        self._changing = threading.Lock()
        self._portal: Portal[WorchflowClient[Any]] | None = None
        self._closing: Portal[WorchflowClient[Any]] | None = None
        self._closed = False
        forking.watch(self)

    def after_fork(self) -> None:
        """Begin anew at the next call: the parent's thread is not in this process."""
        self._changing = threading.Lock()
        self._portal = self._closing = None

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

    def _opened(self) -> Portal[WorchflowClient[Any]]:
        with self._changing:
            if self._portal is None:
                if self._closed:
                    raise ConfigurationError(CLOSED)
                client = self._make_client()
                drain = client._emitter.drain  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
                self._portal = Portal(client, drain)
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
        **options: Unpack[SendOptions],
    ) -> SyncExecutionHandle[R]: ...
    @overload
    def send(
        self,
        message: Schema,
        /,
        **options: Unpack[SendOptions],
    ) -> SyncExecutionHandle[Any]: ...
    def send(
        self,
        message: Any,
        /,
        **options: Unpack[SendOptions],
    ) -> SyncExecutionHandle[Any]:
        """As `WorchflowClient.send`."""
        portal = self._opened()
        handle = portal.call(portal.client.send(message, **options))
        return SyncExecutionHandle(portal, handle)

    @overload
    def send_many(
        self, messages: Iterable[Message[R]], /, **options: Unpack[SharedSendOptions]
    ) -> list[SyncExecutionHandle[R]]: ...
    @overload
    def send_many(
        self,
        messages: Iterable[Message[Any] | Schema],
        /,
        **options: Unpack[SharedSendOptions],
    ) -> list[SyncExecutionHandle[Any]]: ...
    def send_many(
        self, messages: Iterable[Any], /, **options: Unpack[SharedSendOptions]
    ) -> list[SyncExecutionHandle[Any]]:
        """As `WorchflowClient.send_many`."""
        portal = self._opened()
        handles = portal.call(portal.client.send_many(messages, **options))
        return [SyncExecutionHandle(portal, handle) for handle in handles]

    @overload
    def send_stream(
        self,
        messages: Iterable[Message[R]],
        /,
        *,
        batch: int = MAX_BATCH,
        **options: Unpack[SharedSendOptions],
    ) -> Iterator[SyncExecutionHandle[R]]: ...
    @overload
    def send_stream(
        self,
        messages: Iterable[Message[Any] | Schema],
        /,
        *,
        batch: int = MAX_BATCH,
        **options: Unpack[SharedSendOptions],
    ) -> Iterator[SyncExecutionHandle[Any]]: ...
    def send_stream(
        self,
        messages: Iterable[Any],
        /,
        *,
        batch: int = MAX_BATCH,
        **options: Unpack[SharedSendOptions],
    ) -> Iterator[SyncExecutionHandle[Any]]:
        """As `WorchflowClient.send_stream`, of plain iterables."""
        check_stream(messages, batch, Iterable)
        return (
            handle
            for some in in_batches(messages, batch)
            for handle in self.send_many(some, **options)
        )

    def emit(
        self,
        message: Message[Any] | Schema,
        /,
        *,
        id: str | None = None,
        key: Keys | None = None,
    ) -> str:
        """As `WorchflowClient.emit`."""
        portal = self._opened()
        return portal.call(portal.client.emit(message, id=id, key=key))

    def complete(self, token_id: str, answer: object, /) -> None:
        """As `WorchflowClient.complete`."""
        portal = self._opened()
        portal.call(portal.client.complete(token_id, answer))

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

    def waits(self, id: str, /) -> list[WaitRecord]:
        """As `WorchflowClient.waits`."""
        portal = self._opened()
        return portal.call(portal.client.waits(id))

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
    def list(self, **filters: Unpack[ListFilters]) -> Page[Execution]:
        """As `WorchflowClient.list`."""
        portal = self._opened()
        return portal.call(portal.client.list(**filters))
