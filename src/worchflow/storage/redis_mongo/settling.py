"""How the holder of a claim releases its execution."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...foundations.errors import StoreUnavailable
from ...model.notices import ExecutionUpdated, encode_notice
from ...model.records import ExecutionStatus
from ...model.settlement import (
    UNFINISHED,
    Cancelled,
    Released,
    Settled,
    Suspended,
)
from .documents import LIFE, LIVE
from .fields import count_of, parent_fields
from .scripts import NOWHERE
from .settlement_updates import SettlementUpdate
from .suspension_update import SuspensionUpdate

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...model.notices import Notice
    from ...model.records import Claim
    from ...model.settlement import Settlement
    from .announcements import Announcements
    from .documents import Document
    from .follow_ups import FollowUps
    from .steps import Steps
    from .stores import Stores

MAX_TRIES = 3


class Settling:
    """Applies settlements, then tells Redis; `released` is told what left a worker."""

    def __init__(
        self,
        stores: Stores,
        steps: Steps,
        waits: Announcements,
        children: Announcements,
        follow_ups: FollowUps,
        released: Callable[[str, str, int], None],
    ) -> None:
        self._stores = stores
        self._steps = steps
        self._waits = waits
        self._children = children
        self._follow_ups = follow_ups
        self._released = released

    async def settle(
        self, claim: Claim, settlement: Settlement, notice: Notice | None
    ) -> Settled:
        """Release an execution, if the claim still holds it."""
        if not (self._steps.is_flushed(claim) or await self._steps.barrier(claim)):
            # What the handler computed with is not what is recorded. It runs again
            # on the recorded values.
            released = await self._apply(claim, Released(), None)
            self._steps.forget_claim(claim)
            return Settled(applied=False, status=released.status)
        return await self._apply(claim, settlement, notice)

    async def _apply(
        self, claim: Claim, settlement: Settlement, notice: Notice | None
    ) -> Settled:
        stores = self._stores
        failed_attempts: int | None = None
        was_woken = False
        for _ in range(MAX_TRIES):
            update: SettlementUpdate | SuspensionUpdate
            if isinstance(settlement, Suspended):
                update = SuspensionUpdate(
                    stores.documents,
                    claim,
                    settlement,
                    stores.clock.now(),
                    was_woken=was_woken,
                )
            else:
                update = SettlementUpdate(
                    stores.documents,
                    claim,
                    settlement,
                    stores.clock.now(),
                    failed_attempts=failed_attempts,
                    has_waits=self._waits.may_have(claim),
                    has_children=self._children.may_have(claim),
                )
            seen = await stores.committer.update_execution(update.update, update.size)
            if seen is None or update.is_shown_by(seen):
                self._applied(claim, update, notice)
                if isinstance(update, SettlementUpdate) and update.follow_ups:
                    await self._follow_up(claim, update.follow_ups)
                return Settled(applied=True, status=update.status)
            status = _status(seen)
            if not self._is_held(claim, seen):
                # Too late, or an earlier call settled it and it went on its way.
                self._acknowledge(claim, status)
                is_own = seen.get("doneBy") == update.mark
                return Settled(applied=is_own, status=status)
            if seen.get("cancelRequested") is True:
                failed_attempts = update.failed_attempts
                attempt = None
                if not isinstance(settlement, UNFINISHED):
                    attempt = settlement.attempt
                settlement = Cancelled(attempt=attempt)
                notice = _updated(claim, ExecutionStatus.CANCELLED)
            elif isinstance(settlement, Suspended):
                was_woken = count_of(seen.get("wakeups")) != settlement.wakeups
                notice = _updated(claim, ExecutionStatus.QUEUED)
        raise StoreUnavailable(
            f"MongoDB refused {MAX_TRIES} times to settle an execution that this "
            "worker owns",
            execution_id=claim.execution.id,
        )

    async def _follow_up(self, claim: Claim, follow_ups: Document) -> None:
        """Do what follows the end of an execution."""
        execution = claim.execution
        ended: Document = {"id": execution.id}
        if execution.nonce:
            ended[LIFE] = execution.nonce
        if execution.parent is not None:
            ended["parent"] = parent_fields(execution.parent)
        await self._follow_ups.begin([ended | follow_ups])

    def _forget(self, claim: Claim) -> None:
        self._waits.forget(claim)
        self._children.forget(claim)

    def _applied(
        self,
        claim: Claim,
        update: SettlementUpdate | SuspensionUpdate,
        notice: Notice | None,
    ) -> None:
        self._forget(claim)
        stores = self._stores
        ttl = stores.options.finished_ttl if update.is_terminal else 0
        stores.write_behind.put(
            stores.scripts.release(
                claim.worker_id,
                claim.execution.id,
                update.place,
                fields=update.hash_fields,
                ttl=int(ttl * 1000),
                notice="" if notice is None else encode_notice(notice),
                answered=self._callback(claim),
            )
        )

    def _acknowledge(self, claim: Claim, status: ExecutionStatus | None) -> None:
        self._forget(claim)
        notice = None if status is None else _updated(claim, status)
        self._stores.write_behind.put(
            self._stores.scripts.release(
                claim.worker_id,
                claim.execution.id,
                NOWHERE,
                notice="" if notice is None else encode_notice(notice),
                answered=self._callback(claim),
            )
        )

    def _callback(self, claim: Claim) -> Callable[[int], None]:
        return lambda answer: self._released(
            claim.worker_id, claim.execution.id, answer
        )

    @staticmethod
    def _is_held(claim: Claim, seen: Document) -> bool:
        is_owned = seen.get("owner") == claim.worker_id
        # The original may have ended it and have left the stamps.
        is_live = seen.get("status") in LIVE
        return is_owned and is_live and seen.get("token") == claim.token


def _status(seen: Document) -> ExecutionStatus | None:
    try:
        return ExecutionStatus(seen["status"])
    except (KeyError, ValueError):
        return None


def _updated(claim: Claim, status: ExecutionStatus) -> ExecutionUpdated:
    return ExecutionUpdated(
        execution_id=claim.execution.id,
        event_name=claim.execution.event_name,
        attempt=claim.execution.attempt_count + 1,
        status=status,
    )
