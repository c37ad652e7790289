"""The rules by which executions wait, taken out one by one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.simulation.mutant import Change, Mutant
from worchflow.engine import journal, store_calls, wakeups
from worchflow.model.waits import StoredWait
from worchflow.storage.redis_mongo import events, suspension_update, wake_ups


def _suspended_without_a_look_at_the_count() -> list[Change]:
    update = suspension_update.SuspensionUpdate
    real = update._query.fget
    assert real is not None

    def query(self: Any) -> Any:
        return {k: v for k, v in real(self).items() if k != "wakeups"}

    return [(update, "_query", property(query))]


def _only_what_is_suspended_is_woken() -> list[Change]:
    real = wake_ups._wake

    def wake(nonce: str) -> Any:
        ((_, change),) = real(nonce)[0].items()
        suspended = change["status"]["$cond"][0]
        counted = {"$cond": [suspended, change["wakeups"], "$wakeups"]}
        return [{"$set": change | {"wakeups": counted}}]

    return [(wake_ups, "_wake", wake)]


def _log_read_before_the_wait_is_stored() -> list[Change]:
    add, find = journal.Journal.add_wait, store_calls.StoreCalls.find_event
    looks: dict[tuple[int, str], Any] = {}

    async def add_wait(self: Any, wait: Any) -> Any:
        if wait.event is not None:
            unstored = StoredWait(
                step_id=wait.step_id,
                kind=wait.kind,
                title=wait.title,
                token=0,
                event=wait.event,
            )
            calls = self._calls
            looks[id(calls), wait.step_id] = await find(calls, unstored, (), ())
        return await add(self, wait)

    async def find_event(self: Any, wait: Any, passed: Any, left_out: Any) -> Any:
        early = looks.pop((id(self), wait.step_id), None)
        if early is not None:
            return replace(early, left=wait.left)
        return await find(self, wait, passed, left_out)

    return [
        (journal.Journal, "add_wait", add_wait),
        (store_calls.StoreCalls, "find_event", find_event),
    ]


def _timed_out_without_a_look() -> list[Change]:
    real = store_calls.StoreCalls.find_event

    async def find_event(self: Any, wait: Any, passed: Any, left_out: Any) -> Any:
        look = await real(self, wait, passed, left_out)
        return replace(look, event=None) if look.left == 0 else look

    return [(store_calls.StoreCalls, "find_event", find_event)]


def _event_taken_twice() -> list[Change]:
    async def take(
        self: Any, claim: Any, step_id: str, event_id: str, left_out: Any
    ) -> bool:
        return True

    return [(events.Events, "take", take)]


def _pending_events_left() -> list[Change]:
    async def sweep(self: Any) -> None:
        return None

    return [(events.Events, "sweep", sweep)]


def _struck_out_before_it_is_delivered() -> list[Change]:
    real = events.Events.deliver

    async def deliver(self: Any, event: Any, after: Any = None) -> Any:
        struck = {"$unset": {events.PENDING: ""}}
        statement = {"q": {"_id": self._id(event.id)}, "u": struck}
        await self._stores.mongo.update(events.EVENTS, [statement])
        return await real(self, event, after)

    return [(events.Events, "deliver", deliver)]


def _count_read_after_the_look() -> list[Change]:
    async def count(self: Any) -> None:
        # No round: what was looked at before counts as looked at since.
        self.count = await self._read()

    return [(wakeups.Wakeups, "_count", count)]


MUTANTS_OF_WAITS = (
    Mutant(
        "suspended without a look at the count",
        "an event that came on the way to the suspension wakes nobody",
        _suspended_without_a_look_at_the_count,
    ),
    Mutant(
        "only what is suspended is woken",
        "a wake-up on the way to the suspension counts nothing",
        _only_what_is_suspended_is_woken,
    ),
    Mutant(
        "log read before the wait is stored",
        "an event in between is seen by nobody",
        _log_read_before_the_wait_is_stored,
    ),
    Mutant(
        "timed out without a look",
        "a wait times out although its event had come",
        _timed_out_without_a_look,
    ),
    Mutant("events are not taken", "an event ends two waits", _event_taken_twice),
    Mutant(
        "pending events are left",
        "nobody delivers what a client that died has accepted",
        _pending_events_left,
    ),
    Mutant(
        "struck out before it is delivered",
        "what a client that died had delivered in part is left",
        _struck_out_before_it_is_delivered,
    ),
    Mutant(
        "count read after the look",
        "what came between the look and the count is never looked at",
        _count_read_after_the_look,
    ),
)
