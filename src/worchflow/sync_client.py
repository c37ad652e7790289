"""`client.sync`: the client's calls for code without an event loop."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from .types import R, R_co, Schema

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Iterator
    from datetime import datetime
    from types import TracebackType
    from typing import Self

    from .client import WorchflowClient
    from .handle import ExecutionHandle
    from .notices import ExecutionUpdated
    from .records import Execution, ExecutionStatus, Page, StepRecord
    from .types import Duration, EventSource, Message

T = TypeVar("T")


class Portal:
    """An event loop in a daemon thread, for calls from threads without one."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="worchflow-sync", daemon=True
        )
        self._thread.start()

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` on the loop and wait for it."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            # Ctrl-C here must not leave the call running there.
            future.cancel()
            raise

    def close(self) -> None:
        """Stop the loop and its thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5.0)
        if not self._thread.is_alive():
            self._loop.close()


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
        updates = aiter(self._handle.updates())

        async def following() -> ExecutionUpdated | None:
            return await anext(updates, None)

        while (update := self._portal.call(following())) is not None:
            yield update


class SyncClient(Generic[Schema]):
    """The calls of `WorchflowClient`, blocking; usable from any thread.

    Opens at its first call. Needs stores that were given as URLs, as an SQLite path
    or by the environment: clients bound to an event loop cannot be shared.
    """

    def __init__(self, make_client: Callable[[], WorchflowClient[Any]]) -> None:
        self._client = make_client()
        self._portal = Portal()

    def open(self) -> Self:
        """As `WorchflowClient.open`."""
        self._portal.call(self._client.open())
        return self

    def close(self) -> None:
        """As `WorchflowClient.close`, and end the thread."""
        self._portal.call(self._client.close())
        self._portal.close()

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
        return self._wrap(
            self._portal.call(self._client.send(message, id=id, delay=delay, at=at))
        )

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
        handles = self._portal.call(self._client.send_many(messages))
        return [self._wrap(handle) for handle in handles]

    @overload
    def handle(
        self, id: str, event: EventSource[Any, R], /
    ) -> SyncExecutionHandle[R]: ...
    @overload
    def handle(self, id: str, /) -> SyncExecutionHandle[Any]: ...
    def handle(self, id: str, event: Any = None, /) -> SyncExecutionHandle[Any]:
        """As `WorchflowClient.handle`."""
        return self._wrap(self._client.handle(id, event))

    def get(self, id: str, /) -> Execution:
        """As `WorchflowClient.get`."""
        return self._portal.call(self._client.get(id))

    def steps(self, id: str, /) -> list[StepRecord]:
        """As `WorchflowClient.steps`."""
        return self._portal.call(self._client.steps(id))

    def counts(self) -> dict[ExecutionStatus, int]:
        """As `WorchflowClient.counts`."""
        return self._portal.call(self._client.counts())

    def retry(self, id: str, /) -> None:
        """As `WorchflowClient.retry`."""
        self._portal.call(self._client.retry(id))

    def cancel(self, id: str, /, *, reason: str | None = None) -> None:
        """As `WorchflowClient.cancel`."""
        self._portal.call(self._client.cancel(id, reason=reason))

    def _wrap(self, handle: ExecutionHandle[Any]) -> SyncExecutionHandle[Any]:
        return SyncExecutionHandle(self._portal, handle)

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
        return self._portal.call(
            self._client.list(
                status=status,
                function=function,
                since=since,
                until=until,
                id_prefix=id_prefix,
                cursor=cursor,
                limit=limit,
            )
        )
