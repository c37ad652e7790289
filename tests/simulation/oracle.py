"""What must hold, whatever happens: it sees every effect and every write, and judges.

It stands outside of the system: what a worker believes does not matter here, only
what the stores hold and which functions were really called.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tests.simulation.mongo_values import Document
from tests.simulation.network import Network
from tests.simulation.oracle_of_children import ChildOracle, steps_of
from tests.simulation.oracle_of_deadlines import DeadlineOracle
from tests.simulation.oracle_of_events import EventOracle
from tests.simulation.oracle_of_fan_out import FanOutOracle, identity
from tests.simulation.oracle_of_tokens import TokenOracle
from tests.simulation.oracle_of_tries import TryOracle
from tests.simulation.plans import KINDS, LIMITED, PARENTS, WAIT, Plan
from tests.simulation.processes import Process, World
from worchflow.foundations.ids import step_id
from worchflow.model.records import TERMINAL, ExecutionStatus
from worchflow.model.transitions import can_move

CLOCKS_DIFFER = 1.0
"""Virtual seconds by which a sleep may seem shorter: primaries' clocks differ."""
POISON_AFTER = 7
"""Recoveries without which nothing is given up as poison."""


def move(before: ExecutionStatus, after: ExecutionStatus) -> str:
    """What a change of status is counted as."""
    return f"{before} to {after}"


@dataclass(eq=False)
class Start:
    """One call of a step's function."""

    process: Process
    id: str
    title: str
    token: int
    number: int

    @property
    def value(self) -> str:
        """What it returns: another value each time it is called."""
        return f"{self.title} #{self.number}"


