"""One execution as its sender sees it."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Generic

from typing_extensions import override

from ..foundations.durations import format_duration, to_seconds
from ..foundations.errors import (
    ExecutionCancelled,
    ExecutionFailed,
    SerializationError,
    StoreUnavailable,
)
from ..foundations.types import R_co
from ..model.notices import AttemptFailed, ExecutionCompleted, ExecutionUpdated
from ..model.records import ErrorInfo, ExecutionStatus
from ..model.waiting import why_waiting
from ..serialization.decoding import decode_execution

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from ..foundations.types import Duration
    from ..model.records import StoredExecution
    from ..serialization.payloads import Payloads
    from .connection import Connection

POLL_SECONDS = 2.0
"""Seconds between two looks at the store; notices make waiting shorter."""
UNTOLD_POLL_SECONDS = 0.05
"""The same at first with `ts_compat`: workers of the original tell nothing …"""
UNTOLD_SHARE = 0.1
"""… and then this share of the time for which it was waited already."""
FRESH_SECONDS = 0.05
"""Seconds after its send for which an execution is believed not to have ended …"""
FIRST_LOOK_SECONDS = 0.02
"""… and is looked at only if nothing was told for so long."""
MAX_LOOK_SECONDS = 1.0
"""Seconds for finding out what an execution waits for, once there was no result."""


class ExecutionHandle(Generic[R_co]):
    """One execution: its id, its result, its status, its updates.

    `duplicate` is True when the send found an equal execution under the id.
    """

    def __init__(
        self,
        execution_id: str,
        connection: Connection,
        payloads: Payloads,
        *,
        result_type: Any = Any,
        duplicate: bool = False,
        is_new: bool = False,
    ) -> None:
        self.id = execution_id
        self.duplicate = duplicate
        self._connection = connection
        self._payloads = payloads
        self._result_type = result_type
        self._fresh_until = _now() + FRESH_SECONDS if is_new else 0.0

    @override
    def __repr__(self) -> str:
        return f"ExecutionHandle({self.id!r}, duplicate={self.duplicate})"

    async def result(self, timeout: Duration | None = None) -> R_co:
        """The result, once there is one.

        Raises `ExecutionFailed`, `ExecutionCancelled`, `ExecutionNotFound`, and
        `TimeoutError` after `timeout`, which says what it waits for; nothing changes
        for the execution then, and the call may be repeated.
        """
        seconds = None if timeout is None else to_seconds(timeout, "timeout")
        stored = await self._stored() if seconds == 0 else await self._ended(seconds)
        if stored is None or not stored.status.is_terminal:
            when = f"after {format_duration(seconds)}" if seconds else "yet"
            raise TimeoutError(
                f"execution {self.id} has no result {when}{await self._state(stored)}"
            )
        result: R_co = self._decoded(stored)
        return result

    async def status(self) -> ExecutionStatus:
        """Its status now; `ExecutionNotFound` for an unknown id."""
        return (await self._stored()).status

    async def cancel(self, reason: str | None = None) -> None:
        """Cancel it; nothing happens if it has ended already."""
        await self._connection.cancel(self.id, reason)

    async def updates(self) -> AsyncGenerator[ExecutionUpdated]:
        """What happens to it from now on, until it has ended.

        The last update is always the one that tells the end. Updates in between may
        be missed while a store is unreachable. That of a step comes without its
        result, which `client.steps` has.
        """
        backend = await self._connection.ready()
        async with backend.notices.watch(self.id) as notices:
            stored, began = await self._stored(), _now()
            while not stored.status.is_terminal:
                notice = await notices.next(self._pause(began))
                if notice is None or _ends(notice):
                    stored = await self._stored()
                elif isinstance(notice, AttemptFailed):
                    yield self._with_error(notice, await self._stored())
                else:
                    yield notice
            yield self._end(stored)

    async def _ended(self, seconds: float | None) -> StoredExecution | None:
        """The execution once it has ended, or as it was seen in time."""
        stored: StoredExecution | None = None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                backend = await self._connection.ready()
                async with backend.notices.watch(self.id, progress=False) as notices:
                    if _now() < self._fresh_until:
                        await notices.next(FIRST_LOOK_SECONDS)
                    stored, began = await self._stored(), _now()
                    while not stored.status.is_terminal:
                        notice = await notices.next(self._pause(began))
                        if notice is None or _ends(notice):
                            stored = await self._stored()
        return stored

    async def _state(self, stored: StoredExecution | None) -> str:
        """What it waits for, as far as that is known without a long wait."""
        if stored is None:
            return "; its store has not answered"
        backend, workers = self._connection.backend, None
        with contextlib.suppress(TimeoutError, StoreUnavailable):
            async with asyncio.timeout(MAX_LOOK_SECONDS):
                workers = await backend.workers.seen()
        waits = None
        with contextlib.suppress(SerializationError):
            execution = decode_execution(stored, self._payloads)
            options = backend.options
            now = options.runtime.now()
            waits = why_waiting(execution, now, workers, options.lease_ttl)
        return f": it is {stored.status}. {waits or ''}".rstrip()

    def _pause(self, began: float) -> float:
        """Seconds until the next look at the store, if nothing is told."""
        if not self._connection.backend.options.ts_compat:
            return POLL_SECONDS
        waited = _now() - began
        return min(POLL_SECONDS, max(UNTOLD_POLL_SECONDS, waited * UNTOLD_SHARE))

    async def _stored(self) -> StoredExecution:
        return await self._connection.get(self.id)

    def _with_error(
        self, notice: AttemptFailed, stored: StoredExecution
    ) -> AttemptFailed:
        """The notice with the attempt's error, unless things have gone on already."""
        if stored.error is None or stored.attempt_count != notice.attempt:
            return notice
        return replace(notice, error=self._error(stored))

    def _decoded(self, stored: StoredExecution) -> Any:
        if stored.status is ExecutionStatus.CANCELLED:
            reason = stored.cancel_reason
            raise ExecutionCancelled(
                f"execution {self.id} was cancelled"
                + (f": {reason}" if reason else ""),
                execution_id=self.id,
                reason=reason,
            )
        if stored.status is ExecutionStatus.FAILED:
            error = self._error(stored)
            raise ExecutionFailed(
                f"execution {self.id} of {stored.event_name} failed after "
                f"{stored.attempt_count} attempt(s): {error.type}: {error.message}",
                execution_id=self.id,
                error_type=error.type,
                error_message=error.message,
                traceback=error.traceback,
            )
        return self._payloads.decode(
            stored.result or "null",
            self._result_type,
            where=f"the result of execution {self.id}",
        )

    def _error(self, stored: StoredExecution) -> ErrorInfo:
        if stored.error is None:
            return ErrorInfo(type="unknown", message="", traceback="")
        return self._payloads.decode_error(stored.error)

    def _end(self, stored: StoredExecution) -> ExecutionUpdated:
        plain = ExecutionUpdated(
            execution_id=self.id,
            event_name=stored.event_name,
            attempt=stored.attempt_count,
            status=stored.status,
        )
        if stored.status is ExecutionStatus.COMPLETED:
            return ExecutionCompleted(
                **vars(replace(plain, attempt=stored.attempt_count + 1)),
                result=self._decoded(stored),
            )
        if stored.status is ExecutionStatus.FAILED:
            return AttemptFailed(**vars(plain), error=self._error(stored))
        return plain


def _ends(notice: ExecutionUpdated) -> bool:
    return notice.status.is_terminal


def _now() -> float:
    return asyncio.get_running_loop().time()
