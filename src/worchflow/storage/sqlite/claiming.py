"""Waiting for work, and keeping what was claimed for a caller who has gone."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from . import claims
from .times import wall_now
from .writer import one_by_one

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...model.records import Claim, WorkerRecord
    from .loop_binding import LoopBinding
    from .wakeup import Waiter

POLL = 0.25
"""Seconds between two looks for work that no hint told of."""

_claim = one_by_one(claims.claim)
_adopt = one_by_one(claims.adopt)
_begin = one_by_one(claims.begin)


class Claiming:
    """The claims of the workers of one backend."""

    def __init__(self) -> None:
        self._kept: dict[str, dict[str, Claim]] = {}
        self._functions: dict[str, str] = {}
        self._waiters: dict[str, Waiter] = {}
        """Of the last claim of each worker: what is kept wakes who waits now."""

    async def claim(
        self, binding: LoopBinding, worker: WorkerRecord, limit: int, wait: float
    ) -> Sequence[Claim]:
        """Up to `limit` claims, waiting up to `wait` seconds for the first."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + wait
        functions = self._functions.get(worker.id)
        if functions is None:
            functions = claims.functions_json(worker.functions)
            self._functions[worker.id] = functions
        request = claims.ClaimRequest(
            worker_id=worker.id,
            functions=functions,
            limit=limit,
            most_deaths=worker.quarantine_after - 1,
        )
        due = claims.DueRequest(functions=functions, most_deaths=request.most_deaths)
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
                await _wait_for_work(binding, waiter, due, taken.next_due, deadline)

    async def claim_quarantined(
        self, binding: LoopBinding, worker: WorkerRecord
    ) -> Claim | None:
        """The oldest execution that has too many deaths for `claim`, or None."""
        request = claims.ClaimRequest(
            worker_id=worker.id,
            functions=claims.functions_json(worker.functions),
            limit=1,
            least_deaths=worker.quarantine_after,
        )
        taken = await binding.write(
            _claim, request, on_orphaned=partial(self._keep, worker.id)
        )
        return taken.claims[0] if taken.claims else None

    async def begin(self, binding: LoopBinding, claim: Claim) -> bool:
        """Mark that the code of an execution begins."""
        request = claims.BeginRequest(
            execution_id=claim.execution.id,
            worker_id=claim.worker_id,
            token=claim.token,
        )
        return await binding.write(_begin, request)

    async def adopt(
        self, binding: LoopBinding, worker: WorkerRecord, execution_ids: frozenset[str]
    ) -> Sequence[Claim]:
        """What the worker holds among the ids, whether it was handed out or not."""
        request = claims.AdoptRequest(worker_id=worker.id, ids=sorted(execution_ids))
        held = await binding.write(_adopt, request)
        for claim in held:
            self._kept.get(worker.id, {}).pop(claim.execution.id, None)
        return held

    def forget(self, worker_id: str) -> Sequence[str]:
        """A worker ends: the ids of what was never handed out."""
        self._functions.pop(worker_id, None)
        self._waiters.pop(worker_id, None)
        return tuple(self._kept.pop(worker_id, ()))

    def _keep(self, worker_id: str, taken: claims.Taken) -> None:
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
    binding: LoopBinding,
    waiter: Waiter,
    request: claims.DueRequest,
    next_due: int | None,
    deadline: float,
) -> None:
    """Return on a hint, when something is due, or at the deadline."""
    clock = asyncio.get_running_loop().time
    due = next_due
    while (left := deadline - clock()) > 0:
        soon = POLL if due is None else max(0.0, (due - wall_now()) / 1000)
        if await waiter.wait(min(left, soon, POLL)):
            return
        due = await binding.read(claims.next_due, request)
        if due is not None and due <= wall_now():
            return
