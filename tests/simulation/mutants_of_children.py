"""The rules between parents and children, taken out one by one."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.simulation.mutant import Change, Mutant
from worchflow.engine import open_children
from worchflow.engine.operations import invoke
from worchflow.storage.redis_mongo import (
    announcements,
    claim_updates,
    executions,
    follow_ups,
    outbox,
    settlement_updates,
    settling,
    suspension_update,
    wake_ups,
)
from worchflow.storage.redis_mongo.documents import EXECUTIONS

LAST = 2**40
"""A token above all that there are."""


def _not_written_with_the_end() -> list[Change]:
    real: Any = settlement_updates.SettlementUpdate.update

    def update(self: Any) -> Any:
        names, self.follow_ups = self.follow_ups, {}
        try:
            return real.fget(self)
        finally:
            self.follow_ups = names

    return [(settlement_updates.SettlementUpdate, "update", property(update))]


def _struck_out_before_it_is_done() -> list[Change]:
    real = follow_ups.FollowUps.do

    async def do(self: Any, ended: Any, **options: Any) -> None:
        query = {"_id": ended["id"]}
        if token := (ended.get(outbox.FOLLOW_UPS) or {}).get("token"):
            query[f"{outbox.FOLLOW_UPS}.token"] = token
            change = {"$unset": {outbox.FOLLOW_UPS: ""}}
            await self._stores.mongo.update(EXECUTIONS, [{"q": query, "u": change}])
        await real(self, ended, **options)

    return [(follow_ups.FollowUps, "do", do)]


def _nobody_sweeps() -> list[Change]:
    async def sweep(self: Any) -> None:
        return None

    return [(follow_ups.FollowUps, "sweep", sweep)]


def _woken_before_the_end() -> list[Change]:
    real = settling.Settling._apply

    async def nothing(self: Any, ended: Any, token: int) -> None:
        return None

    async def apply(self: Any, claim: Any, settlement: Any, notice: Any) -> Any:
        if (parent := claim.execution.parent) is not None:
            await self._follow_ups._wake_ups.wake_parent(parent)
            # It shows where the parent has looked by then.
            await asyncio.sleep(0.1)
        return await real(self, claim, settlement, notice)

    return [
        (settling.Settling, "_apply", apply),
        (follow_ups.FollowUps, "_notify_parent", nothing),
    ]


def _woken_without_counting() -> list[Change]:
    real = wake_ups._wake_parents

    def wake_parents(nonce: str) -> Any:
        ((_, change),) = real(nonce)[0].items()
        return [{"$set": change | {"wakeups": "$wakeups"}}]

    return [(wake_ups, "_wake_parents", wake_parents)]


def _cancelled_whatever_their_token() -> list[Change]:
    real = follow_ups.FollowUps._cancel_children

    async def cancel_children(self: Any, ended: Any, token: int) -> bool:
        return await real(self, ended, LAST)

    return [(follow_ups.FollowUps, "_cancel_children", cancel_children)]


def _parent_not_looked_at() -> list[Change]:
    async def ended_parents(stores: Any, parents: Any) -> set[Any]:
        return set()

    return [(claim_updates, "ended_parents", ended_parents)]


def _failure_of_an_earlier_life() -> list[Change]:
    async def find(self: Any, child_id: str) -> Any:
        attempt = self._attempt
        return await attempt.calls.find_child(
            attempt.open_children, child_id, self.call.title
        )

    return [(invoke.AwaitsChild, "_find", find)]


def _retried_before_its_end_is_followed_up() -> list[Change]:
    real = executions.Executions.queue_again

    class Nothing:
        async def do(self, ended: Any, **options: Any) -> None:
            return None

    async def queue_again(self: Any, *arguments: Any) -> Any:
        early = executions.Executions(self._stores, self._counting, Nothing())  # type: ignore[arg-type]
        return await real(early, *arguments)

    return [
        (executions.Executions, "queue_again", queue_again),
        # A field that no document has.
        (executions, "FOLLOW_UPS", "followUpsOfNobody"),
    ]


def _suspended_without_a_word_of_children() -> list[Change]:
    real: Any = suspension_update.SuspensionUpdate._change

    def change(self: Any) -> Any:
        found = real.fget(self)
        found["$set"].pop(outbox.AWAITS_CHILDREN, None)
        return found

    return [(suspension_update.SuspensionUpdate, "_change", property(change))]


def _end_not_seen_in_place() -> list[Change]:
    async def look(self: Any) -> None:
        self.round = self._parking.wakeups.round

    return [(open_children.OpenChildren, "_look", look)]


def _not_announced() -> list[Change]:
    make = announcements.Announcements.make

    async def made(self: Any, claim: Any) -> bool:
        if self._field == outbox.HAS_CHILDREN:
            return True
        return await make(self, claim)

    return [(announcements.Announcements, "make", made)]


MUTANTS_OF_CHILDREN = (
    Mutant(
        "follow-ups not written with the end",
        "what a worker leaves undone that dies or is cut off, nobody does",
        _not_written_with_the_end,
    ),
    Mutant(
        "follow-ups struck out before they are done",
        "what was left in the middle, nobody does",
        _struck_out_before_it_is_done,
    ),
    Mutant(
        "follow-ups are left",
        "what a worker or client leaves undone, nobody does",
        _nobody_sweeps,
    ),
    Mutant(
        "parent woken before the end",
        "it looks, sees a child that runs, and waits for ever",
        _woken_before_the_end,
    ),
    Mutant(
        "parent woken without counting",
        "a child that ended on the way to the suspension is never seen",
        _woken_without_counting,
    ),
    Mutant(
        "children cancelled whatever their token",
        "an end that is followed up late cancels children of the next life",
        _cancelled_whatever_their_token,
    ),
    Mutant(
        "no look at the parent",
        "a child starts after its parent's end",
        _parent_not_looked_at,
    ),
    Mutant(
        "failure of an earlier life",
        "a retried parent fails because of what failed before",
        _failure_of_an_earlier_life,
    ),
    Mutant(
        "retried before its end is followed up",
        "what is left of an end is done in the next life, or not at all",
        _retried_before_its_end_is_followed_up,
    ),
    Mutant(
        "suspended without a word of children",
        "the end of a child does not queue its parent",
        _suspended_without_a_word_of_children,
    ),
    Mutant(
        "end not seen in place",
        "a parent that is kept does not see that a child ended",
        _end_not_seen_in_place,
    ),
    Mutant(
        "children not announced",
        "children outlive their parent",
        _not_announced,
    ),
)
