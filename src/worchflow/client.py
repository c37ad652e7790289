"""The client: sends events, reads executions, cancels and retries them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Generic, overload

from .clock import SystemClock
from .decoding import decode_execution, decode_executions, decode_step
from .durations import to_utc
from .emitter import Emitter
from .engine.batch import refuse_one_message, send_through
from .engine.sending import Sender
from .errors import InvalidInput, WorchflowError, WrongState
from .event_schema import EventSchema
from .function import event_of
from .handle import ExecutionHandle, not_found
from .limits import Limits, check_cursor, check_id, check_name
from .middleware import nest_send
from .notices import ErrorRaised, ExecutionUpdated, Ready
from .payloads import Payloads
from .records import Execution, ExecutionQuery, ExecutionStatus, Page, StepRecord
from .storage import StoreChoice, make_backend
from .sync_client import SyncClient
from .transitions import RETRYABLE
from .types import R, Schema

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime
    from types import TracebackType
    from typing import Self

    from .engine.sending import Accepted, Prepared
    from .function import AnyFunction
    from .middleware import Middleware
    from .serialization import Codec, Serializer
    from .storage import AnyDatabase, AnyRedis
    from .storage.base import Backend
    from .types import Duration, EventSource, Message

LONGEST_PAGE = 200


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
        self._backend = make_backend(
            StoreChoice(redis=redis, db=db, backend=backend, queue_prefix=queue_prefix)
        )
        events = events if events is not None else self.__worchflow_events__
        self._functions = {each.event_name: each for each in functions}
        self._middleware = tuple(middleware)
        self._payloads = Payloads(
            serializer=serializer, codec=codec, limits=limits or Limits()
        )
        self._sender = Sender(
            store=self._backend,
            payloads=self._payloads,
            clock=SystemClock(),
            schema=None if events is None else EventSchema.from_types(events),
            data_types={name: f.data_type for name, f in self._functions.items()},
        )
        self._opening = asyncio.Lock()
        self._is_open = False
        self._sync: SyncClient[Schema] | None = None

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
    ) -> Self:
        """A client of a Redis and a MongoDB; no database in the URL: `worchflow`."""
        backend = make_backend(
            StoreChoice(
                redis_url=redis_url, mongo_url=mongo_url, queue_prefix=queue_prefix
            )
        )
        return cls(backend=backend)

    async def open(self) -> Self:
        """Connect and check both stores; emits `ready`, or `error` and raises."""
        async with self._opening:
            if not self._is_open:
                try:
                    await self._backend.open()
                except WorchflowError as error:
                    self.emit(ErrorRaised(error=error))
                    raise
                self._is_open = True
                self.emit(Ready())
        return self

    async def close(self) -> None:
        """Write what is buffered and let go of what this client opened."""
        async with self._opening:
            sync, self._sync = self._sync, None
            if sync is not None:
                await asyncio.to_thread(sync.close)
            if self._is_open:
                self._is_open = False
                await self.drain(1.0)
                await self._backend.close()

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
    def sync(self) -> SyncClient[Schema]:
        """The same calls for code without an event loop, on a thread of its own."""
        if self._sync is None:
            self._sync = SyncClient(self._cloned)
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

        async def accept(message: Any) -> ExecutionHandle[Any]:
            prepared = self._sender.prepare(message, id=id, delay=delay, at=at)
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

    async def _accept(self, prepared: Sequence[Prepared]) -> list[ExecutionHandle[Any]]:
        await self.open()
        accepted = await self._sender.insert(prepared)
        for one, new in zip(accepted, prepared, strict=True):
            if not one.duplicate:
                self._tell(one.id, new.execution.event_name, ExecutionStatus.QUEUED)
        return [self._handle(one) for one in accepted]

    async def get(self, id: str, /) -> Execution:
        """The execution; `ExecutionNotFound` for an unknown id."""
        await self.open()
        stored = await self._backend.get(check_id(id))
        if stored is None:
            raise not_found(id, self._backend)
        return decode_execution(stored, self._payloads)

    async def steps(self, id: str, /) -> list[StepRecord]:
        """What is recorded of its steps; `ExecutionNotFound` for an unknown id."""
        await self.get(id)
        recorded = await self._backend.steps(id)
        return [decode_step(id, step, self._payloads) for step in recorded]

    async def counts(self) -> dict[ExecutionStatus, int]:
        """Executions by status; may lag two seconds."""
        await self.open()
        counts = await self._backend.counts()
        return {status: counts.get(status, 0) for status in ExecutionStatus}

    async def retry(self, id: str, /) -> None:
        """Queue a failed or cancelled execution again.

        Completed steps are kept, recorded step failures cleared, the attempt count
        starts anew. `WrongState` for any other status, `ExecutionNotFound`.
        """
        await self.open()
        stored, queued = await self._backend.retry(check_id(id))
        if stored is None:
            raise not_found(id, self._backend)
        if not queued:
            allowed = " or ".join(sorted(RETRYABLE))
            raise WrongState(
                f"execution {id} is {stored.status} and cannot be retried: only a "
                f"{allowed} one can",
                execution_id=id,
                status=stored.status,
            )
        self._tell(id, stored.event_name, ExecutionStatus.QUEUED)

    async def cancel(self, id: str, /, *, reason: str | None = None) -> None:
        """Cancel it: a waiting one at once, a running one when its worker hears of it.

        `WrongState` when it has ended, `ExecutionNotFound` for an unknown id.
        Cancelling one that is cancelled already changes nothing.
        """
        if reason is not None:
            check_name(reason, "reason")
        await self.open()
        stored, _ = await self._backend.cancel(check_id(id), reason)
        if stored is None:
            raise not_found(id, self._backend)
        if stored.status in (ExecutionStatus.COMPLETED, ExecutionStatus.FAILED):
            raise WrongState(
                f"execution {id} has {stored.status} and cannot be cancelled any more",
                execution_id=id,
                status=stored.status,
            )
        if stored.status is ExecutionStatus.CANCELLED:
            self._tell(id, stored.event_name, ExecutionStatus.CANCELLED)

    @overload
    def handle(self, id: str, event: EventSource[Any, R], /) -> ExecutionHandle[R]: ...
    @overload
    def handle(self, id: str, /) -> ExecutionHandle[Any]: ...
    def handle(self, id: str, event: Any = None, /) -> ExecutionHandle[Any]:
        """A handle on an existing execution; with its event, a typed one."""
        return ExecutionHandle(
            check_id(id),
            self._backend,
            self._payloads,
            result_type=Any if event is None else event_of(event).result_type,
        )

    def _handle(self, accepted: Accepted) -> ExecutionHandle[Any]:
        return ExecutionHandle(
            accepted.id,
            self._backend,
            self._payloads,
            result_type=accepted.result_type,
            duplicate=accepted.duplicate,
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
            backend=self._backend.clone(),
            functions=self._functions.values(),
            middleware=self._middleware,
        )
        clone._payloads = self._payloads
        clone._sender = Sender(
            store=clone._backend,
            payloads=self._payloads,
            clock=self._sender.clock,
            schema=self._sender.schema,
            data_types=self._sender.data_types,
        )
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
    ) -> Page[Execution]:
        """Executions, newest first, at most `limit` (1 to 200) of them.

        `function` is a function id or an event name; `since` and `until` bound the
        creation time; `cursor` is the last page's. Records that cannot be read are
        left out and logged; `get` says what is wrong with one.
        """
        if type(limit) is not int or not 1 <= limit <= LONGEST_PAGE:
            raise InvalidInput(
                f"limit={limit!r} must be a whole number from 1 to {LONGEST_PAGE}",
                field="limit",
            )
        query = ExecutionQuery(
            status=None if status is None else _status(status),
            function=None if function is None else check_name(function, "function"),
            since=None if since is None else to_utc(since, "since"),
            until=None if until is None else to_utc(until, "until"),
            id_prefix=None if id_prefix is None else check_id(id_prefix, "id_prefix"),
            cursor=None if cursor is None else check_cursor(cursor),
            limit=limit,
        )
        await self.open()
        page = await self._backend.list(query)
        return Page(
            items=decode_executions(page.items, self._payloads),
            cursor=page.cursor,
        )


def _status(value: str) -> ExecutionStatus:
    try:
        return ExecutionStatus(value)
    except ValueError:
        raise InvalidInput(
            f"status={value!r} is no status; there are: "
            + ", ".join(status.value for status in ExecutionStatus),
            field="status",
        ) from None
