"""The client: sends events, reads executions, cancels and retries them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Generic, overload

from ..definitions.event_schema import EventSchema
from ..definitions.function import event_of
from ..definitions.middleware import nest_send
from ..engine.batch import check_stream, refuse_one_message, send_batches, send_through
from ..engine.emitter import Emitter
from ..engine.sending import BATCH, Sender
from ..foundations.clock import SystemClock
from ..foundations.errors import StoreUnavailable, WrongState
from ..foundations.ids import new_execution_id
from ..foundations.limits import Limits
from ..foundations.types import R, Schema
from ..model.notices import ExecutionUpdated
from ..model.records import Execution, ExecutionStatus, Page, StepRecord
from ..serialization.decoding import decode_execution, decode_executions, decode_step
from ..serialization.payloads import Payloads
from ..storage.choice import StoreChoice, make_backend
from .connection import Connection
from .handle import ExecutionHandle
from .listing import checked_query
from .pruning import checked_ages, checked_limit, prune
from .sync_client import SyncClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence
    from datetime import datetime
    from types import TracebackType
    from typing import Self, Unpack

    from ..definitions.function import AnyFunction
    from ..definitions.middleware import Middleware
    from ..engine.sending import Accepted, Prepared
    from ..foundations.types import Duration, EventSource, Message, Stream
    from ..model.options import Retention
    from ..serialization.serializer import Codec, Serializer
    from ..storage.choice import AnyDatabase, AnyRedis
    from ..storage.contract.backend import Backend
    from .connection import ClientOptions


class WorchflowClient(Emitter, Generic[Schema]):
    """Sends events and reads executions.

    `WorchflowClient[Events](...)` or `events=Events`, a union of TypedDicts, makes
    `{"name": ..., "data": ...}` checked: by the type checker and at run time. Making
    a client does no I/O; `async with`, `open()` or the first call opens it. It has
    to be used on one event loop; `client.sync` is for code without one.
    """

    __worchflow_events__: Any = None

    def __init__(
        self,
        *,
        redis: AnyRedis | None = None,
        db: AnyDatabase | None = None,
        backend: Backend | None = None,
        queue_prefix: str | None = None,
        events: Any = None,
        functions: Iterable[AnyFunction] = (),
        middleware: Sequence[Middleware] = (),
        serializer: Serializer | None = None,
        codec: Codec | None = None,
        limits: Limits | None = None,
    ) -> None:
        super().__init__(middleware)
        self._connection = Connection(
            make_backend(
                StoreChoice(
                    redis=redis, db=db, backend=backend, queue_prefix=queue_prefix
                )
            ),
            self,
        )
        events = events if events is not None else self.__worchflow_events__
        self._functions = {each.event_name: each for each in functions}
        self._middleware = tuple(middleware)
        self._payloads = Payloads(
            serializer=serializer, codec=codec, limits=limits or Limits()
        )
        self._sender = Sender(
            store=self._connection.backend,
            payloads=self._payloads,
            clock=SystemClock(),
            schema=None if events is None else EventSchema.from_types(events),
            data_types={name: f.data_type for name, f in self._functions.items()},
        )
        self._sync = SyncClient[Schema](self._cloned)

    if not TYPE_CHECKING:

        def __class_getitem__(cls, events: Any) -> Any:
            """A client class that checks its mappings against `events` at run time.

            typing's own alias would forget its argument in `alias.connect(...)`.
            """
            if not EventSchema.reads(events):
                return super().__class_getitem__(events)
            name = f"{cls.__name__}[...]"
            return type(name, (cls,), {"__worchflow_events__": events})

    @classmethod
    def connect(
        cls,
        redis_url: str,
        mongo_url: str,
        /,
        *,
        queue_prefix: str | None = None,
        **options: Unpack[ClientOptions],
    ) -> Self:
        """A client of a Redis and a MongoDB; no database in the URL: `worchflow`.

        The options are those of `WorchflowClient(...)`.
        """
        backend = make_backend(
            StoreChoice(
                redis_url=redis_url, mongo_url=mongo_url, queue_prefix=queue_prefix
            )
        )
        return cls(backend=backend, **options)

    async def open(self) -> Self:
        """Connect and check both stores; emits `ready`, or `error` and raises."""
        await self._connection.open()
        return self

    async def close(self) -> None:
        """Write what is buffered and close what this client opened."""
        self._sender.served.close()
        try:
            if self._sync.in_use:
                await asyncio.to_thread(self._sync.close)
        finally:
            await self._connection.close()

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None:
        await self.close()

    @property
    def retention(self) -> Retention | None:
        """How long ended executions are kept in its stores; None: forever."""
        return self._connection.backend.options.retention

    @property
    def sync(self) -> SyncClient[Schema]:
        """The same calls for code without an event loop, on a thread of its own.

        Callbacks and middleware of this client are called for them on that thread.
        """
        return self._sync

    @overload
    async def send(
        self,
        message: Message[R],
        /,
        *,
        id: str | None = None,
        delay: Duration | None = None,
        at: datetime | None = None,
    ) -> ExecutionHandle[R]: ...
    @overload
    async def send(
        self,
        message: Schema,
        /,
        *,
        id: str | None = None,
        delay: Duration | None = None,
        at: datetime | None = None,
    ) -> ExecutionHandle[Any]: ...
    async def send(
        self,
        message: Any,
        /,
        *,
        id: str | None = None,
        delay: Duration | None = None,
        at: datetime | None = None,
    ) -> ExecutionHandle[Any]:
        """Accept an event durably; the handle's id is the execution's.

        `delay` or `at` say when it may start. Sending again with an `id`, the same
        event and equal data returns the existing execution (`handle.duplicate`);
        anything else under that id raises `ExecutionConflict`. Bad input raises
        `UnknownEvent`, `EventValidationError`, `PayloadTooLarge` or `InvalidInput`
        before anything is written; `StoreUnavailable` leaves the outcome unknown
        and carries `execution_id`, with which sending again is safe.
        """
        # One id, so that middleware may try again after an unknown outcome.
        own_id = new_execution_id() if id is None else id

        async def accept(message: Any) -> ExecutionHandle[Any]:
            prepared = self._sender.prepare(message, id=own_id, delay=delay, at=at)
            return (await self._accept([prepared]))[0]

        handle: ExecutionHandle[Any] = await nest_send(self._middleware, accept)(
            message
        )
        return handle

    @overload
    async def send_many(
        self, messages: Iterable[Message[R]], /
    ) -> list[ExecutionHandle[R]]: ...
    @overload
    async def send_many(
        self, messages: Iterable[Message[Any] | Schema], /
    ) -> list[ExecutionHandle[Any]]: ...
    async def send_many(self, messages: Iterable[Any], /) -> list[ExecutionHandle[Any]]:
        """Accept many events, one handle each, in order.

        All are validated before any is written. They are written in batches, one
        round trip per store each; a failure tells which were accepted.
        """
        refuse_one_message(messages)
        if not self._middleware:
            return await self._accept([self._sender.prepare(m) for m in messages])
        return await send_through(
            self._middleware, list(messages), self._sender.prepare, self._accept
        )

    @overload
    def send_stream(
        self, messages: Stream[Message[R]], /, *, batch: int = BATCH
    ) -> AsyncIterator[ExecutionHandle[R]]: ...
    @overload
    def send_stream(
        self, messages: Stream[Message[Any] | Schema], /, *, batch: int = BATCH
    ) -> AsyncIterator[ExecutionHandle[Any]]: ...
    def send_stream(
        self, messages: Stream[Any], /, *, batch: int = BATCH
    ) -> AsyncIterator[ExecutionHandle[Any]]:
        """Accept any number of events, `batch` (1 to 1,000) at a time.

        Takes the next messages, plain or asynchronous, once the handles of those before
        were taken, so memory holds one batch. Each batch is a `send_many`: what it
        raises is about that batch; all before it were accepted.
        """
        check_stream(messages, batch)
        return send_batches(messages, batch, self.send_many)

    async def _accept(self, prepared: Sequence[Prepared]) -> list[ExecutionHandle[Any]]:
        try:
            await self._connection.ready()
        except StoreUnavailable as error:
            if len(prepared) == 1:
                error.execution_id = prepared[0].execution.id
            raise
        accepted = await self._sender.insert(prepared)
        for one, new in zip(accepted, prepared, strict=True):
            if not one.duplicate:
                self._tell(one.id, new.execution.event_name, ExecutionStatus.QUEUED)
        return [self._handle(one) for one in accepted]

    async def get(self, id: str, /) -> Execution:
        """The execution; `ExecutionNotFound` for an unknown id."""
        stored = await self._connection.get(id)
        return decode_execution(stored, self._payloads)

    async def steps(self, id: str, /) -> list[StepRecord]:
        """What is recorded of its steps; `ExecutionNotFound` for an unknown id."""
        await self.get(id)
        recorded = await self._connection.backend.steps.all(id)
        return [decode_step(id, step, self._payloads) for step in recorded]

    async def counts(self) -> dict[ExecutionStatus, int]:
        """Executions by status; may lag two seconds."""
        backend = await self._connection.ready()
        return await backend.counting.by_status()

    async def retry(self, id: str, /) -> None:
        """Queue a failed or cancelled execution again.

        Completed steps are kept, recorded step failures cleared, the attempt count
        starts anew. `WrongState` for any other status, `ExecutionNotFound`.
        """
        stored = await self._connection.retry(id)
        self._tell(id, stored.event_name, ExecutionStatus.QUEUED)

    async def cancel(self, id: str, /, *, reason: str | None = None) -> None:
        """Cancel it: a waiting one at once, a running one when its worker hears of it.

        `WrongState` when it has ended, `ExecutionNotFound` for an unknown id.
        Cancelling one that is cancelled already changes nothing.
        """
        stored = await self._connection.cancel(id, reason)
        if stored.status in (ExecutionStatus.COMPLETED, ExecutionStatus.FAILED):
            raise WrongState(
                f"execution {id} has {stored.status} and cannot be cancelled any more",
                execution_id=id,
                status=stored.status,
            )
        if stored.status is ExecutionStatus.CANCELLED:
            self._tell(id, stored.event_name, ExecutionStatus.CANCELLED)

    async def prune(
        self,
        *,
        older_than: Duration | None = None,
        status: ExecutionStatus | str | None = None,
        limit: int | None = None,
    ) -> int:
        """Remove executions that ended long ago, with their steps; how many.

        As `retention` says, or those that ended longer ago than `older_than`; only
        those of one status, and `limit` at most. In small batches with pauses. What
        is removed is gone: `get` raises `ExecutionNotFound`, the id may be sent anew.
        """
        ages = checked_ages(self.retention, older_than, status)
        checked_limit(limit)
        return await prune(await self._connection.ready(), ages, limit)

    @overload
    def handle(self, id: str, event: EventSource[Any, R], /) -> ExecutionHandle[R]: ...
    @overload
    def handle(self, id: str, /) -> ExecutionHandle[Any]: ...
    def handle(self, id: str, event: Any = None, /) -> ExecutionHandle[Any]:
        """A handle on an existing execution; with its event, a typed one."""
        result = Any if event is None else event_of(event).result_type
        known = self._connection.check_id(id)
        return ExecutionHandle(
            known, self._connection, self._payloads, result_type=result
        )

    def _handle(self, accepted: Accepted) -> ExecutionHandle[Any]:
        return ExecutionHandle(
            accepted.id,
            self._connection,
            self._payloads,
            result_type=accepted.result_type,
            duplicate=accepted.duplicate,
            is_new=not accepted.duplicate,
        )

    def _tell(self, id: str, event_name: str, status: ExecutionStatus) -> None:
        if self.listens_to(ExecutionUpdated.name):
            self.emit(
                ExecutionUpdated(
                    execution_id=id, event_name=event_name, attempt=0, status=status
                )
            )

    def _cloned(self) -> WorchflowClient[Any]:
        """The same client on a backend of its own, for another event loop."""
        clone: WorchflowClient[Any] = WorchflowClient(
            backend=self._connection.backend.clone(),
            functions=self._functions.values(),
            middleware=self._middleware,
        )
        clone._payloads, clone._callbacks = self._payloads, self._callbacks
        clone._sender = replace(self._sender, store=clone._connection.backend)
        return clone

    # Last, so that the name does not shadow the builtin in annotations above.
    async def list(
        self,
        *,
        status: ExecutionStatus | str | None = None,
        function: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        id_prefix: str | None = None,
        cursor: str | None = None,
        limit: int = 50,
        payloads: bool = True,
    ) -> Page[Execution]:
        """Executions, newest first, at most `limit` (1 to 200) and about 8 MiB of them.

        `function` is a function id or an event name; `since` and `until` bound the
        creation time; `cursor` is the last page's; without `payloads`, `data` and
        `result` are None and not read. A page may be short, even empty, while its
        cursor goes on. Records that cannot be read are left out and logged.
        """
        query = checked_query(
            status, function, since, until, id_prefix, cursor, limit, payloads
        )
        page = await self._connection.page(query)
        items = decode_executions(page.items, self._payloads)
        return Page(items=items, cursor=page.cursor)
