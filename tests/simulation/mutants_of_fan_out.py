"""The rules of maps and races, taken out one by one."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from tests.simulation.mutant import Change, Mutant
from tests.simulation.oracle_of_fan_out import MAP
from worchflow.engine import journal, parts
from worchflow.engine.operations import invoke, race, run, several
from worchflow.foundations.ids import part_id, step_id
from worchflow.model.records import StepStatus, StoredStep


def _winner_not_recorded() -> list[Change]:
    async def record_own(
        attempt: Any, operation: Any, value: Any, _: Any, error: Any
    ) -> StoredStep:
        status = StepStatus.COMPLETED if error is None else StepStatus.FAILED
        title, kind = operation.call.title, operation.kind
        return StoredStep(
            operation.step_id, title, status, json.dumps(value), error, kind=kind
        )

    return [(race, "record_own", record_own)]


def _events_of_losers_stay_taken() -> list[Change]:
    def leave_out(self: Any, step_ids: Any) -> None:
        for each in step_ids:
            self.replay.leave_out(each)

    return [(journal.Journal, "leave_out", leave_out)]


def _losing_child_not_cancelled() -> list[Change]:
    async def abandon(self: Any, reason: str) -> None:
        return None

    return [(invoke.Invoke, "abandon", abandon)]


def _recorded_before_the_losers_are_undone() -> list[Change]:
    real = race.Race._end

    async def end(self: Any, winner: int, error: Any) -> None:
        name = self.name_of(winner)
        await race.record_own(self._attempt, self, name, Any, error)
        await real(self, winner, error)

    return [(race.Race, "_end", end)]


def _ids_in_the_order_of_completion() -> list[Change]:
    real = run.record_result
    given: set[tuple[str, int, str]] = set()

    async def record_result(
        attempt: Any, operation: Any, value: Any, as_type: Any
    ) -> Any:
        call, claim = operation.call, attempt.claim
        if call.title == MAP and call.key.startswith("["):
            own = claim.execution.id, claim.token
            number = 0
            while True:
                this = part_id(step_id(MAP), f"[{number}]")
                if attempt.journal.find(this) is None and (*own, this) not in given:
                    break
                number += 1
            given.add((*own, this))
            operation.step_id = this
        return await real(attempt, operation, value, as_type)

    return [(run, "record_result", record_result)]


def _decided_by_place() -> list[Change]:
    def first_recorded(self: Any, numbers: Any) -> Any:
        return min((n for n in numbers if self._arms[n].records()), default=None)

    return [(race.Race, "_first_recorded", first_recorded)]


def _arms_of_earlier_attempts_not_looked_at() -> list[Change]:
    real = race.Race._first_recorded

    def first_recorded(self: Any, numbers: Any) -> Any:
        return None if isinstance(numbers, range) else real(self, numbers)

    return [(race.Race, "_first_recorded", first_recorded)]


def _losers_run_on() -> list[Change]:
    async def first(self: Any, operations: Any) -> Any:
        # What has lost is not waited for, and not cancelled.
        self._unfinished = 1
        create = self._attempt.loop.create_task
        tasks = [create(self._do(part)) for part in operations]
        await self._wait(tasks, asyncio.FIRST_COMPLETED)
        return {n: task.result() for n, task in enumerate(tasks) if task.done()}

    return [(parts.Parts, "first", first)]


def _concurrency_not_kept() -> list[Change]:
    real = parts.Parts.all

    async def all_at_once(self: Any, numbers: Any, make: Any, concurrency: int) -> Any:
        return await real(self, numbers, make, max(concurrency, len(numbers)))

    return [(parts.Parts, "all", all_at_once)]


def _failures_of_items_not_recorded() -> list[Change]:
    return [(several, "ONCE", None)]


MUTANTS_OF_FAN_OUT = (
    Mutant(
        "winner not recorded",
        "another arm may be first for the next attempt",
        _winner_not_recorded,
    ),
    Mutant(
        "events of losers stay taken",
        "an event that had come in vain is lost",
        _events_of_losers_stay_taken,
    ),
    Mutant(
        "losing child not cancelled",
        "it works on for nobody",
        _losing_child_not_cancelled,
    ),
    Mutant(
        "recorded before the losers are undone",
        "after a crash in between nobody undoes them",
        _recorded_before_the_losers_are_undone,
    ),
    Mutant(
        "ids in the order of completion",
        "an item is given what another one gave",
        _ids_in_the_order_of_completion,
    ),
    Mutant(
        "decided by place",
        "the first is not what was recorded first",
        _decided_by_place,
    ),
    Mutant(
        "arms of earlier attempts not looked at",
        "what lost, as far as is recorded, begins again",
        _arms_of_earlier_attempts_not_looked_at,
    ),
    Mutant(
        "losers run on",
        "a function has effects after another was first",
        _losers_run_on,
    ),
    Mutant(
        "concurrency not kept",
        "more items run at once than may",
        _concurrency_not_kept,
    ),
    Mutant(
        "failures of items not recorded",
        "an item that has failed for good begins again",
        _failures_of_items_not_recorded,
    ),
)
