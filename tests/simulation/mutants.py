"""The protocol with one rule taken out of it, for each rule: the oracle must notice.

Each mutant changes the library's own code while it is applied and nothing else.
"""

from __future__ import annotations

from typing import Any

from tests.simulation.mutant import Change, Mutant
from tests.simulation.mutants_of_children import MUTANTS_OF_CHILDREN
from tests.simulation.mutants_of_deadlines import MUTANTS_OF_DEADLINES
from tests.simulation.mutants_of_fan_out import MUTANTS_OF_FAN_OUT
from tests.simulation.mutants_of_tokens import MUTANTS_OF_TOKENS
from tests.simulation.mutants_of_tries import MUTANTS_OF_TRIES
from tests.simulation.mutants_of_waits import MUTANTS_OF_WAITS
from worchflow.engine import scope
from worchflow.foundations.ids import new_nonce
from worchflow.model.records import StepStatus
from worchflow.storage.contract.executions import Inserted
from worchflow.storage.redis_mongo import (
    claim_updates,
    claimer,
    committer,
    executions,
    leases,
    mongo_gateway,
    reaper,
    settlement_updates,
    settling,
    statements,
    steps,
    sweeper,
    upkeep,
)
from worchflow.worker import lease, membership


def _settle_without_owner() -> list[Change]:
    def query(self: Any) -> Any:
        return {self._documents.id_field: self._claim.execution.id}

    return [
        (settlement_updates.SettlementUpdate, "query", property(query)),
        (statements, "_owned", lambda merge_key: {}),
    ]


def _claim_of_owned() -> list[Change]:
    original = claim_updates.Ownership.__init__

    def init(self: Any, *arguments: Any) -> None:
        original(self, *arguments)
        del self._eligible["owner"]
        self._eligible["status"] = {"$in": ["queued", "retrying", "processing"]}

    return [(claim_updates.Ownership, "__init__", init)]


def _no_sweep() -> list[Change]:
    async def sweep(self: Any, worker_id: str) -> int:
        return 0

    return [(sweeper.Sweeper, "sweep", sweep)]


def _no_reap() -> list[Change]:
    async def reap(self: Any, *, expired: bool) -> int:
        return 0

    return [(reaper.Reaper, "reap", reap)]


def _blind_reap() -> list[Change]:
    async def declare_dead(self: Any) -> None:
        alive = {"queuePrefix": self._stores.options.queue_prefix}
        statement = {"q": alive, "u": reaper._DEATH, "multi": True}
        await self._stores.mongo.update(reaper.WORKERS, [statement])

    return [(reaper.Reaper, "_declare_dead", declare_dead)]


def _overwritten_checkpoint() -> list[Change]:
    async def insert_step(self: Any, document: Any, size: int) -> None:
        values = {key: value for key, value in document.items() if key != "_id"}
        query = {"_id": document["_id"]}
        statement = {"q": query, "u": {"$set": values}, "upsert": True}
        await self._mongo.update(committer.STEPS, [statement])

    return [(committer.Committer, "insert_step", insert_step)]


def _own_value_kept() -> list[Change]:
    def recorded(self: Any, step: Any, document: Any, stored: Any) -> Any:
        return step

    return [(steps.Steps, "_recorded", recorded)]


def _no_trust_deadline() -> list[Change]:
    return [(lease.Lease, "holds", lambda self: not self.lost)]


def _dead_workers_renew() -> list[Change]:
    original = leases.OwnConnection.run

    def run(self: Any, first: Any, second: Any) -> Any:
        del first["updates"][0]["q"]["dead"]
        return original(self, first, second)

    return [(leases.OwnConnection, "run", run)]


def _no_new_identity() -> list[Change]:
    async def rejoin(self: Any) -> None:
        return None

    return [(membership.Membership, "_rejoin", rejoin)]


def _no_majority() -> list[Change]:
    return [(mongo_gateway, "write_concern", lambda timeout: {"w": 1})]


def _send_without_nonce() -> list[Change]:
    original = executions.Executions._inserted

    def inserted(self: Any, document: Any, existing: Any, now: int) -> Inserted:
        if existing is not None:
            execution = self._stores.documents.execution(existing)
            return Inserted(id=document["id"], existing=execution)
        return original(self, document, existing, now)

    return [(executions.Executions, "_inserted", inserted)]


def _cancel_forgotten_by_reap() -> list[Change]:
    original = reaper._release

    def release(progressed: Any) -> Any:
        first, *rest = original(progressed)
        return [{"$set": first["$set"] | {"status": "queued"}}, *rest]

    return [(reaper, "_release", release)]


def _cancel_forgotten_by_settle() -> list[Change]:
    original: Any = settlement_updates.SettlementUpdate.query

    def query(self: Any) -> Any:
        found = original.fget(self)
        found.pop("cancelRequested", None)
        return found

    return [
        (settlement_updates.SettlementUpdate, "query", property(query)),
        (
            settlement_updates,
            "UNSET_OWNERSHIP",
            settlement_updates.UNSET_OWNERSHIP | {"cancelRequested": ""},
        ),
    ]


def _steps_from_redis_alone() -> list[Change]:
    original = steps.Steps.load

    async def load(self: Any, documents: Any) -> Any:
        loaded = await original(self, documents)
        ids = [document["id"] for document in documents]
        cached = await self._cached(ids)
        return {
            each: {
                key: step
                for key, step in loaded[each].items()
                if key in (fields or {}) or step.status is StepStatus.FAILED
            }
            for each, fields in zip(ids, cached, strict=True)
        }

    return [(steps.Steps, "load", load)]


