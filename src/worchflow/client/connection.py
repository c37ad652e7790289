"""A backend as one client uses it: opened by its first call, on one event loop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from ..foundations import forking
from ..foundations.errors import (
    ConfigurationError,
    ExecutionNotFound,
    WorchflowError,
    WrongState,
)
from ..foundations.limits import check_id, check_id_of_others, check_name
from ..foundations.loop_lock import LoopLock
from ..model.notices import ErrorRaised, Ready
from ..model.transitions import RETRYABLE
from ..serialization.payloads import PayloadOptions
from ..storage.choice import StoreOptions

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Sequence

    from ..definitions.function import AnyFunction
    from ..definitions.middleware import Middleware
    from ..engine.emitter import Emitter
    from ..model.records import ExecutionQuery, StoredExecution, StoredPage
    from ..storage.contract.backend import Backend


class ClientOptions(StoreOptions, PayloadOptions, total=False):
    """What a client is made with; all of it may be left out."""

    events: Any
    """A union of TypedDicts: messages that are mappings are checked against it."""
    functions: Iterable[AnyFunction]
    """Messages of their events are checked against the types of their data."""
    middleware: Sequence[Middleware]


class Connection:
    """Opens the backend once, however many calls need it, and closes it once."""

    def __init__(self, backend: Backend, emitter: Emitter) -> None:
        self.backend = backend
        self._emitter = emitter
        self._loop: asyncio.AbstractEventLoop | None = None
        """The event loop it is open on; None while it is not open."""
        self._until_the_loop_ends: AsyncGenerator[None] | None = None
        self._of_parent: AsyncGenerator[None] | None = None
        self._closed = False
        self._changing = LoopLock()
        forking.watch(self)

    def after_fork(self) -> None:
        """Open again at the next call, on a loop of the child."""
        self._loop = None
        self._of_parent, self._until_the_loop_ends = self._until_the_loop_ends, None

    async def ready(self) -> Backend:
        """The open backend; `ConfigurationError` if it was closed on purpose."""
        if self._loop is not asyncio.get_running_loop():
            if self._closed:
                raise ConfigurationError(
                    "this client is closed: open() opens it again, as `async with` does"
                )
            await self.open()
        return self.backend

    async def open(self) -> None:
        """Connect and check the stores; emits `ready`, or `error` and raises."""
        self._refuse_other_loop()
        # Calls that come while it opens wait for it.
        self._closed = False
        async with self._changing.here():
            if self._loop is not None:
                return
            try:
                await self.backend.open()
            except WorchflowError as error:
                self._emitter.emit(ErrorRaised(error=error))
                raise
            self._loop = asyncio.get_running_loop()
            self._until_the_loop_ends = self._close_at_the_end()
            await anext(self._until_the_loop_ends)
            self._emitter.emit(Ready())

    async def close(self) -> None:
        """Close the backend; what buffers something writes it first."""
        self._refuse_other_loop()
        async with self._changing.here():
            self._closed = True
            waiting, self._until_the_loop_ends = self._until_the_loop_ends, None
            await self._release()
            if waiting is not None:
                # Dropped instead, it would end later, and find what opened meanwhile.
                await waiting.aclose()

    async def _release(self) -> None:
        if self._loop is not None:
            self._loop = None
            await self._emitter.drain(1.0)
            await self.backend.close()

    async def _close_at_the_end(self) -> AsyncGenerator[None]:
        """What `asyncio.run` closes, as every generator, before it closes the loop.

        So nothing is left behind on a loop that has ended, and the next one opens it.
        """
        try:
            yield
        finally:
            # Collected as garbage after its loop, it must not wait for anything.
            if self._is_open_here():
                await self._release()

    def _is_open_here(self) -> bool:
        try:
            return self._loop is asyncio.get_running_loop()
        except RuntimeError:
            return False

    def check_id(self, value: object, field: str = "id") -> str:
        """The id of an execution that may be there, or `InvalidInput`.

        With `ts_compat` others choose ids as well, by their own rules.
        """
        if self.backend.options.ts_compat:
            return check_id_of_others(value, field)
        return check_id(value, field)

    async def get(self, execution_id: str) -> StoredExecution:
        """The execution; `ExecutionNotFound` for an unknown id."""
        self.check_id(execution_id)
        backend = await self.ready()
        return self.found(execution_id, await backend.executions.get(execution_id))

    async def page(self, query: ExecutionQuery) -> StoredPage:
        """A page of a listing."""
        if query.id_prefix is not None:
            self.check_id(query.id_prefix, "id_prefix")
        return await (await self.ready()).listing.page(query)

    async def cancel(self, execution_id: str, reason: str | None) -> StoredExecution:
        """Cancel it; returns how it stands then."""
        self.check_id(execution_id)
        if reason is not None:
            check_name(reason, "reason")
        backend = await self.ready()
        stored, _ = await backend.executions.cancel(execution_id, reason)
        return self.found(execution_id, stored)

    async def retry(self, execution_id: str) -> StoredExecution:
        """Queue it again; `WrongState` unless it failed or was cancelled."""
        self.check_id(execution_id)
        backend = await self.ready()
        found, queued = await backend.executions.retry(execution_id)
        stored = self.found(execution_id, found)
        if not queued:
            allowed = " or ".join(sorted(RETRYABLE))
            raise WrongState(
                f"execution {execution_id} is {stored.status} and cannot be retried: "
                f"only a {allowed} one can",
                execution_id=execution_id,
                status=stored.status,
            )
        return stored

    def found(
        self, execution_id: str, stored: StoredExecution | None
    ) -> StoredExecution:
        """What a store knows of an id; `ExecutionNotFound` for nothing."""
        if stored is None:
            raise ExecutionNotFound(
                f'no execution has the id "{execution_id}"',
                execution_id=execution_id,
                place=f"in {self.backend.location} "
                f'with the queue prefix "{self.backend.options.queue_prefix}"',
            )
        return stored

    def _refuse_other_loop(self) -> None:
        if self._loop is not None and self._loop.is_closed():
            self._loop = None  # Ended with it, as a second `asyncio.run` finds it.
        if self._loop not in (None, asyncio.get_running_loop()):
            raise ConfigurationError(
                "this client is open on another event loop: make one for each loop, "
                "or close it before the next begins; client.sync is for code without "
                "a loop"
            )
