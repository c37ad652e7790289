"""What must hold for executions whose time is limited.

What decides is the clock of the primary, and a worker goes by its own timers from what
was left when a primary told it. So everything may seem early or late here by as much as
messages take, and in runs with fail-overs by as much as two primaries' clocks differ.
Not by more: a reply that is lost begins nothing, and is asked for again.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from tests.simulation.limits import (
    LIMITS,
    MAX_RETRIES,
    MOST_DELAY,
    THREAD,
    waits_for_ever,
)
from tests.simulation.plans import LIMITED, Plan
from worchflow.model.records import SUSPENDED, TERMINAL

if TYPE_CHECKING:
    from tests.simulation.mongo_values import Document
    from tests.simulation.oracle import Oracle
    from tests.simulation.processes import Process

MESSAGES_TAKE = 0.1
"""Seconds for all that is on its way between a clock and who goes by it."""
PRIMARIES_DIFFER = 0.5
"""Seconds by which the clocks of two primaries differ at most."""
MILLISECONDS = timedelta(milliseconds=2)
"""What rounding makes of a moment."""
TOO_LATE = "DeadlineExceeded"
NEVER_STARTED = "no worker has started"
"""How the error begins of what was not started in time."""

CUT_OFF = "deadlines that passed while code ran, or was kept"
WAITED = "deadlines that passed while an execution was suspended"
NOT_BEGUN = "deadlines that passed before any code had run"
STARTED_LATE = "executions that were not started in time"
NO_TIME_TO_RETRY = "executions without time for another attempt"
IN_TIME = "executions with a deadline that completed"
ANEW = "deadlines that a retry has given anew"
EVERY_CASE_OF_DEADLINES = (
    *(CUT_OFF, WAITED, NOT_BEGUN, STARTED_LATE, NO_TIME_TO_RETRY, IN_TIME, ANEW),
)


class DeadlineOracle:
    """Judges the deadlines and start timeouts of one run."""

    def __init__(self, oracle: Oracle) -> None:
        self._oracle = oracle
        self._may_begin: dict[str, datetime] = {}
        """When each could first begin in its life, without a look at its deadline."""
        self._claimed_first: dict[str, datetime] = {}
        """When each was first claimed in its life."""
        self._has_run: set[tuple[str, int]] = set()
        """Executions of which code has run, and the token of that life."""
        self._ran: set[tuple[str, int]] = set()
        """Claims under which code has run."""
        self._ended: dict[tuple[str, int], tuple[datetime, bool]] = {}
        """When the code of each claim ended, and whether that was too late."""
        self._passed: set[str] = set()
        """What had a deadline that has passed, before it was retried."""

    # -- what handlers and steps tell

    def begins(self, process: Process, id: str, token: int) -> None:
        """A handler begins."""
        self._has_run.add((id, self._oracle.life_of_claim(id, token)))
        self._ran.add((id, token))
        self.starts(process, id, "its code")

    def starts(self, process: Process, id: str, what: str) -> None:
        """A handler begins, or a step of it."""
        if self._oracle.plans[id].kind in LIMITED and self._is_late(process, id):
            late = self._seconds_after(id)
            self._oracle.violated(f"{what} starts {late:.3f} s after its deadline", id)

    def ends(self, process: Process, id: str, token: int) -> None:
        """A handler has ended, however."""
        is_late = self._is_late(process, id)
        self._ended[id, token] = (self._oracle.server_now(), is_late)
        # What runs in a thread cannot be cut off.
        if is_late and self._oracle.plans[id].act != THREAD:
            late = self._seconds_after(id)
            self._oracle.violated(
                f"its code runs on for {late:.3f} s after its deadline", id
            )

    # -- what is written

    def inserted(self, id: str, document: Document) -> None:
        """An execution is accepted."""
        plan = self._oracle.plans.get(id)
        if plan is None or plan.kind not in LIMITED:
            return
        # A request that was late for the store was accepted when it was made.
        accepted = document["acceptedAt"] + timedelta(seconds=plan.delay)
        self._may_begin[id] = accepted
        self._check_not_ahead(id, document["acceptedAt"])

    def changed(self, id: str, old: Document, new: Document) -> None:
        """An execution is changed."""
        if self._oracle.plans[id].kind not in LIMITED:
            return None
        was_over, is_over = (each["status"] in TERMINAL for each in (old, new))
        if was_over and not is_over:
            return self._retried(id, old, new)
        self._check_moments(id, old, new)
        if is_over and not was_over:
            self._over(id, old, new)
        elif new["status"] != old["status"]:
            self._check_due(id, old, new)
        return None

    # -- how it ended

    def expected(self, plan: Plan, document: Document) -> tuple[str, int]:
        """The status of an execution that has ended, and its attempts that failed."""
        failed: int = document["attemptCount"]
        if document.get("errorType") == TOO_LATE:
            # The one that was cut off counts as well.
            return "failed", min(failed, plan.failures + 1)
        if document.get("errorType") == "Declined":
            return "failed", min(failed, plan.failures, MAX_RETRIES + 1)
        return "failed" if waits_for_ever(plan) else "completed", plan.failures

    # -- inside

    def _retried(self, id: str, old: Document, new: Document) -> None:
        for each in ("deadlineAt", "startedAt"):
            if new.get(each) is not None:
                self._oracle.violated(f"a retry keeps its {each}", id)
        self._may_begin[id] = new["eligibleAt"]
        self._claimed_first.pop(id, None)
        self._check_not_ahead(id, new["eligibleAt"])
        if new["eligibleAt"] < old["finishedAt"] - timedelta(seconds=self._tolerance):
            self._oracle.violated("it could begin before it had ended", id)
        if old.get("errorType") == TOO_LATE:
            self._passed.add(id)

    def _check_moments(self, id: str, old: Document, new: Document) -> None:
        oracle = self._oracle
        for each in ("deadlineAt", "startedAt"):
            if old.get(each) is not None and new.get(each) != old[each]:
                oracle.violated(f"its {each} moves from {old[each]}", id)
        if old.get("startedAt") is None and new.get("startedAt") is not None:
            self._claimed_first[id] = oracle.server_now()
        deadline_at = new.get("deadlineAt")
        if deadline_at is None or old.get("deadlineAt") is not None:
            return
        known = self._deadline(id)
        if known is None or abs(deadline_at - known) > MILLISECONDS:
            oracle.violated(f"its deadline is {deadline_at}, not {known}", id)
        oracle.counts[ANEW] += id in self._passed
        self._passed.discard(id)

    def _check_due(self, id: str, old: Document, new: Document) -> None:
        """It waits for the next attempt, or for something else, not for too long."""
        deadline_at, due = new.get("deadlineAt"), new.get("dueAt")
        if deadline_at is None:
            return
        if new["status"] in SUSPENDED:
            latest = max(deadline_at, new.get("notBefore", deadline_at))
            if due is None or due > latest + MILLISECONDS:
                self._oracle.violated(f"it is suspended until {due}", id)
        elif new["status"] == "retrying" and due is not None:
            # It was decided when its code ended: the store may have been away since.
            now = self._oracle.server_now()
            decided, _ = self._ended.get((id, old["token"]), (now, False))
            due -= now - decided
            if due > deadline_at + timedelta(seconds=self._tolerance):
                self._oracle.violated("it is retried after its deadline", id)

    def _over(self, id: str, old: Document, new: Document) -> None:
        oracle, claim = self._oracle, (id, old["token"])
        now = oracle.server_now()
        ended, was_late = self._ended.get(claim, (now, False))
        has_deadline = self._deadline(id) is not None
        if new["status"] == "completed":
            # The store may have been away since its code has ended.
            if was_late:
                oracle.violated("it completes after its deadline", id)
            oracle.counts[IN_TIME] += has_deadline
        elif new["status"] == "cancelled":
            pass  # It keeps the error of an attempt before.
        elif new.get("errorType") == TOO_LATE:
            if str(new["error"]).startswith(NEVER_STARTED):
                self._not_started(id, old)
            else:
                self._deadline_passed(id, old, new)
        elif new.get("errorType") == "Declined" and new["attemptCount"] <= MAX_RETRIES:
            left = None if not has_deadline else -self._seconds_after(id, ended)
            if left is None or left > MOST_DELAY + self._tolerance:
                oracle.violated("it is not tried again, and has the time for it", id)
            oracle.counts[NO_TIME_TO_RETRY] += 1

    def _deadline_passed(self, id: str, old: Document, new: Document) -> None:
        oracle = self._oracle
        if new.get("deadlineAt") is None:
            return oracle.violated("it has passed a deadline that is not stored", id)
        late = self._seconds_after(id)
        if late < -self._tolerance:
            oracle.violated(f"it fails {-late:.3f} s before its deadline", id)
        if (id, old["token"]) in self._ran:
            oracle.counts[CUT_OFF] += 1
        elif (id, oracle.life_of_claim(id, old["token"])) not in self._has_run:
            oracle.counts[NOT_BEGUN] += 1
        elif old.get("attemptStartedAt") is not None:
            oracle.counts[WAITED] += 1
        return None

    def _not_started(self, id: str, old: Document) -> None:
        oracle = self._oracle
        oracle.counts[STARTED_LATE] += 1
        timeout = LIMITS[oracle.plans[id].kind].start_timeout
        if (id, oracle.life_of_claim(id, old["token"])) in self._has_run:
            oracle.violated("it fails as never started, and code of it has run", id)
        waited = self._claimed_first[id] - self._may_begin[id]
        if timeout is None or waited < timedelta(seconds=timeout) - MILLISECONDS:
            oracle.violated(f"it was claimed in time, after {waited}", id)

    @property
    def _tolerance(self) -> float:
        """Seconds by which something may seem early or late."""
        differ = bool(self._oracle.network.hits["primary's clock"])
        return MESSAGES_TAKE + PRIMARIES_DIFFER * differ

    def _deadline(self, id: str) -> datetime | None:
        """When it has to have ended."""
        seconds = LIMITS[self._oracle.plans[id].kind].deadline
        return (
            None
            if seconds is None
            else self._may_begin[id] + timedelta(seconds=seconds)
        )

    def _seconds_after(self, id: str, moment: datetime | None = None) -> float:
        """Seconds from its deadline until a moment, or now; negative before."""
        deadline: Any = self._deadline(id)
        moment = moment or self._oracle.server_now()
        return float((moment - deadline).total_seconds())

    def _is_late(self, process: Process, id: str) -> bool:
        """Whether no code of it may begin or end now.

        A process that was frozen does some things in the moment in which it goes on,
        before it comes to its timers.
        """
        if self._deadline(id) is None or process.thawed_at == self._oracle.world.now:
            return False
        return self._seconds_after(id) > self._tolerance

    def _check_not_ahead(self, id: str, moment: datetime) -> None:
        ahead = moment - self._oracle.server_now()
        if ahead > timedelta(seconds=self._tolerance):
            self._oracle.violated(f"it was accepted or retried {ahead} ahead", id)
