"""The application object: functions, stores, middleware and lifespan in one place."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, overload

from typing_extensions import override

from .client.client import WorchflowClient
from .definitions.event_schema import EventSchema
from .definitions.function import make_binder
from .definitions.registry import FunctionRegistry
from .foundations.durations import to_seconds
from .foundations.errors import ConfigurationError
from .foundations.limits import check_name
from .foundations.suggestions import did_you_mean, refuse_unknown
from .foundations.types import Schema
from .storage.choice import StoreChoice, make_backend
from .worker.worcher import SharedOptions, Worcher

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Sequence

    from typing_extensions import Unpack

    from .definitions.function import (
        AnyFunction,
        AsyncHandler,
        Binder,
        FunctionOptions,
        NameBinder,
        SyncHandler,
        WorchflowFunction,
    )
    from .definitions.middleware import Middleware
    from .foundations.types import D, Duration, EventSource, R
    from .model.options import WorkerOptions
    from .serialization.payloads import PayloadOptions
    from .storage.contract.backend import Backend

Lifespan: TypeAlias = Callable[["Worchflow[Any]"], AbstractAsyncContextManager[None]]
AppLifespan: TypeAlias = Callable[[Any], AbstractAsyncContextManager[Mapping[str, Any]]]


class Worchflow(Generic[Schema]):
    """Functions and where their executions are kept, under one import string.

    The stores are given explicitly (`redis=` and `db=`, `redis_url=` and
    `mongo_url=`, `sqlite=`, `backend=`), else by `WORCHFLOW_REDIS_URL` and
    `WORCHFLOW_MONGO_URL`, else it is the SQLite file `WORCHFLOW_SQLITE_PATH` or
    `.worchflow/worchflow.db`. Making one does no I/O.

    `Worchflow[Events](name)` or `events=Events` checks mappings as the client does.
    """

    __worchflow_events__: Any = None

    def __init__(
        self,
        name: str,
        /,
        *,
        events: Any = None,
        middleware: Sequence[Middleware] = (),
        lifespan: Lifespan | None = None,
        **shared: Unpack[SharedOptions],
    ) -> None:
        refuse_unknown(shared, SharedOptions.__optional_keys__, "Worchflow")
        self.name = check_name(name, "name")
        self.registry = FunctionRegistry(())
        self._choice = StoreChoice.of(shared)
        self._payload_options: PayloadOptions = {
            "serializer": shared.get("serializer"),
            "codec": shared.get("codec"),
            "limits": shared.get("limits"),
        }
        self._backend: Backend | None = None
        self._events = events if events is not None else self.__worchflow_events__
        self._middleware = tuple(middleware)
        self._lifespan = lifespan

    if not TYPE_CHECKING:

        def __class_getitem__(cls, events: Any) -> Any:
            """An app class whose clients check mappings against `events`."""
            if not EventSchema.reads(events):
                return super().__class_getitem__(events)
            name = f"{cls.__name__}[...]"
            return type(name, (cls,), {"__worchflow_events__": events})

    @property
    def functions(self) -> list[AnyFunction]:
        """The functions registered so far."""
        return list(self.registry)

    @property
    def event_types(self) -> Mapping[str, Any]:
        """The data type of each event that it has a function for, or its schema has."""
        types = {each.event_name: each.data_type for each in self.registry}
        if self._events is None:
            return types
        return types | dict(EventSchema.from_types(self._events).data_types)

    @overload
    def function(
        self, event: EventSource[D, R], /, **options: Unpack[FunctionOptions]
    ) -> Binder[D, R]: ...
    @overload
    def function(
        self, event: str, /, **options: Unpack[FunctionOptions]
    ) -> NameBinder: ...
    def function(self, event: Any, /, **options: Unpack[FunctionOptions]) -> Any:
        """Register the decorated handler for an event.

        The same code run again, as a notebook's cell or a reloaded module, replaces
        what it registered before; a worker takes the functions it was made with.
        `ConfigurationError` for options or handlers that cannot work,
        `FunctionAlreadyRegistered` for a second function on one event or id.
        """
        return make_binder(event, options, self.registry.define)

    @overload
    def create_function(
        self,
        event: EventSource[D, R],
        handler: AsyncHandler[D, R],
        /,
        **options: Unpack[FunctionOptions],
    ) -> WorchflowFunction[D, R]: ...
    @overload
    def create_function(
        self,
        event: EventSource[D, R],
        handler: SyncHandler[D, R],
        /,
        **options: Unpack[FunctionOptions],
    ) -> WorchflowFunction[D, R]: ...
    @overload
    def create_function(
        self,
        event: str,
        handler: AsyncHandler[D, R],
        /,
        **options: Unpack[FunctionOptions],
    ) -> WorchflowFunction[D, R]: ...
    @overload
    def create_function(
        self,
        event: str,
        handler: SyncHandler[D, R],
        /,
        **options: Unpack[FunctionOptions],
    ) -> WorchflowFunction[D, R]: ...
    def create_function(
        self,
        event: Any,
        handler: Callable[..., Any],
        /,
        **options: Unpack[FunctionOptions],
    ) -> Any:
        """As `function`, without the decorator."""
        binder: Any = make_binder(event, options, self.registry.define)
        return binder(handler)

    def include(self, *functions: AnyFunction) -> None:
        """Register functions that were made without an app."""
        for function in functions:
            self.registry.add(function)

    def backend(self) -> Backend:
        """A backend on the app's stores; the app's own clients when it has any."""
        if self._backend is None:
            self._backend = make_backend(self._choice)
            return self._backend
        try:
            return self._backend.clone()
        except ConfigurationError:
            # Made from clients that belong to one event loop: it is shared.
            return self._backend

    def client(self, *, backend: Backend | None = None) -> WorchflowClient[Schema]:
        """A client of the app's stores, or of a `backend` in place of them."""
        return WorchflowClient(
            backend=self.backend() if backend is None else backend,
            events=self._events,
            functions=self.functions,
            middleware=self._middleware,
            **self._payload_options,
        )

    def worker(
        self,
        *,
        concurrency: int = 1,
        functions: Iterable[str] | None = None,
        options: WorkerOptions | None = None,
    ) -> Worcher:
        """A worker for the functions registered so far, or for those of these ids.

        The app's lifespan, if it has one, is entered before the worker claims
        anything and left after it stopped. `ConfigurationError` for an unknown id.
        """
        lifespan = self._lifespan
        return Worcher(
            self.functions if functions is None else self._chosen(functions),
            backend=self.backend(),
            concurrency=concurrency,
            middleware=self._middleware,
            **self._payload_options,
            options=options,
            lifespan=None if lifespan is None else lambda: lifespan(self),
        )

    def _chosen(self, ids: Iterable[str]) -> list[AnyFunction]:
        chosen: dict[str, AnyFunction] = {}
        for name in ids:
            function = self.registry.by_id(name)
            if function is None:
                known = [each.id for each in self.registry]
                raise ConfigurationError(
                    f'the app "{self.name}" has no function "{name}"'
                    f"{did_you_mean(name, known) or ';'} it has: {', '.join(known)}"
                )
            chosen[name] = function
        return list(chosen.values())

    def lifespan(
        self, *, concurrency: int | None = None, shutdown_timeout: Duration = 30
    ) -> AppLifespan:
        """A lifespan for Starlette or FastAPI: `FastAPI(lifespan=app.lifespan())`.

        An open client is there as `request.state.worchflow`. With `concurrency` a
        worker runs in the web process too; without, workers are processes of their
        own. When the application ends, that worker waits up to `shutdown_timeout` for
        the executions it runs, and hands the others back.
        """
        seconds = to_seconds(shutdown_timeout, "shutdown_timeout")

        @contextlib.asynccontextmanager
        async def lifespan(_: Any) -> AsyncGenerator[Mapping[str, Any]]:
            async with contextlib.AsyncExitStack() as stack:
                client = self.client()
                stack.push_async_callback(client.close)
                if concurrency is not None:
                    # First: it brings stores of an earlier release up to date.
                    worker = self.worker(concurrency=concurrency)
                    await worker.start()
                    stack.push_async_callback(worker.stop, seconds)
                await client.open()
                yield {"worchflow": client}

        return lifespan

    @override
    def __repr__(self) -> str:
        return f"Worchflow({self.name!r}, {len(self.functions)} function(s))"
