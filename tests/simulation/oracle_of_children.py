"""What must hold between parents and children."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol

from tests.simulation.plans import Offspring, Plan
from worchflow.engine.child_outcomes import CANCELLED, FAILED, TIMED_OUT
from worchflow.engine.operations.invoke import RESULT
from worchflow.foundations.ids import part_id
from worchflow.model.records import SUSPENDED, TERMINAL

if TYPE_CHECKING:
    from tests.simulation.mongo_values import Document
    from tests.simulation.oracle import Oracle
    from tests.simulation.processes import Process
    from worchflow import Context

LATE = "late"
WORDS = {FAILED: "failed", CANCELLED: "cancelled", TIMED_OUT: LATE}
"""What a parent says of a child that gave nothing, by what is recorded of it."""
CLOCKS_DIFFER = 1.0
"""Virtual seconds by which two primaries, and a worker's timers, differ at most."""

SUSPENDED_PARENT = "children that ended while their parent was suspended"
KEPT_PARENT = "children that ended while their parent waited in its worker"
LEAVING_PARENT = "children that ended while their parent was being suspended"
CANCELLED_PARENT = "parents cancelled with live children"
ENDED_PARENT = "parents that ended otherwise with live children"
ORPHAN = "children whose claim found that their parent had ended"
TIMEOUT = "children that timed out"
RETRIED = "children retried by their parent"
BEREAVED = "children that left and ended after their parent"
EVERY_END_OF_A_CHILD = (
    *(SUSPENDED_PARENT, KEPT_PARENT, LEAVING_PARENT, CANCELLED_PARENT, ENDED_PARENT),
    *(ORPHAN, TIMEOUT, RETRIED, BEREAVED),
)


class Strike(Protocol):
    """Lets something go wrong at a write; whether it does."""

    def __call__(self, what: str, *, matters: bool) -> bool:
        """With what became of an execution: "ended", or "followed up"."""
        ...


def word_for(has_failed: bool) -> str:
    """What a parent says of a child that failed, or was cancelled."""
    return WORDS[FAILED if has_failed else CANCELLED]


def steps_of(child: Offspring) -> Iterator[str]:
    """The ids of the steps that a completed parent has of a child."""
    if child.is_started or child.is_awaited:
        yield child.step
    if child.is_started and child.is_awaited:
        yield part_id(child.step, RESULT)


def outcome_step(child: Offspring) -> str:
    """The id of the step that is a child's outcome."""
    return part_id(child.step, RESULT) if child.is_started else child.step


