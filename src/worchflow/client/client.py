"""The client: sends events, reads executions, cancels and retries them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, overload

from ..definitions.event_schema import EventSchema
from ..definitions.function import event_of
from ..definitions.middleware import nest_send
from ..engine.answers import Answers
from ..engine.batch import check_stream, refuse_one_message, send_batches, send_through
from ..engine.emitter import CallbackMethods, Callbacks, Emitter
from ..engine.event_log import EventLog
from ..engine.sending import MAX_BATCH, Sender
from ..foundations.errors import StoreUnavailable
from ..foundations.suggestions import refuse_unknown
from ..foundations.types import R, Schema
from ..model.records import ExecutionStatus
from ..serialization.payloads import Payloads
from ..storage.choice import StoreChoice, make_backend
from .administration import Administration
from .connection import ClientOptions, Connection
from .handle import ExecutionHandle
from .sync_client import SyncClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence
    from types import TracebackType
    from typing import Self, Unpack

    from ..definitions.correlation_key import Keys
    from ..engine.sending import Accepted, Prepared, SendOptions, SharedSendOptions
    from ..foundations.types import EventSource, Message, Stream


class WorchflowClient(Administration, CallbackMethods, Generic[Schema]):
    """Sends events and reads executions.

    `WorchflowClient[Events](...)` or `events=Events`, a union of TypedDicts, makes
    `{"name": ..., "data": ...}` checked: by the type checker and at run time. Making
    a client does no I/O; `async with`, `open()` or the first call opens it. It has
    to be used on one event loop; `client.sync` is for code without one.
    """

    __worchflow_events__: Any = None

    def __init__(self, **options: Unpack[ClientOptions]) -> None:
        refuse_unknown(options, ClientOptions.__optional_keys__, "WorchflowClient")
        middleware, events = options.get("middleware", ()), options.get("events")
        super().__init__(Callbacks())
        self._emitter = Emitter(middleware, self._callbacks)
        backend = make_backend(StoreChoice.of(options))
        self._connection = Connection(backend, self._emitter)
        events = events if events is not None else self.__worchflow_events__
        functions = options.get("functions", ())
        self._functions = {each.event_name: each for each in functions}
        self._middleware = tuple(middleware)
        self._payloads = Payloads.of(options)
        self._sender = Sender.of(
            self._connection.backend,
            self._payloads,
            self._functions.values(),
            None if events is None else EventSchema.from_types(events),
        )
        self._event_log = EventLog(self._sender)
        self._answers = Answers(self._sender)
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
        cls, redis_url: str, mongo_url: str, /, **options: Unpack[ClientOptions]
    ) -> Self:
        """A client of a Redis and a MongoDB; no database in the URL: `worchflow`.

        The options are those of `WorchflowClient(...)`.
        """
        options |= {"redis_url": redis_url, "mongo_url": mongo_url}
        return cls(**options)

    async def open(self) -> Self:
        """Connect and check both stores; emits `ready`, or `error` and raises."""
        await self._connection.open()
        return self

    async def close(self) -> None:
        """Write what is buffered and close what this client opened."""
        self._sender.served.close()
        await self._event_log.close()
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
    def sync(self) -> SyncClient[Schema]:
        """The same calls for code without an event loop, on its own thread.

        Callbacks and middleware of this client are called for them on that thread.
        """
        return self._sync

    @overload
    async def send(
        self,
        message: Message[R],
        /,
        **options: Unpack[SendOptions],
    ) -> ExecutionHandle[R]: ...
    @overload
    async def send(
        self,
        message: Schema,
        /,
        **options: Unpack[SendOptions],
    ) -> ExecutionHandle[Any]: ...
    async def send(
        self,
        message: Any,
        /,
        **options: Unpack[SendOptions],
    ) -> ExecutionHandle[Any]:
        """Accept an event durably; the handle's id is the execution's.

        `delay` or `at` say when it may start. Sending again with an `id`, the same
        event and equal data returns the existing execution (`handle.duplicate`);
        anything else under that id raises `ExecutionConflict`. `headers` (text by
        name) are carried to the context and to whatever the execution sends, a
        listing can filter by `tags`. Bad input raises `UnknownEvent`,
        `EventValidationError`, `PayloadTooLarge`, `InvalidInput` or
        `ConfigurationError` before anything is written; `StoreUnavailable` leaves the
        outcome unknown and carries `execution_id`, with which sending again is safe.
        """
        # One id, so that middleware may try again after an unknown outcome.
        if options.get("id") is None:
            options["id"] = self._sender.new_id()

        async def accept(message: Any) -> ExecutionHandle[Any]:
            prepared = self._sender.prepare(message, **options)
            return (await self._accept([prepared]))[0]

        handle: ExecutionHandle[Any] = await nest_send(self._middleware, accept)(
            message
        )
        return handle

    @overload
    async def send_many(
        self, messages: Iterable[Message[R]], /, **options: Unpack[SharedSendOptions]
    ) -> list[ExecutionHandle[R]]: ...
    @overload
    async def send_many(
        self,
        messages: Iterable[Message[Any] | Schema],
        /,
        **options: Unpack[SharedSendOptions],
    ) -> list[ExecutionHandle[Any]]: ...
    async def send_many(
        self, messages: Iterable[Any], /, **options: Unpack[SharedSendOptions]
    ) -> list[ExecutionHandle[Any]]:
        """Accept many events, one handle each, in order; `options` hold for each.

        All are validated before any is written. They are written in batches, one
        round trip per store each; a failure tells which were accepted.
        """
        refuse_one_message(messages)
        sender = self._sender
        prepare = partial(sender.prepare, **options)
        if not self._middleware:
            return await self._accept([prepare(each) for each in messages])
        return await send_through(
            self._middleware, list(messages), sender.new_id, prepare, self._accept
        )

    @overload
    def send_stream(
        self,
        messages: Stream[Message[R]],
        /,
        *,
        batch: int = MAX_BATCH,
        **options: Unpack[SharedSendOptions],
    ) -> AsyncIterator[ExecutionHandle[R]]: ...
    @overload
    def send_stream(
        self,
        messages: Stream[Message[Any] | Schema],
        /,
        *,
        batch: int = MAX_BATCH,
        **options: Unpack[SharedSendOptions],
    ) -> AsyncIterator[ExecutionHandle[Any]]: ...
    def send_stream(
        self,
        messages: Stream[Any],
        /,
        *,
        batch: int = MAX_BATCH,
        **options: Unpack[SharedSendOptions],
    ) -> AsyncIterator[ExecutionHandle[Any]]:
        """Accept any number of events, `batch` (1 to 1,000) at a time.

        Takes the next messages, plain or asynchronous, once the handles of those before
        were taken, so memory holds one batch. Each batch is a `send_many`: what it
        raises is about that batch; all before it were accepted.
        """
        check_stream(messages, batch)
        return send_batches(messages, batch, partial(self.send_many, **options))

    async def emit(
        self,
        message: Message[Any] | Schema,
        /,
        *,
        id: str | None = None,
        key: Keys | None = None,
    ) -> str:
        """Tell whoever waits for an event with this key; the event's id.

        It starts nothing. Once this returns the event is accepted durably, and those
        who wait, now or later, will take it; `event_retention` says for how long.
        `key` is for events that do not declare what of their data it is. Emitting
        again with an `id` and equal data delivers the first event again; anything else
        under that id raises `EventConflict`. Bad input raises what `send` raises,
        before anything is written; `StoreUnavailable` leaves the outcome unknown and
        has the id in `unknown`, with which emitting again is safe.
        """
        return await self._event_log.emit(message, id, key, self._connection.ready)

    async def complete(self, token_id: str, answer: object, /) -> None:
        """Answer a token of `step.token`; the first answer counts.

        Once this returns the answer is accepted durably, and the execution that waits
        gets it. `EventValidationError` for an answer that does not fit the token's
        type, `InvalidInput` for what is no token's id, and `WrongState` when the token
        is unknown, was answered before, its time is over or its execution has ended,
        saying which: all before anything changes. After `StoreUnavailable` the answer
        may be accepted: if it was, completing again raises `WrongState`, "got the same
        answer".
        """
        await self._answers.complete(token_id, answer, self._connection.ready)

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

    def _cloned(self) -> WorchflowClient[Any]:
        """The same client on its own backend, for another event loop."""
        clone: WorchflowClient[Any] = WorchflowClient(
            backend=self._connection.backend.clone(),
            functions=self._functions.values(),
            middleware=self._middleware,
        )
        clone._payloads = self._payloads
        clone._callbacks = self._callbacks
        clone._emitter.use(self._callbacks)
        clone._sender = replace(self._sender, store=clone._connection.backend)
        clone._event_log = EventLog(clone._sender)
        clone._answers = Answers(clone._sender)
        return clone
