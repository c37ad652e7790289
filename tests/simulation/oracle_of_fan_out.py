"""What must hold for many items as one step, and for the first of several steps."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.simulation.plans import CROWD, MANAGER, Plan
from worchflow.foundations.ids import part_id, step_id
from worchflow.model.records import TERMINAL

if TYPE_CHECKING:
    from tests.simulation.mongo_values import Document
    from tests.simulation.oracle import Oracle, Start

MAP, ITEM = "map", "item "
WORK, FIRST = "work", "first"
"""The titles of races: of some steps, and of something and a sleep."""
EARLY, AGAIN, NAP = "early", "again", "nap"
ARMS = LEFT, RIGHT, IDLE = "left", "right", "idle"
MOST_REMINDERS = 2
TOO_SLOW, FAILED = "too slow", "failed"
"""What a handler says of a child that lost a race, and of an item."""

NEWS_WON = "races won by an event against a sleep"
NEWS_LOST = "races lost by an event against a sleep"
TAKEN_OVER = "events taken over from what had lost a race"
CHILD_WON = "races won by a child against a sleep"
CHILD_LOST = "races lost by a child against a sleep"
CHILD_CANCELLED = "children cancelled because they had lost a race"
ANSWER_WON = "races won by an answer against a sleep"
ANSWER_LOST = "races lost by an answer against a sleep"
MAP_CUT_OFF = "maps cut off in the middle"
CROWD_CUT_OFF = "parents of many cut off in the middle"
RACE_CUT_OFF = "races cut off with an arm recorded"
REPEATED = "items repeated because they had failed"
EVERY_CASE_OF_FAN_OUT = (
    *(NEWS_WON, NEWS_LOST, TAKEN_OVER, CHILD_WON, CHILD_LOST, CHILD_CANCELLED),
    *(ANSWER_WON, ANSWER_LOST, MAP_CUT_OFF, CROWD_CUT_OFF, RACE_CUT_OFF, REPEATED),
)
RACES_AGAINST_SLEEPS = {
    "raced": (NEWS_WON, NEWS_LOST),
    "hasty": (CHILD_WON, CHILD_LOST),
    "reminded": (ANSWER_WON, ANSWER_LOST),
}
"""As what the end of each is counted."""


@dataclass(frozen=True)
class RaceOf:
    """A race that a plan has."""

    step: str
    arms: dict[Any, str]
    """The identity of the step of each, by its name or place."""


def item_title(item: int) -> str:
    """What the oracle calls the step of an item."""
    return f"{ITEM}{item}"


def item_step(plan: Plan, item: int) -> str:
    """The identity of the step of an item."""
    mark = f":{item}" if plan.is_keyed else f"[{item}]"
    return part_id(step_id(MAP), mark)


def identity(plan: Plan, title: str) -> str:
    """The identity of a step, by what the oracle calls it."""
    if plan.kind == "mapped" and title.startswith(ITEM):
        return item_step(plan, int(title.removeprefix(ITEM)))
    return step_id(title)


def races_of(plan: Plan) -> Iterator[RaceOf]:
    """The races of a plan, in their order; some may not come about."""
    nap = step_id(NAP)
    if plan.kind == "raced":
        yield RaceOf(step_id(WORK), dict(enumerate(map(step_id, ARMS))))
        yield RaceOf(step_id(FIRST), {EARLY: step_id(EARLY), NAP: nap})
    elif plan.kind == "hasty":
        (child,) = plan.offspring()
        yield RaceOf(step_id(FIRST), {"child": child.step, NAP: nap})
    elif plan.kind == "reminded":
        for use in range(1, MOST_REMINDERS + 1):
            arms = {"answer": step_id(MANAGER), NAP: step_id(NAP, use=use)}
            yield RaceOf(step_id(FIRST, use=use), arms)


class FanOutOracle:
    """Judges the maps and the races of one run."""

    def __init__(self, oracle: Oracle) -> None:
        self._oracle = oracle
        self._began: dict[str, float] = {}
        """When each execution began to wait for the end of its nap, or for more."""
        self._failed: set[tuple[str, str]] = set()
        """Items that have failed, as far as the handler was told."""

    # -- what handlers tell

    def begins(self, id: str) -> None:
        """A handler begins to wait for an event, for as long as its nap takes."""
        self._began.setdefault(id, self._oracle.world.now)

    def was_won(self, id: str, title: str, name: object) -> None:
        """A handler was told which was first."""
        self._oracle.saw(id, title, f"won by {name}")

    def was_mapped(self, plan: Plan, values: dict[int, str]) -> None:
        """A handler was given what its items gave."""
        for item, value in values.items():
            self._oracle.saw(plan.id, item_title(item), value)
            if not value.startswith(f"{item_title(item)} #") and value != FAILED:
                self._oracle.violated(f"item {item} gave {value!r}", plan.id)

    # -- what steps tell

    def starts(self, start: Start, others: Iterable[Start]) -> None:
        """A step's function is called."""
        oracle, plan = self._oracle, self._oracle.plans[start.id]
        if plan.kind == "mapped" and start.title.startswith(ITEM):
            self._check_concurrency(plan, start, others)
            if (start.id, start.title) in self._failed:
                oracle.counts[REPEATED] += 1
        claimed_at = oracle.claimed_at(start.id, start.token)
        own = identity(plan, start.title)
        for race in races_of(plan):
            if own not in race.arms.values():
                continue
            for other in race.arms.values():
                at = oracle.recorded_at(start.id, other)
                if other != own and at is not None and at <= claimed_at:
                    oracle.violated(
                        f'"{start.title}" starts after another was first', start.id
                    )

    def item_fails(self, id: str, title: str) -> None:
        """The function of an item fails."""
        self._failed.add((id, title))

    def _check_concurrency(
        self, plan: Plan, start: Start, others: Iterable[Start]
    ) -> None:
        beside = [
            each
            for each in others
            if (each.id, each.token) == (start.id, start.token)
            and each.title.startswith(ITEM)
        ]
        if plan.concurrency is not None and len(beside) >= plan.concurrency:
            self._oracle.violated(
                f"{len(beside) + 1} items run at once, not {plan.concurrency}", plan.id
            )

    # -- what is written

    def claimed(self, plan: Plan, old: Document) -> None:
        """An execution is claimed, in the middle of something maybe."""
        if old["status"] != "queued" or old["token"] == 0:
            return
        counts = self._oracle.counts
        if plan.kind == "mapped":
            items = [item_step(plan, item) for item in range(plan.items)]
            counts[MAP_CUT_OFF] += self._is_begun(plan.id, items)
        if plan.kind == "crowd":
            parts = [child.step for child in plan.offspring()]
            counts[CROWD_CUT_OFF] += self._is_begun(plan.id, parts)
        for race in races_of(plan):
            some = any(self._step(plan.id, arm) for arm in race.arms.values())
            counts[RACE_CUT_OFF] += bool(some and not self._step(plan.id, race.step))

    def race_ends(self, document: Document) -> None:
        """Which was first is recorded."""
        id_, oracle = document["executionId"], self._oracle
        plan = oracle.plans[id_]
        for race in races_of(plan):
            if race.step != document["stepId"]:
                continue
            winner = _winner(race, document)
            if winner is None:
                return oracle.violated("a race is won by what is not in it", id_)
            self._count(plan, race, winner)
            self._check_winner(document, race, winner)
            self._check_losers(document, plan, race, winner)
        return None

    def taken_over(self, old: Document, new: Document) -> None:
        """An event that one step had taken is another's now."""
        id_ = new["executionId"]
        if old["stepId"] == new["stepId"]:
            return
        self._oracle.counts[TAKEN_OVER] += 1
        # In fast mode what is recorded may be in Redis alone.
        if self._oracle.is_strict and old["stepId"] not in self.losers(id_):
            self._oracle.violated(f"{new['eventId']} is taken from what has it", id_)

    def lost(self, id: str, child_step: str) -> None:
        """A child is cancelled because something else was first."""
        oracle = self._oracle
        oracle.counts[CHILD_CANCELLED] += 1
        for race in races_of(oracle.plans[id]):
            others = [arm for arm in race.arms.values() if arm != child_step]
            if len(others) < len(race.arms):
                if not any(self._step(id, other) for other in others):
                    oracle.violated("it is cancelled, and nothing else was first", id)
                return
        oracle.violated("it is cancelled for a race without it", id)

    # -- what clients and the other oracles ask

    def seconds_until(self, plan: Plan) -> float | None:
        """Seconds until an execution's first event is to come; None: not known yet."""
        began = self._began.get(plan.id)
        if began is None:
            return None
        return max(0.0, began + plan.nap + plan.moment - self._oracle.world.now)

    def losers(self, id: str) -> set[str]:
        """Steps of an execution that have certainly lost a race."""
        found: set[str] = set()
        for race, winner in self._decided(self._oracle.plans[id]):
            found |= {arm for name, arm in race.arms.items() if name != winner}
        return found

    def is_won_by_child(self, plan: Plan) -> bool:
        """Whether what a parent has waited for was its child's end."""
        return any(winner == "child" for _, winner in self._decided(plan))

    def wanted(self, plan: Plan) -> dict[str, str]:
        """The steps that are recorded of one that completes, beside those by title."""
        wanted: dict[str, str] = {}
        if plan.kind == "mapped":
            wanted[step_id(MAP)] = MAP
            for item in range(plan.items):
                wanted[item_step(plan, item)] = item_title(item)
        if plan.kind == "crowd":
            wanted[step_id(CROWD)] = CROWD
        races = list(races_of(plan))
        needed = races[:1] if plan.kind == "reminded" else races
        wanted |= {race.step: "a race" for race in needed}
        for race, winner in self._decided(plan):
            wanted[race.arms[winner]] = f"{winner} of a race"
            if plan.kind == "raced" and winner == NAP:
                wanted[step_id(AGAIN)] = AGAIN
        return wanted

    def recorded(self, plan: Plan, others: list[Any]) -> list[Any]:
        """What an execution's result consists of, as it is recorded."""
        if plan.kind == "mapped":
            values = [
                self._value(plan.id, item_step(plan, item))
                for item in range(plan.items)
            ]
            return [*values, *others]
        if plan.kind == "raced":
            return [*(self._raced(plan)), *others]
        if plan.kind == "hasty":
            won = self.is_won_by_child(plan)
            children = self._oracle.children.outcomes(plan) if won else [TOO_SLOW]
            return [others[0], *children, *others[1:]]
        return others

    # -- inside

    def _raced(self, plan: Plan) -> Iterator[Any]:
        for race, winner in self._decided(plan):
            step = step_id(AGAIN) if winner == NAP else race.arms[winner]
            yield self._value(plan.id, step)

    def _decided(self, plan: Plan) -> Iterator[tuple[RaceOf, Any]]:
        for race in races_of(plan):
            found = self._step(plan.id, race.step)
            if found and (winner := _winner(race, found)) is not None:
                yield race, winner

    def _count(self, plan: Plan, race: RaceOf, winner: object) -> None:
        if NAP in race.arms:
            won, lost = RACES_AGAINST_SLEEPS[plan.kind]
            self._oracle.counts[lost if winner == NAP else won] += 1

    def _check_winner(self, document: Document, race: RaceOf, winner: object) -> None:
        """It is recorded, and nothing that counts was recorded before it."""
        id_, oracle = document["executionId"], self._oracle
        if not oracle.is_strict:
            return None
        own = race.arms[winner]
        first = self._step(id_, own)
        if not first:
            return oracle.violated(f"{winner!r} wins a race and is not recorded", id_)
        at = oracle.recorded_at(id_, own)
        claimed_at = oracle.claimed_at(id_, document.get("token", 0))
        for name, arm in race.arms.items():
            other, other_at = self._step(id_, arm), oracle.recorded_at(id_, arm)
            if arm == own or not other or other_at is None or at is None:
                continue
            # Of what was written in one batch, or was there from the start of the
            # attempt, it knows both.
            both = other_at == at or max(other_at, at) <= claimed_at
            if both and other["timestamp"] < first["timestamp"]:
                oracle.violated(f"{winner!r} wins, {name!r} was recorded first", id_)
            if at > claimed_at >= other_at:
                oracle.violated(f"{winner!r} wins, {name!r} was there before", id_)
        return None

    def _check_losers(
        self, document: Document, plan: Plan, race: RaceOf, winner: object
    ) -> None:
        """Nothing of them runs on once it is recorded who was first."""
        oracle, id_ = self._oracle, plan.id
        running = oracle.open_starts(id_, document.get("token", 0))
        for title in running:
            if identity(plan, title) in race.arms.values():
                oracle.violated(f'"{title}" has lost a race and runs on', id_)
        if plan.kind != "hasty" or winner != NAP:
            return
        (child,) = plan.offspring()
        child_id = oracle.children.known(id_, child)
        stored = self._execution(child_id)
        nap_at = oracle.recorded_at(id_, race.arms[NAP])
        is_late = (
            nap_at is None
            or oracle.children.inserted_at.get(child_id, nap_at) >= nap_at
        )
        if not stored or is_late or child_id in oracle.retried:
            return
        if stored["status"] not in TERMINAL and not stored.get("cancelRequested"):
            oracle.violated("its child has lost a race and lives on", id_)

    def _is_begun(self, id: str, parts: list[str]) -> bool:
        """Whether some of it is recorded, and not all."""
        done = [part for part in parts if self._step(id, part)]
        return 0 < len(done) < len(parts)

    def _value(self, id: str, step: str) -> Any:
        found = self._step(id, step)
        return FAILED if found.get("status") == "failed" else found.get("result")

    def _step(self, id: str, step: str) -> Document:
        steps = self._oracle.network.mongo.collection("steps").latest
        return steps.get(f"{id}:{step}", {})

    def _execution(self, id: str) -> Document:
        executions = self._oracle.network.mongo.collection("executions").latest
        return executions.get(id, {})


def _winner(race: RaceOf, step: Document) -> Any:
    """The name or place of the arm that is recorded as the first; None: it has none."""
    name = step.get("result")
    if step["status"] == "failed":
        name = step.get("errorStep")
    elif isinstance(name, str):
        with suppress(ValueError):
            name = json.loads(name)
    return next((own for own in race.arms if str(own) == str(name)), None)
