"""Executions whose time is limited: how long they have, and what they do."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from tests.simulation.plans import LIMITED, Offspring, Plan


@dataclass(frozen=True)
class Limits:
    """How much time a function's executions have, in seconds."""

    deadline: float | None = None
    start_timeout: float | None = None


BRIEF_DEADLINE, BOUNDED_DEADLINE = 1.5, 4.0
"""They often pass while things go wrong."""
PATIENT_DEADLINE = 12.0
"""It passes in the quiet phase, if what is done never ends."""
BOUNDED_START, PUNCTUAL_START = 1.0, 0.7
LIMITS = {
    "brief": Limits(deadline=BRIEF_DEADLINE),
    "bounded": Limits(deadline=BOUNDED_DEADLINE, start_timeout=BOUNDED_START),
    "patient": Limits(deadline=PATIENT_DEADLINE),
    "punctual": Limits(start_timeout=PUNCTUAL_START),
}
"""By the kind of the execution."""
MAX_RETRIES = 5
MOST_DELAY = 2.0
"""Seconds between two attempts at most."""

WORK, THREAD, SLEEP, NEWS, CHILD = "work", "thread", "sleep", "news", "child"
"""What is done between two steps: nothing, a step in a thread, or some waiting."""
ACTS = (WORK, THREAD, SLEEP, SLEEP, NEWS, NEWS, CHILD)

SHARE = 0.5
"""Of the runs those that have executions whose time is limited."""
HOPELESS = MAX_RETRIES + 3
"""Failures that use up all retries, if there is time for them."""
HOPELESS_SHARE = 0.25


def make_limited_plans(random: Random, first: int) -> list[Plan]:
    """None, one or two executions; `first` is the number of the first."""
    if random.random() >= SHARE:
        return []
    count = random.choice((1, 1, 2))
    return [_make_plan(random, f"e{first + each:02d}") for each in range(count)]


def waits_for_ever(plan: Plan) -> bool:
    """Whether nothing but its deadline ends what it waits for."""
    if plan.act == NEWS:
        return not plan.news
    return any(
        child.plan.kind == "deaf" and child.timeout is None
        for child in plan.offspring()
    )


def _make_plan(random: Random, id: str) -> Plan:
    if random.random() < HOPELESS_SHARE:
        return Plan(
            id=id,
            kind=random.choice(("brief", "brief", "bounded")),
            act=WORK,
            failures=HOPELESS,
            seconds=random.choice((0.02, 0.1, 0.5)),
        )
    kind = random.choice(sorted(LIMITED))
    is_endless = LIMITS[kind].deadline is not None and random.random() < 0.4
    act = random.choice((NEWS, CHILD) if is_endless else ACTS)
    return Plan(
        id=id,
        kind=kind,
        act=act,
        failures=random.choice((0, 0, 0, 1, 2)),
        delay=random.choice((0.0, 0.0, random.uniform(0.5, 3.0))),
        seconds=random.choice((0.02, 0.1, 0.5, 1.0, 2.0)),
        nap=random.choice((0.3, 1.5, 4.0)),
        news=int(act == NEWS and not is_endless),
        children=((_make_child(random, is_endless=is_endless),),)
        if act == CHILD
        else (),
        catches=True,
    )


def _make_child(random: Random, *, is_endless: bool) -> Offspring:
    """A child; that of one that never ends by itself does not either."""
    kind = "deaf" if is_endless else random.choice(("quick", "brief", "brief"))
    plan = Plan(
        id="",
        kind=kind,
        act=random.choice((SLEEP, NEWS)) if kind == "brief" else "",
        failures=random.choice((0, 0, 1)) if kind == "quick" else 0,
        seconds=random.choice((0.02, 0.1, 0.5)),
        nap=random.choice((0.3, 1.5)),
        catches=True,
    )
    return Offspring(title="child", plan=plan)
