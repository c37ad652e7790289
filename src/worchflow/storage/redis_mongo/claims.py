"""The claims of every worker that joined through one backend."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import override

from ...model.notices import encode_started
from ...model.settlement import Released
from ..contract.claims import ClaimStore
from .beginning import begin
from .claimer import Claimer
from .settling import Settling

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...model.beginning import Begun
    from ...model.notices import Notice
    from ...model.records import Claim, WorkerRecord
    from ...model.settlement import Settled, Settlement
    from .announcements import Announcements
    from .executions import Executions
    from .follow_ups import FollowUps
    from .steps import Steps
    from .stores import Stores


class Claims(ClaimStore):
    """One claimer for each worker; a settlement releases what its claimer holds."""

    def __init__(
        self,
        stores: Stores,
        executions: Executions,
        steps: Steps,
        announced: Sequence[Announcements],
        follow_ups: FollowUps,
    ) -> None:
        self._stores = stores
        self._executions = executions
        self._steps = steps
        self._announced = announced
        waits, children = announced
        self._settling = Settling(
            stores, steps, waits, children, follow_ups, self._released
        )
        self.claimers: dict[str, Claimer] = {}
        """By the id of their worker."""

    @override
    async def claim(
        self, worker: WorkerRecord, limit: int, wait: float
    ) -> Sequence[Claim]:
        return await self.claimer(worker).claim(limit, wait)

    @override
    async def claim_quarantined(self, worker: WorkerRecord) -> Claim | None:
        return await self.claimer(worker).claim_quarantined()

    @override
    def announce(self, claim: Claim) -> None:
        tell = self._stores.scripts.tell_progress
        started = tell(claim.execution.id, encode_started(claim))
        self._stores.write_behind.put(started, at_once=False)

    @override
    async def begin(self, claim: Claim, deadline: float | None = None) -> Begun | None:
        return await begin(self._stores, claim, deadline)

    @override
    async def adopt(
        self, worker: WorkerRecord, execution_ids: frozenset[str]
    ) -> Sequence[Claim]:
        return await self.claimer(worker).adopt(execution_ids)

    @override
    async def settle(
        self, claim: Claim, settlement: Settlement, notice: Notice | None
    ) -> Settled:
        return await self._settling.settle(claim, settlement, notice)

    def claimer(self, worker: WorkerRecord) -> Claimer:
        """That of a worker, made on first use."""
        claimer = self.claimers.get(worker.id)
        if claimer is None:
            claimer = Claimer(self._stores, self._executions, self._steps, worker)
            self.claimers[worker.id] = claimer
        return claimer

    def wake(self, event: str | None) -> None:
        """There may be work of an event, or of any."""
        for claimer in list(self.claimers.values()):
            claimer.wake(event)

    def forget(self, worker_id: str) -> None:
        """Keep nothing of a worker that is fenced or has left."""
        self.claimers.pop(worker_id, None)
        self._steps.forget(worker_id)
        for each in self._announced:
            each.forget_worker(worker_id)

    async def hand_back(self, worker_id: str) -> bool:
        """Release what a worker took and was never given; whether it took any."""
        claimer = self.claimers.pop(worker_id, None)
        if claimer is None:
            return False
        for claim in await claimer.close():
            await self.settle(claim, Released(), None)
        return True

    async def close(self) -> None:
        """Stop every claimer."""
        for claimer in self.claimers.values():
            await claimer.close()

    def _released(self, worker_id: str, execution_id: str, answer: int) -> None:
        if (claimer := self.claimers.get(worker_id)) is not None:
            claimer.released(execution_id, answer)
