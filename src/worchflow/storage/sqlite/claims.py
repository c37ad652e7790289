"""The claims of workers: waiting for work, and keeping it for a caller who has gone."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from typing_extensions import override

from ...model.notices import started
from ...model.settlement import Suspended
from ..contract.claims import ClaimStore
from . import claim_sql, settling, suspending
from .times import wall_now
from .writer import one_by_one

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...foundations.runtime import Runtime
    from ...model.beginning import Begun
    from ...model.notices import Notice
    from ...model.records import Claim, WorkerRecord
    from ...model.settlement import Settled, Settlement
    from .children import Children
    from .loop_binding import LoopBinding, Opened
    from .wakeup import Waiter

POLL_SECONDS = 0.25
"""Seconds between two looks for work that no hint told of."""

_claim = one_by_one(claim_sql.claim)
_adopt = one_by_one(claim_sql.adopt)
_begin = one_by_one(claim_sql.begin)


class Claims(ClaimStore):
    """The claims of the workers of one backend."""

    def __init__(self, opened: Opened, children: Children, runtime: Runtime) -> None:
        self._opened = opened
        self._children = children
        self._runtime = runtime
        self._kept: dict[str, dict[str, Claim]] = {}
        self._functions: dict[str, str] = {}
        self._waiters: dict[str, Waiter] = {}
        """Of the last claim of each worker: what is kept wakes who waits now."""

    @override
    async def claim(
        self, worker: WorkerRecord, limit: int, wait: float
    ) -> Sequence[Claim]:
        if limit < 1:
            return ()
        binding = self._opened()
        clock = asyncio.get_running_loop().time
        deadline = clock() + wait
        functions = self._functions.get(worker.id)
        if functions is None:
            functions = claim_sql.functions_json(worker.functions)
            self._functions[worker.id] = functions
        request = claim_sql.ClaimRequest(
            worker_id=worker.id,
            functions=functions,
            limit=limit,
            most_deaths=worker.quarantine_after - 1,
        )
        due = claim_sql.DueRequest(functions=functions, most_deaths=request.most_deaths)
        with binding.wakeup.waiting(frozenset(worker.functions)) as waiter:
            self._waiters[worker.id] = waiter
            while True:
                if kept := self._hand_out(worker.id, limit):
                    return kept
                waiter.clear()
                taken = await binding.write(
                    _claim, request, on_orphaned=partial(self._keep, worker.id)
                )
                if taken.claims:
                    return taken.claims
                if clock() >= deadline:
                    return self._hand_out(worker.id, limit)
                await self._wait_for_work(
                    binding, waiter, due, taken.next_due, deadline
                )

    @override
    async def claim_quarantined(self, worker: WorkerRecord) -> Claim | None:
        request = claim_sql.ClaimRequest(
            worker_id=worker.id,
            functions=claim_sql.functions_json(worker.functions),
            limit=1,
            least_deaths=worker.quarantine_after,
        )
        taken = await self._opened().write(
            _claim, request, on_orphaned=partial(self._keep, worker.id)
        )
        return taken.claims[0] if taken.claims else None

    @override
    def announce(self, claim: Claim) -> None:
        self._opened().tell(partial(started, claim))

    @override
    async def begin(self, claim: Claim, deadline: float | None = None) -> Begun | None:
        request = claim_sql.BeginRequest(claim=claim, deadline=deadline)
        return await self._opened().write(_begin, request)

    @override
    async def adopt(
        self, worker: WorkerRecord, execution_ids: frozenset[str]
    ) -> Sequence[Claim]:
        if not execution_ids:
            return ()
        request = claim_sql.AdoptRequest(worker_id=worker.id, ids=sorted(execution_ids))
        held = await self._opened().write(_adopt, request)
        for claim in held:
            self._kept.get(worker.id, {}).pop(claim.execution.id, None)
        return held

    @override
    async def settle(
        self, claim: Claim, settlement: Settlement, notice: Notice | None
    ) -> Settled:
        write = self._opened().write
        is_followed = claim.execution.parent is not None or self._children.may_have(
            claim
        )
        if isinstance(settlement, Suspended):
            suspension = settling.SuspendRequest(claim, settlement, notice, is_followed)
            settled = await write(suspending.suspend, suspension)
        else:
            request = settling.SettleRequest(claim, settlement, notice, is_followed)
            settled = await write(settling.settle, request)
        self._children.forget(claim)
        return settled

    def forget_all(self) -> None:
        """Keep nothing, as after closing."""
        self._kept, self._functions, self._waiters = {}, {}, {}
        self._children.forget_all()

    def forget(self, worker_id: str) -> Sequence[str]:
        """A worker ends: the ids of what was never handed out."""
        self._functions.pop(worker_id, None)
        self._waiters.pop(worker_id, None)
        self._children.forget_worker(worker_id)
        return tuple(self._kept.pop(worker_id, ()))

    def _keep(self, worker_id: str, taken: claim_sql.Taken) -> None:
        kept = self._kept.setdefault(worker_id, {})
        kept.update((claim.execution.id, claim) for claim in taken.claims)
        if (waiter := self._waiters.get(worker_id)) is not None:
            waiter.wake()

    def _hand_out(self, worker_id: str, limit: int) -> Sequence[Claim]:
        kept = self._kept.get(worker_id)
        if not kept:
            return ()
        ids = list(kept)[:limit]
        return [kept.pop(id_) for id_ in ids]

    async def _wait_for_work(
        self,
        binding: LoopBinding,
        waiter: Waiter,
        request: claim_sql.DueRequest,
        next_due: int | None,
        deadline: float,
    ) -> None:
        """Return on a hint, when something is due, or at the deadline."""
        clock = asyncio.get_running_loop().time
        due = next_due
        while (left := deadline - clock()) > 0:
            soon = (
                POLL_SECONDS
                if due is None
                else max(0.0, (due - wall_now(self._runtime)) / 1000)
            )
            if await waiter.wait(min(left, soon, POLL_SECONDS)):
                return
            due = await binding.read(claim_sql.next_due, request)
            if due is not None and due <= wall_now(self._runtime):
                return