def _same_token() -> list[Change]:
    original = claim_updates._claim_change

    def change(worker: Any) -> Any:
        values, unset = original(worker)
        return values | {"token": {"$ifNull": ["$token", 1]}}, unset

    return [(claim_updates, "_claim_change", change)]


def _settled_while_it_runs() -> list[Change]:
    def unfinished(self: Any) -> set[Any]:
        return set()

    return [(scope.Scope, "_unfinished", unfinished)]


def _failed_steps_not_recorded() -> list[Change]:
    original = steps.Steps.checkpoint

    async def checkpoint(self: Any, claim: Any, step: Any) -> Any:
        if step.status is StepStatus.FAILED:
            return step
        return await original(self, claim, step)

    return [(steps.Steps, "checkpoint", checkpoint)]


def _no_barrier() -> list[Change]:
    async def barrier(self: Any, claim: Any) -> bool:
        return True

    return [(steps.Steps, "barrier", barrier)]


def _no_continuity() -> list[Change]:
    return [(lease.Lease, "unbroken_for_a_ttl", lambda self: self.holds())]


def _claim_with_new_nonce() -> list[Change]:
    original = claimer.Claimer._own

    async def own(self: Any) -> None:
        self._nonce = new_nonce(self._runtime)
        await original(self)

    return [(claimer.Claimer, "_own", own)]


def _acknowledged_first() -> list[Change]:
    original = settling.Settling.settle

    async def settle(self: Any, claim: Any, settlement: Any, notice: Any) -> Any:
        self._acknowledge(claim, None)
        return await original(self, claim, settlement, notice)

    return [(settling.Settling, "settle", settle)]


def _no_promotion() -> list[Change]:
    async def promote(self: Any) -> float:
        return 0.5

    return [(upkeep.Upkeep, "promote", promote)]


MUTANTS = (
    Mutant("no sweep", "an id that Redis lost is never queued again", _no_sweep),
    Mutant("no reap", "what a dead worker owned stays with it", _no_reap),
    Mutant("blind reap", "workers are declared dead whatever their lease", _blind_reap),
    Mutant("claim of what is owned", "two workers own one execution", _claim_of_owned),
    Mutant(
        "settle without compare-and-set",
        "a worker that lost its claim settles",
        _settle_without_owner,
    ),
    Mutant("a token is given twice", "a late write is not told apart", _same_token),
    Mutant(
        "checkpoint overwrites", "a recorded value changes", _overwritten_checkpoint
    ),
    Mutant(
        "loser keeps its value", "a result is not what is recorded", _own_value_kept
    ),
    Mutant(
        "steps read from Redis alone",
        "recorded steps run again after a wipe",
        _steps_from_redis_alone,
    ),
    Mutant(
        "failed steps are no facts",
        "a step whose failure was compensated runs again",
        _failed_steps_not_recorded,
    ),
    Mutant(
        "no trust deadline",
        "a worker that was frozen starts steps under a lease that ended",
        _no_trust_deadline,
    ),
    Mutant("dead workers renew", "a fenced worker continues", _dead_workers_renew),
    Mutant("no new identity", "a fenced worker never claims again", _no_new_identity),
    Mutant(
        "settled while it runs",
        "code of an attempt runs after it was let go",
        _settled_while_it_runs,
    ),
    Mutant(
        "cancellation forgotten by the reap",
        "a cancelled execution runs again after its worker died",
        _cancel_forgotten_by_reap,
    ),
    Mutant(
        "cancellation forgotten by the settlement",
        "a cancelled execution is retried",
        _cancel_forgotten_by_settle,
    ),
    Mutant(
        "send without nonce", "a send calls itself a duplicate", _send_without_nonce
    ),
    *MUTANTS_OF_WAITS,
    *MUTANTS_OF_TOKENS,
    *MUTANTS_OF_CHILDREN,
    *MUTANTS_OF_FAN_OUT,
    *MUTANTS_OF_DEADLINES,
    *MUTANTS_OF_TRIES,
    Mutant("writes without a majority", "a fail-over rolls back facts", _no_majority),
    Mutant("no barrier", "in fast mode a result is not what is recorded", _no_barrier),
    Mutant(
        "no continuity",
        "a worker that was away itself takes others for dead",
        _no_continuity,
        equivalent="a lease ends by the server's clock and trust in it ends sooner, so "
        "taking over is safe whoever does it. The rule only spares work: after an "
        "outage in which nobody could renew, nobody is declared dead for it.",
    ),
    Mutant(
        "claim repeated with a new nonce",
        "a claim whose answer was lost is not recognised",
        _claim_with_new_nonce,
        equivalent="the next heartbeat lists what the store says this worker owns, and "
        "adoption runs it: the nonce saves the time of a heartbeat.",
    ),
    Mutant(
        "acknowledged before it is settled",
        "an id leaves the inflight list before MongoDB has decided",
        _acknowledged_first,
        equivalent="the inflight list only helps to find ids sooner. If the worker "
        "dies in between, MongoDB still says that it owns the execution, and the reap "
        "queues it again.",
    ),
    Mutant(
        "no promotion",
        "what was delayed is not queued when it is due",
        _no_promotion,
        equivalent="what is due and un-owned is found by the sweep, seconds later.",
    ),
)
