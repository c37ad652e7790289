"""What a client reads of executions, and does with those that exist."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..foundations.errors import WrongState
from ..model.notices import ExecutionUpdated
from ..model.records import ExecutionStatus
from ..serialization.decoding import decode_execution, decode_step, wait_record
from .listing import read_page
from .pruning import checked_ages, checked_limit, prune

if TYPE_CHECKING:
    from typing import Unpack

    from ..engine.emitter import Emitter
    from ..foundations.types import Duration
    from ..model.options import Retention
    from ..model.records import Execution, Page, StepRecord, WaitRecord
    from ..serialization.payloads import Payloads
    from .connection import Connection
    from .listing import ListFilters


class Administration:
    """The calls of `WorchflowClient` that read, cancel, retry and remove."""

    _connection: Connection
    _emitter: Emitter
    _payloads: Payloads

    @property
    def retention(self) -> Retention | None:
        """How long ended executions are kept in its stores; None: forever."""
        return self._connection.backend.options.retention

    async def get(self, id: str, /) -> Execution:
        """The execution; `ExecutionNotFound` for an unknown id."""
        stored = await self._connection.get(id)
        return decode_execution(stored, self._payloads)

    async def steps(self, id: str, /) -> list[StepRecord]:
        """What is recorded of its steps; `ExecutionNotFound` for an unknown id."""
        await self.get(id)
        recorded = await self._connection.backend.steps.all(id)
        return [decode_step(id, step, self._payloads) for step in recorded]

    async def waits(self, id: str, /) -> list[WaitRecord]:
        """What it waits for now, the earliest deadline first; none once it has ended.

        `ExecutionNotFound` for an unknown id.
        """
        stored = await self._connection.get(id)
        if stored.status.is_terminal:
            return []
        backend = self._connection.backend
        ended = {step.step_id for step in await backend.steps.all(id)}
        return [
            wait_record(id, wait)
            for wait in await backend.waits.all(id)
            if wait.step_id not in ended
        ]

    async def counts(self) -> dict[ExecutionStatus, int]:
        """Executions by status; may lag two seconds."""
        backend = await self._connection.ready()
        return await backend.counting.by_status()

    async def retry(self, id: str, /) -> None:
        """Queue a failed or cancelled execution again.

        Keeps completed steps, clears recorded failures and the attempt count.
        `WrongState` for any other status, `ExecutionNotFound`.
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

    def _tell(self, id: str, event_name: str, status: ExecutionStatus) -> None:
        if self._emitter.listens_to(ExecutionUpdated.name):
            self._emitter.emit(
                ExecutionUpdated(
                    execution_id=id, event_name=event_name, attempt=0, status=status
                )
            )

    # Last, so that the name does not shadow the builtin in annotations above.
    async def list(
        self,
        **filters: Unpack[ListFilters],
    ) -> Page[Execution]:
        """Executions, newest first, at most `limit` (1 to 200) and about 8 MiB of them.

        Without `payloads` the `data`, `result` and `attempts` are None and empty. A
        page may be short, even empty, while its cursor continues. Records that cannot
        be read are left out and logged.
        """
        return await read_page(self._connection, filters, self._payloads)