@dataclass
class Oracle:
    """Judges one run."""

    world: World
    network: Network
    slots: int
    is_strict: bool
    """Whether a step is acknowledged by MongoDB alone."""
    plans: dict[str, Plan] = field(default_factory=dict)
    accepted: set[str] = field(default_factory=set)
    violations: list[str] = field(default_factory=list)
    cancelled: set[str] = field(default_factory=set)
    retried: set[str] = field(default_factory=set)
    counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._claims: dict[tuple[str, int], tuple[float, str]] = {}
        self._lives: dict[tuple[str, int], int] = {}
        """The token of the retry that each claim follows, or 0."""
        self._recorded: dict[tuple[str, str], tuple[float, int]] = {}
        self._open: dict[Start, None] = {}
        self._stopped: dict[tuple[str, str], float] = {}
        """When the first call of each step has ended."""
        self._starts: Counter[tuple[str, str, int]] = Counter()
        self._values: dict[tuple[str, str], str] = {}
        self._failed: dict[tuple[str, str], tuple[int, float]] = {}
        self._retries: defaultdict[str, list[float]] = defaultdict(list)
        """When each execution was queued again by a client."""
        self._running: Counter[Process] = Counter()
        self._recovered_from_slots = 0
        """Recoveries of executions that never wait: a parked one has no slot."""
        self._results: dict[str, Any] = {}
        self.events = EventOracle(self)
        self.tokens = TokenOracle(self)
        self.children = ChildOracle(self)
        self.fan_out = FanOutOracle(self)
        self.deadlines = DeadlineOracle(self)
        self.tries = TryOracle(self)
        self.network.mongo.observe = self._written
        self.network.mongo.observe_loss = self._rolled_back

    def violated(self, what: str, execution_id: str = "") -> None:
        """A promise is broken."""
        self.world.note("violation", what, execution_id)
        self.violations.append(f"{what} {execution_id}".strip())

    # -- what handlers and steps tell

    def began(self, process: Process) -> None:
        """A handler starts."""
        self._running[process] += 1
        if self._running[process] > self.slots:
            self.violated(f"{process.name} runs more than {self.slots} executions")

    def ended(self, process: Process) -> None:
        """A handler has ended."""
        self._running[process] -= 1

    def starts(self, process: Process, id: str, title: str, token: int) -> Start:
        """A step's function is called."""
        self.counts["effects"] += 1
        start = Start(process, id, title, token, self.counts["effects"])
        self.world.note(process.name, "starts", id, title, token)
        self._check_owner(start)
        self._check_not_recorded(start)
        self._check_has_slept(start)
        self.children.starts(id, token)
        self.fan_out.starts(start, self._open)
        self.deadlines.starts(process, id, f'step "{title}"')
        for other in self._open:
            if (other.id, other.title, other.token) == (id, title, token):
                self.violated(f'step "{title}" runs twice at once', id)
        self._starts[id, title, token] += 1
        tries = self.tries.starts(start) + self._starts[id, title, token]
        if tries > KINDS[self.plans[id].kind].tries:
            self.violated(f'one claim starts step "{title}" again', id)
        self._open[start] = None
        return start

    def stops(self, start: Start) -> None:
        """A step's function has ended, however."""
        self._open.pop(start, None)
        self._stopped.setdefault((start.id, start.title), self.world.now)
        self.world.note(start.process.name, "stops", start.id, start.title)

    def saw(self, id: str, title: str, value: str) -> None:
        """A handler was given a step's result."""
        known = self._values.setdefault((id, title), value)
        if known != value and self.is_strict:
            self.violated(f'step "{title}" was {known!r} and is {value!r}', id)

    def claimed_at(self, id: str, token: int) -> float:
        """When a claim was made."""
        return self._claims.get((id, token), (0.0, ""))[0]

    def recorded_at(self, id: str, step: str) -> float | None:
        """When a step was recorded; None: it is not."""
        return self._recorded.get((id, step), (None, 0))[0]

    def open_starts(self, id: str, token: int) -> list[str]:
        """The titles of the steps whose functions run under a claim."""
        return [
            each.title
            for each in self._open
            if (each.id, each.token) == (id, token) and each.process.is_alive
        ]

    def life_of_claim(self, id: str, token: int) -> int:
        """The token of the retry that a claim follows; 0: there was none."""
        return self._lives[id, token]

    def saw_failure(self, id: str, title: str) -> None:
        """A handler was told that a step has failed for good."""
        self._failed[id, title] = (len(self._retries[id]), self.world.now)

    def was_told(self, id: str, outcome: object) -> None:
        """A client was told how an execution ended."""
        self._results[id] = outcome

    def saw_end(self, id: str) -> None:
        """A client was told that an execution has ended."""
        document = self.network.mongo.collection("executions").committed(id)
        if id in self.retried:
            return
        if document is None or document["status"] not in TERMINAL:
            self.violated("a client is told of an end that is not certain", id)

    def _check_owner(self, start: Start) -> None:
        document = self.network.mongo.collection("executions").latest.get(start.id)
        claim = self._claims.get((start.id, start.token))
        if document is None or claim is None:
            self.violated("a step starts without a claim", start.id)
        elif (document.get("owner"), document["token"]) != (claim[1], start.token):
            self.violated(
                f'step "{start.title}" starts under token {start.token} of {claim[1]}, '
                f"but {document.get('owner')} owns it with {document['token']}",
                start.id,
            )

    def _check_not_recorded(self, start: Start) -> None:
        claimed_at, _ = self._claims.get((start.id, start.token), (0.0, ""))
        # What a worker without a claim records later cannot be known here.
        retries, seen_at = self._failed.get((start.id, start.title), (-1, 0.0))
        if retries == len(self._retries[start.id]) and seen_at <= claimed_at:
            self.violated(f'the failed step "{start.title}" starts again', start.id)
        recorded = self._recorded.get((start.id, self._identity(start)))
        if recorded is None or self._counted_before(start):
            return
        at, token = recorded
        if token == start.token or at <= claimed_at:
            self.violated(f'the recorded step "{start.title}" starts again', start.id)
        else:
            self.counts["repeats of late facts"] += 1

    def _counted_before(self, start: Start) -> bool:
        """Whether what is recorded counted for an attempt that has ended."""
        mongo = self.network.mongo
        key = f"{start.id}:{self._identity(start)}"
        attempt = mongo.collection("steps").latest.get(key, {}).get("attempt")
        execution = mongo.collection("executions").latest[start.id]
        is_over = attempt is not None and attempt <= execution["attemptCount"]
        return is_over or (attempt is not None and start.id in self.retried)

    def _identity(self, start: Start) -> str:
        return identity(self.plans[start.id], start.title)

    def _check_has_slept(self, start: Start) -> None:
        plan = self.plans[start.id]
        if plan.kind != "slept" or start.title != "after":
            return
        began = self._stopped[start.id, "in vain"]
        if self.world.now - began < plan.nap - CLOCKS_DIFFER:
            self.violated("it slept too little", start.id)
        self.counts["naps"] += 1

    # -- what is written

    def _written(
        self, name: str, key: Any, old: Document | None, new: Document | None
    ) -> None:
        if name == "executions":
            self._execution_changes(key, old, new)
        elif name == "steps":
            self._step_changes(old, new)
            if new is not None:
                self.tries.recorded(new)
            if new is not None and new.get("kind") == "wait":
                self.events.wait_ends(new)
            if new is not None and new.get("kind") == "invoke":
                self.children.recorded(new)
            if new is not None and new.get("kind") == "race" and old is None:
                self.fan_out.race_ends(new)
        elif name == "waits" and new is not None:
            self.tries.stored(key, new)
        elif name == "takenEvents" and old is not None and new is not None:
            self.fan_out.taken_over(old, new)
        elif name == "workers" and old is not None and new is not None:
            self._worker_changes(key, old, new)

    def _rolled_back(
        self, name: str, key: Any, old: Document | None, new: Document | None
    ) -> None:
        if name == "steps" and old is not None:
            self._recorded.pop((old["executionId"], old["stepId"]), None)

    def _step_changes(self, old: Document | None, new: Document | None) -> None:
        document = new or old
        assert document is not None
        key = (document["executionId"], document["stepId"])
        if new is not None and "token" in new:
            # What was found in Redis alone has none.
            _, worker = self._claims.get((key[0], new["token"]), (0.0, "nobody"))
            if new["nonce"] != f"{worker}:{new['token']}":
                self.violated(f"{new['nonce']} records a step of {worker}", key[0])
        if old is None:
            self._recorded[key] = (self.world.now, document.get("token", 0))
        elif old["status"] == "failed" and (key[0] in self.retried or "attempt" in old):
            self._recorded.pop(key, None)
            if new is not None:
                self._recorded[key] = (self.world.now, new.get("token", 0))
        else:
            self.violated(f"the record {document['_id']} is changed")

    def _worker_changes(self, key: Any, old: Document, new: Document) -> None:
        if new.get("dead") and not old.get("dead"):
            executions = self.network.mongo.collection("executions").latest.values()
            owns = any(each.get("owner") == key for each in executions)
            if owns and old["expiresAt"] >= self.server_now():
                self.violated(f"worker {key} is declared dead before its lease ended")
            self.counts["workers declared dead"] += 1

    def server_now(self) -> datetime:
        """The primary's clock."""
        return self.network._mongo_now()

    def _execution_changes(
        self, key: str, old: Document | None, new: Document | None
    ) -> None:
        if new is None:
            return self.violated("the document is gone", key)
        if old is None:
            self.children.inserted(key, new)
            return self.deadlines.inserted(key, new)
        self.children.changed(key, old, new)
        self.deadlines.changed(key, old, new)
        self.world.note("execution", key, new["status"], new.get("owner"), new["token"])
        if new["token"] < old["token"]:
            self.violated(f"the token goes back to {new['token']}", key)
        before, after = ExecutionStatus(old["status"]), ExecutionStatus(new["status"])
        if after is not before:
            self.counts[move(before, after)] += 1
            if not can_move(before, after):
                self.violated(f"{before} becomes {after}", key)
        if before in TERMINAL:
            return self._after_the_end(key, old, new)
        if old.get("cancelRequested") and not (
            new["status"] in TERMINAL or new.get("cancelRequested")
        ):
            self.violated("a cancellation is forgotten", key)
        old_owner, new_owner = old.get("owner"), new.get("owner")
        if new_owner is not None and new_owner != old_owner:
            return self._claimed(key, old, new)
        if old_owner is not None and new_owner is None:
            return self._release(key, old, new)
        return None

    def _after_the_end(self, key: str, old: Document, new: Document) -> None:
        fields = ("status", "result", "error", "attemptCount")
        if all(old.get(each) == new.get(each) for each in fields):
            return
        if old["status"] == "completed" or key not in self.retried:
            self.violated(f"{old['status']} becomes {new['status']}", key)
        self._retries[key].append(self.world.now)

    def _claimed(self, key: str, old: Document, new: Document) -> None:
        if old.get("owner") is not None:
            self.violated(f"{new['owner']} claims what {old['owner']} owns", key)
        if old.get("cancelRequested"):
            self.violated("a cancelled execution is claimed", key)
        if (key, new["token"]) in self._claims and new["token"] <= old["token"]:
            self.violated(f"token {new['token']} is given twice", key)
        self._claims[key, new["token"]] = (self.world.now, new["owner"])
        self._lives[key, new["token"]] = new.get("retryToken", 0)
        self.children.claimed(key, new)
        self.fan_out.claimed(self.plans[key], old)
        self.counts["claims"] += 1

    def _release(self, key: str, old: Document, new: Document) -> None:
        owner, token = old["owner"], old["token"]
        self.children.released(key, old, new)
        if new.get("recoveries", 0) > old.get("recoveries", 0):
            self.counts["recoveries"] += 1
            if self.plans[key].kind not in WAIT:
                self._recovered_from_slots += 1
            worker = self.network.mongo.collection("workers").latest.get(owner)
            if worker is not None and not worker.get("dead"):
                self.violated(f"it is taken from {owner}, which is not dead", key)
            return
        if new.get("doneBy") != f"{owner}:{token}":
            self.violated(f"{new.get('doneBy')} settles what {owner} owns", key)
        if new["status"] == "completed":
            self._check_all_recorded(key)
        for start in self._open:
            is_own = (start.id, start.token) == (key, token)
            if is_own and start.process.is_alive:
                self.violated(f'it is settled while step "{start.title}" runs', key)

    def _check_all_recorded(self, key: str) -> None:
        steps = self.network.mongo.collection("steps")
        plan = self.plans[key]
        wanted = {step_id(title): title for title in KINDS[plan.kind].titles}
        for child in plan.offspring() if plan.kind != "hasty" else ():
            wanted |= dict.fromkeys(steps_of(child), child.title)
        wanted |= self.fan_out.wanted(plan)
        for step, title in wanted.items():
            if steps.committed(f"{key}:{step}") is None:
                self.violated(f'it completes before step "{title}" is recorded', key)

    # -- the end

    def is_done(self) -> bool:
        """Whether everything that was accepted has ended."""
        executions = self.network.mongo.collection("executions")
        for each in self._to_be_ended():
            document = executions.committed(each)
            if document is None or document["status"] not in TERMINAL:
                return False
            if "followUps" in document:
                return False
        return True

    def _to_be_ended(self) -> list[str]:
        """What was accepted, and what that has started."""
        accepted = sorted(self.accepted)
        return [*accepted, *self.children.below(accepted)]

    def judge(self) -> None:
        """Look at how everything ended."""
        executions = self.network.mongo.collection("executions")
        for each in self._to_be_ended():
            document = executions.committed(each)
            if document is None:
                self.violated("an accepted execution is gone", each)
            elif document["status"] not in TERMINAL:
                shown = {
                    key: document.get(key)
                    for key in ("status", "owner", "token", "dueAt", "recoveries")
                }
                self.violated(f"an accepted execution does not end: {shown}", each)
            elif "followUps" in document:
                self.violated("its end is not followed up", each)
            else:
                self._judge_end(self.plans[each], document)
        most = self.counts["workers declared dead"] * self.slots
        if self._recovered_from_slots > most:
            self.violated(f"{self._recovered_from_slots} recoveries, at most {most}")

    def _judge_end(self, plan: Plan, document: Document) -> None:
        status = document["status"]
        if status == "cancelled":
            if plan.id not in self.cancelled:
                self.violated("nobody cancelled it", plan.id)
            return
        if document.get("errorType") in {"poison", "Poison"}:
            if document["recoveries"] < POISON_AFTER:
                self.violated("it is given up as poison too early", plan.id)
            return
        expected, failures = self._expected(plan, document)
        if status != expected:
            self.violated(f"it is {status}: {document.get('error')}", plan.id)
        # The step that fails may be recorded when a cancelled one is retried.
        may_be_fewer = plan.id in self.cancelled & self.retried
        failed: int = document["attemptCount"]
        if failed > failures or (failed < failures and not may_be_fewer):
            self.violated(f"{failed} attempts failed, not {failures}", plan.id)
        if status == "completed":
            self._judge_result(plan, document.get("result"))
        told = self._results.get(plan.id)
        if told is not None and told != document.get("result"):
            self.violated(f"a client was told {told!r}", plan.id)

    def _expected(self, plan: Plan, document: Document) -> tuple[str, int]:
        """The status of an execution that has ended, and its attempts that failed."""
        if plan.kind in PARENTS | {"flaky"}:
            return self.children.expected(plan, document)
        if plan.kind in LIMITED:
            return self.deadlines.expected(plan, document)
        kind = KINDS[plan.kind]
        return kind.status, plan.failures + kind.own_failures

    def _judge_result(self, plan: Plan, result: Any) -> None:
        steps = self.network.mongo.collection("steps").latest
        recorded = [
            steps.get(f"{plan.id}:{step_id(title)}", {}).get("result")
            for title in KINDS[plan.kind].titles
        ]
        if plan.kind in LIMITED | {"parent", "crowd"}:
            recorded[1:1] = self.children.outcomes(plan)
        recorded = self.fan_out.recorded(plan, recorded)
        result = json.loads(result) if isinstance(result, str) else result
        if result != recorded:
            self.violated(f"the result is {result}, recorded is {recorded}", plan.id)