class ChildOracle:
    """Judges the parents and children of one run."""

    def __init__(self, oracle: Oracle) -> None:
        self._oracle = oracle
        self._child_of: dict[tuple[str, str, str], str] = {}
        """By the parent, its life and its step."""
        self._of: defaultdict[str, list[str]] = defaultdict(list)
        self.inserted_at: dict[str, float] = {}
        """When each was started."""
        self._ends: defaultdict[str, list[tuple[int, str, int]]] = defaultdict(list)
        """Of each execution: the token, the status and the parent's token of each."""
        self._waiting: dict[tuple[str, int], Process] = {}
        """Claims under which a parent waits for children, and where."""
        self._left: dict[tuple[str, int], int] = {}
        """Children that ended under each claim of a parent that waited."""
        self._orphans: dict[tuple[str, int], int] = {}
        """Claims of children whose parent's end was certain by then, and its token."""
        self._started_under: set[tuple[str, int]] = set()
        self.strike: Strike | None = None
        """Told that an execution of a family "ended", or was "followed up": until it
        has made use of that."""

    # -- what handlers tell

    def is_retried(self, id: str) -> bool:
        """Whether an execution was retried."""
        return "retryToken" in self._execution(id)

    def was_started(self, id: str, child: Offspring, child_id: str) -> None:
        """A handler was given the handle of a child."""
        known = self.known(id, child)
        if known != child_id:
            self._oracle.violated(f"{child.title} is {child_id}, stored is {known}", id)

    def waits(self, process: Process, ctx: Context[Any]) -> None:
        """A handler begins to wait for children."""
        self._waiting[ctx.execution_id, ctx.token] = process

    def goes_on(self, ctx: Context[Any]) -> None:
        """It has what it waited for."""
        self._waiting.pop((ctx.execution_id, ctx.token), None)

    def was_given(self, ctx: Context[Any], child: Offspring, value: Any) -> None:
        """A handler was given the result of a child."""
        oracle, id_ = self._oracle, ctx.execution_id
        oracle.counts["results of children"] += 1
        oracle.saw(id_, child.title, repr(value))
        stored = self._execution(self.known(id_, child))
        if (stored.get("status"), stored.get("result")) != ("completed", value):
            shown = (stored.get("status"), stored.get("result"))
            oracle.violated(f"{child.title} gave {value!r}, stored is {shown}", id_)

    def was_refused(self, ctx: Context[Any], child: Offspring, word: str) -> None:
        """A handler was told that a child gives nothing."""
        oracle, id_ = self._oracle, ctx.execution_id
        if word == LATE:
            if child.timeout is None:
                oracle.violated(f"{child.title} times out, and has all the time", id_)
            return
        life = oracle.life_of_claim(id_, ctx.token)
        ends = self._ends[self.known(id_, child)]
        if not any(token >= life and status == word for _, status, token in ends):
            oracle.violated(
                f"{child.title} {word} in no life from token {life} on: {ends}", id_
            )

    # -- what is written

    def inserted(self, id: str, document: Document) -> None:
        """An execution is accepted."""
        oracle = self._oracle
        if (parent := document.get("parent")) is None:
            return
        place = (parent["id"], parent["nonce"], parent["stepId"])
        if self._child_of.setdefault(place, id) != id:
            oracle.violated(f"step {place[2]} starts {id} as well", parent["id"])
        plan = oracle.plans.get(parent["id"])
        for child in plan.offspring() if plan else ():
            if child.step == parent["stepId"]:
                oracle.plans[id] = replace(child.plan, id=id)
                self.inserted_at.setdefault(id, oracle.world.now)
                if id not in self._of[parent["id"]]:
                    self._of[parent["id"]].append(id)
                if bool(parent.get("leaves")) != child.leaves:
                    oracle.violated("it does not know whether it leaves", id)
                return
        oracle.violated("a child that nobody planned", id)

    def changed(self, id: str, old: Document, new: Document) -> None:
        """An execution is changed."""
        was_over, is_over = (each["status"] in TERMINAL for each in (old, new))
        if was_over and not is_over and old.get("followUps"):
            self._oracle.violated("it is retried before its end is followed up", id)
        if "parent" in new:
            self._child_changes(id, old, new)
        if was_over and is_over and "followUps" in old and "followUps" not in new:
            self._tell(id, new, "followed up")
        if is_over and not was_over:
            parent = new.get("parent") or {}
            end = (new["token"], new["status"], parent.get("token", 0))
            self._ends[id].append(end)
            self._parent_ends(id, new)
            self._tell(id, new, "ended")
            if parent:
                self._child_ends(id, old, new)

    def claimed(self, id: str, document: Document) -> None:
        """An execution is claimed."""
        parent = document.get("parent")
        if parent is None or _is_apart(parent):
            return
        executions = self._oracle.network.mongo.collection("executions")
        certain = executions.committed(parent["id"]) or {}
        if certain.get("status") in TERMINAL:
            self._orphans[id, document["token"]] = certain["token"]

    def starts(self, id: str, token: int) -> None:
        """A step's function is called under a claim."""
        self._started_under.add((id, token))
        if (parents := self._orphans.get((id, token))) is None:
            return
        parent = self._execution(self._execution(id)["parent"]["id"])
        if parent["status"] in TERMINAL and parent["token"] == parents:
            self._oracle.violated("it starts although its parent has ended", id)

    def released(self, id: str, old: Document, new: Document) -> None:
        """The claim of an execution is given up."""
        claim = (id, old["token"])
        ended = self._left.pop(claim, 0)
        is_woken = old.get("enqueuedAt") != new.get("enqueuedAt")
        if ended and new["status"] == "queued" and is_woken:
            self._oracle.counts[LEAVING_PARENT] += ended

    def recorded(self, step: Document) -> None:
        """A parent records the outcome of a child, or that it started one."""
        if step.get("errorClass") != TIMED_OUT:
            return
        oracle, id_ = self._oracle, step["executionId"]
        oracle.counts[TIMEOUT] += 1
        wait = oracle.network.mongo.collection("waits").latest.get(step["_id"])
        for child in oracle.plans[id_].offspring():
            if outcome_step(child) != step["stepId"]:
                continue
            document = self._execution(self.known(id_, child))
            ended = document.get("finishedAt")
            if wait is None or ended is None or document["status"] != "completed":
                return
            if ended < wait["deadline"] - timedelta(seconds=CLOCKS_DIFFER):
                oracle.violated(
                    f"{child.title} had ended before its time was over", id_
                )

    # -- what clients and the other oracles ask

    def known(self, id: str, child: Offspring) -> str:
        """The id of a child; there is only one life of each execution."""
        life = self._execution(id).get("nonce", "")
        return self._child_of.get((id, life, child.step), "")

    def of(self, id: str) -> list[str]:
        """The children of an execution, so far."""
        return self._of.get(id, [])

    def below(self, ids: Iterable[str]) -> Iterator[str]:
        """All children of executions, and theirs, that are still stored."""
        executions = self._oracle.network.mongo.collection("executions")
        for each in ids:
            children = self._of.get(each, [])
            yield from (c for c in children if executions.committed(c) is not None)
            yield from self.below(children)

    # -- how it ended

    def expected(self, plan: Plan, document: Document) -> tuple[str, int]:
        """The status of an execution that has ended, and its attempts that failed."""
        if plan.kind == "flaky":
            return ("completed", 0) if "retryToken" in document else ("failed", 1)
        if plan.kind == "hasty" and not self._oracle.fan_out.is_won_by_child(plan):
            return ("completed", plan.failures)
        return ("failed", 1) if self._uncaught(plan) else ("completed", plan.failures)

    def outcomes(self, plan: Plan) -> list[Any]:
        """What is recorded of the children that a parent awaited, as it says it."""
        values: list[Any] = []
        for child in plan.offspring():
            if child.is_awaited:
                step = self._step(plan.id, outcome_step(child))
                is_kept = step.get("status") == "completed"
                word = WORDS.get(step.get("errorClass", ""))
                values.append(step.get("result") if is_kept else word)
        return values

    # -- inside

    def _tell(self, id: str, document: Document, what: str) -> None:
        """Say that what follows an end has to be done now, or is being struck out."""
        if self.strike is None or not (document.keys() & {"parent", "hasChildren"}):
            return
        if self.strike(what, matters=self._matters(id, document)):
            self.strike = None

    def _matters(self, id: str, document: Document) -> bool:
        """Whether somebody else waits for what follows the end of an execution."""
        parent = self._execution((document.get("parent") or {}).get("id", ""))
        is_awaited = parent.get("status") in SUSPENDED and "awaitsChildren" in parent
        return is_awaited or self._is_bereft(id)

    def _is_bereft(self, id: str) -> bool:
        """Whether an execution has children that live, and have to end with it."""
        children = [self._execution(each) for each in self._of.get(id, [])]
        return any(
            each.get("status") not in TERMINAL and not _is_apart(each["parent"])
            for each in children
            if each
        )

    def _child_changes(self, id: str, old: Document, new: Document) -> None:
        oracle = self._oracle
        before, after = old["parent"], new["parent"]
        if after["token"] != before["token"]:
            parent = self._execution(after["id"])
            if not before["token"] < parent.get("retryToken", 0):
                oracle.violated("its parent retries it twice in one life", id)
            if old["status"] == "completed" or old.get("cancelRequested"):
                oracle.violated(f"its parent retries what is {old['status']}", id)
            if old["status"] in TERMINAL:
                oracle.counts[RETRIED] += 1
                oracle.retried.add(id)
        was_asked = old.get("cancelRequested") or old["status"] == "cancelled"
        is_asked = new.get("cancelRequested") or new["status"] == "cancelled"
        if is_asked and not was_asked:
            self._is_cancelled(id, old, new)

    def _is_cancelled(self, id: str, old: Document, new: Document) -> None:
        """Something wants it to end: a client, its parent's end or its timeout."""
        oracle, parent = self._oracle, old["parent"]
        reason = str(new.get("cancelReason"))
        if reason.endswith("has ended"):
            last = max((end for end, _, _ in self._ends[parent["id"]]), default=-1)
            if last < parent["token"]:
                oracle.violated("it is cancelled for an end before it was started", id)
            if _is_apart(parent):
                oracle.violated("it leaves, and is cancelled with its parent", id)
        elif reason.startswith("another was first in race"):
            oracle.fan_out.lost(parent["id"], parent["stepId"])
        elif not reason.startswith("its parent waited") and id not in oracle.cancelled:
            oracle.violated(f"nobody cancelled it: {reason}", id)
        oracle.cancelled.add(id)

    def _parent_ends(self, id: str, new: Document) -> None:
        if self._is_bereft(id):
            is_cancelled = new["status"] == "cancelled"
            counted = CANCELLED_PARENT if is_cancelled else ENDED_PARENT
            self._oracle.counts[counted] += 1

    def _child_ends(self, id: str, old: Document, new: Document) -> None:
        counts = self._oracle.counts
        parent = self._execution(new["parent"]["id"])
        claim = (new["parent"]["id"], parent.get("token", 0))
        if parent.get("status") in SUSPENDED and parent.get("awaitsChildren"):
            counts[SUSPENDED_PARENT] += 1
        elif parent.get("owner") and claim in self._waiting:
            self._left[claim] = self._left.get(claim, 0) + 1
            counts[KEPT_PARENT] += self._waiting[claim].is_alive
        elif parent.get("status") in TERMINAL and new["parent"].get("leaves"):
            counts[BEREAVED] += 1
        own = (id, old["token"])
        if own in self._orphans and own not in self._started_under:
            counts[ORPHAN] += new["status"] == "cancelled"

    def _uncaught(self, plan: Plan) -> bool:
        """Whether a parent that lets failures through has one."""
        return not plan.catches and any(
            self._step(plan.id, outcome_step(child)).get("status") == "failed"
            for child in plan.offspring()
            if child.is_awaited
        )

    def _step(self, id: str, step: str) -> Document:
        steps = self._oracle.network.mongo.collection("steps").latest
        return steps.get(f"{id}:{step}", {})

    def _execution(self, id: str) -> Document:
        executions = self._oracle.network.mongo.collection("executions").latest
        return executions.get(id, {})


def _is_apart(parent: Document) -> bool:
    """Whether a child does not end with its parent: it leaves, or stands alone."""
    return bool(parent.get("leaves") or parent.get("alone"))
