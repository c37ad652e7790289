"""What is run: executions of several kinds, and how each of them has to end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import inf
from random import Random
from typing import Literal, TypeAlias

from worchflow.foundations.ids import part_id, step_id

CLIENTS = 2
MANAGER, CLERK = "manager", "clerk"
"""Whom an execution asks: the clerk's time is limited, the manager's is not."""
NAP = frozenset({"slept", "told", "compensated", "asked", "raced", "hasty", "reminded"})
"""The kinds of executions that wait for some time."""
PARENTS = frozenset({"parent", "crowd", "hasty"})
"""The kinds of executions that have children."""
LIMITED = frozenset({"brief", "bounded", "patient", "punctual"})
"""The kinds of executions whose time is limited: see `limits.py`."""
WAIT = NAP | PARENTS | LIMITED | {"deaf"}
"""The kinds of executions that wait."""
CROWD = "crowd"
"""The title of the step that many children are parts of."""
DIE_SHARE = 0.25
"""Of the events and answers those whose client dies once they are accepted."""
DEAF_SHARE = 0.1
"""Of the answers those that are accepted, and their client is not told."""
GIVE_UP_SHARE = 0.3
"""Of the answers those whose client does not ask again what became of them."""
MOST_ANSWER_SECONDS = 3.0
"""Seconds within which the manager's answer is sent, if anybody sends one."""


Fate: TypeAlias = Literal["", "dies", "is not told"]


@dataclass(frozen=True)
class Answer:
    """What one client answers to a token of an execution."""

    title: str
    client: int
    text: str
    moment: float
    """Seconds from its deadline on; without one from when it was asked for."""
    fate: Fate = ""
    """What becomes of its client once it is accepted."""
    gives_up: bool = False
    """Whether its client never asks what became of it."""


@dataclass(frozen=True)
class Plan:
    """One execution, and how it has to end if nobody cancels it."""

    id: str
    kind: str
    failures: int = 0
    """How many attempts fail before one does not."""
    delay: float = 0.0
    seconds: float = 0.1
    """About how long each of its steps takes."""
    nap: float = 0.0
    """How long it sleeps in between, if it does, or waits for the last event, for the
    clerk, or for its next try."""
    news: int = 0
    """Events that are emitted for it; some take no more than two."""
    order: tuple[tuple[str, ...], ...] = ()
    """For which answers it waits one after the other, and for which side by side."""
    answers: tuple[Answer, ...] = ()
    children: tuple[tuple[Offspring, ...], ...] = ()
    """Those that it awaits one after the other, or side by side."""
    catches: bool = False
    """Whether it goes on where a child fails, or an item; whether what it waits for
    after a lost race is waited for in vain at some time."""
    items: int = 0
    """How many it does something for."""
    unlucky: tuple[int, ...] = ()
    """Items that fail as long as its attempts do; each time where it catches that."""
    is_keyed: bool = False
    """Whether its items have keys, and come in another order each time."""
    concurrency: int | None = None
    moment: float = 0.0
    """Seconds after the end of its nap at which its first event is emitted; -inf: at
    once."""
    act: str = ""
    """What it does whose time is limited, between its two steps."""

    def offspring(self) -> Iterator[Offspring]:
        """All of its children."""
        for group in self.children:
            yield from group


@dataclass(frozen=True)
class Offspring:
    """A child of an execution."""

    title: str
    plan: Plan
    """Without an id: that is derived."""
    timeout: float | None = None
    is_started: bool = False
    """With `start`, before any is awaited; else it is invoked."""
    is_awaited: bool = True
    leaves: bool = False
    place: int | None = None
    """Among those that one step invokes."""

    @property
    def step(self) -> str:
        """The identity of the step that starts it."""
        if self.place is None:
            return step_id(self.title)
        return part_id(step_id(CROWD), f"[{self.place}]")


@dataclass(frozen=True)
class Kind:
    """What the executions of one function have in common."""

    titles: tuple[str, ...]
    """The steps whose values are its result, in order."""
    status: str = "completed"
    own_failures: int = 0
    """Attempts that fail beside the planned ones."""
    tries: int = 1
    """How often one attempt may start one step."""


KINDS = {
    "sequence": Kind(("first", "second", "third")),
    "parallel": Kind(("left", "middle", "right")),
    "compensated": Kind(("refund",), tries=3),
    "hopeless": Kind(("only",), status="failed", own_failures=1),
    "threaded": Kind(("before", "in a thread")),
    "slept": Kind(("before", "after")),
    "told": Kind(("one", "other", "after")),
    "asked": Kind(("mail", MANAGER, CLERK, "after")),
    "parent": Kind(("before", "after")),
    "mapped": Kind(("after",)),
    "crowd": Kind(("before", "after")),
    "raced": Kind(("after",)),
    "hasty": Kind(("before", "after")),
    "reminded": Kind(("mail", MANAGER, "after")),
    "quick": Kind(("work", "finish")),
    "bad": Kind(("work",), status="failed", own_failures=1),
    "flaky": Kind(("work", "finish")),
    "deaf": Kind(("work",), status="cancelled"),
    **dict.fromkeys(sorted(LIMITED), Kind(("before", "after"))),
}
CHILDREN = frozenset({"quick", "bad", "flaky", "deaf"})
"""The kinds that no client sends."""
KINDS_OF_CHILDREN = (
    *("quick", "quick", "quick", "bad", "flaky", "flaky", "deaf", "deaf", "parent"),
)
GRANDCHILDREN = ("quick", "quick", "flaky", "deaf")
KINDS_OF_A_CROWD = (*("quick", "quick", "quick"), *("flaky", "bad", "deaf"))
CATCH_SHARE = 0.5
"""Of the parents."""
NAPS = (0.3, 1.5, 4.0)
NAPS_OF_CLERKS = (0.3, 0.7, 0.7, 1.5, 4.0)
"""Most end while the execution is still parked: so somebody looks at that moment."""
ORDERS = (((MANAGER, CLERK),), ((CLERK,), (MANAGER,)), ((MANAGER,), (CLERK,)))


def make_plans(random: Random, count: int) -> list[Plan]:
    """Executions of all kinds, most of them short."""
    return [_make_plan(random, f"e{number:02d}") for number in range(count)]


def _make_plan(random: Random, id: str) -> Plan:
    # Most of what can go wrong between executions takes more than one thing.
    own = (each for each in KINDS if each not in CHILDREN | LIMITED)
    kind = random.choice([*own, "parent", "slept", "raced", "mapped"])
    is_asked = kind == "asked"
    plan = Plan(
        id=id,
        kind=kind,
        failures=random.choice((0, 0, 0, 1, 2)),
        delay=random.choice((0.0, 0.0, 0.0, random.uniform(0.1, 3.0))),
        seconds=random.choice((0.02, 0.1, 0.5, 1.0, 2.0)),
        nap=(nap := random.choice(NAPS_OF_CLERKS if is_asked else NAPS)),
        news=random.choice((2, 2, 3, 4)) if kind == "told" else 0,
        order=random.choice(ORDERS) if is_asked else (),
        answers=_make_answers(random, id, nap) if is_asked else (),
        children=make_children(random) if kind == "parent" else (),
        catches=random.random() < CATCH_SHARE,
    )
    return _fanned_out(random, plan)


def _fanned_out(random: Random, plan: Plan) -> Plan:
    """With what it does side by side, or what it is the first of several for."""
    if plan.kind == "mapped":
        count = random.randint(4, 7)
        return replace(
            plan,
            items=count,
            unlucky=tuple(
                sorted(random.sample(range(count), random.choice((0, 1, 2))))
            ),
            is_keyed=random.random() < 0.5,
            concurrency=random.choice((2, 3)),
            # So that it is often in the middle when its worker is gone.
            seconds=random.choice((0.3, 0.6, 1.0)),
            delay=0.0,
        )
    if plan.kind == "crowd":
        return replace(
            plan,
            children=(_make_crowd(random),),
            concurrency=random.choice((None, None, 1, 2)),
        )
    if plan.kind == "hasty":
        child = _make_child(random, "child 0", (*GRANDCHILDREN, "bad", "parent"))
        rival = replace(
            child,
            is_started=False,
            is_awaited=True,
            leaves=False,
            timeout=random.choice((None, child.timeout)),
        )
        return replace(plan, children=((rival,),), seconds=min(plan.seconds, 1.0))
    if plan.kind == "raced":
        news = random.choice((1, 1, 2))
        return _against_a_nap(random, replace(plan, news=news))
    if plan.kind == "reminded":
        nap = max(0.7, plan.nap)
        # Some at about the moment in which it is reminded.
        moment = random.uniform(*random.choice(((nap, nap + 0.2), (0.0, 2 * nap))))
        answers = _make_answers_at(random, plan.id, MANAGER, moment)
        return replace(plan, nap=nap, answers=tuple(answers))
    return plan


def _against_a_nap(random: Random, plan: Plan) -> Plan:
    """With a nap, and when the event comes that has to come before it is over."""
    if random.random() < 0.6:
        # It is there from the start; a nap of a few calls of the stores is over while
        # it is taken.
        seconds = random.choice((0.1, 0.5))
        nap = random.uniform(0.0, random.choice((0.03, 0.15)))
        return replace(plan, nap=nap, moment=-inf, seconds=seconds)
    nap = random.choice(NAPS)
    moment = random.uniform(*random.choice(((-0.1, 0.3), (-nap, 0.0))))
    return replace(plan, nap=nap, moment=moment)


def _make_crowd(random: Random) -> tuple[Offspring, ...]:
    """Children that one step invokes: all have the same time."""
    children = [
        _make_child(random, f"child {number}", KINDS_OF_A_CROWD)
        for number in range(random.randint(2, 4))
    ]
    never_ends = any(each.plan.kind == "deaf" for each in children)
    needs_time = never_ends or random.random() < 0.3
    timeout = random.choice((0.7, 1.5, 4.0)) if needs_time else None
    return tuple(
        replace(
            child,
            is_started=False,
            is_awaited=True,
            leaves=False,
            timeout=timeout,
            place=place,
        )
        for place, child in enumerate(children)
    )


def _make_answers(random: Random, id: str, nap: float) -> tuple[Answer, ...]:
    """Up to two different answers for each token, some of them at the same time."""
    answers: list[Answer] = []
    for title in (MANAGER, CLERK):
        moment = random.uniform(0.0, MOST_ANSWER_SECONDS)
        if title == CLERK:
            # What is accepted in the moment in which the time is over matters most.
            just_before, around, before = (-0.05, 0.0), (-0.3, 0.3), (-nap, 0.0)
            moment = random.uniform(
                *random.choice((*3 * [just_before], around, before))
            )
        answers += _make_answers_at(random, id, title, moment)
    return tuple(answers)


def _make_answers_at(
    random: Random, id: str, title: str, moment: float
) -> Iterator[Answer]:
    """Up to two different answers at about one moment."""
    for client in random.sample(range(CLIENTS), random.choice((0, 1, 2, 2))):
        apart = random.choice((0.0, 0.0, random.uniform(-0.1, 0.1)))
        yield Answer(
            title=title,
            client=client,
            text=f"the {title}'s answer to {id} by client-{client}",
            moment=moment + apart,
            fate=_fate(random),
            gives_up=random.random() < GIVE_UP_SHARE,
        )


def make_children(
    random: Random, most: int = 4, kinds: tuple[str, ...] = KINDS_OF_CHILDREN
) -> tuple[tuple[Offspring, ...], ...]:
    """Some children, in groups."""
    groups: list[list[Offspring]] = [[]]
    for number in range(random.randint(1, most)):
        if groups[-1] and random.random() < 0.5:
            groups.append([])
        groups[-1].append(_make_child(random, f"child {number}", kinds))
    return tuple(map(tuple, groups))


def _make_child(random: Random, title: str, kinds: tuple[str, ...]) -> Offspring:
    kind = random.choice(kinds)
    is_started = random.random() < 0.4
    is_awaited = not (is_started and random.random() < 0.4)
    ends = kind != "deaf"
    plan = Plan(
        id="",
        kind=kind,
        failures=random.choice((0, 0, 1, 2)) if kind in ("quick", "parent") else 0,
        seconds=random.choice((0.02, 0.1, 0.5, 1.0)),
        children=make_children(random, 2, GRANDCHILDREN) if kind == "parent" else (),
        catches=random.random() < CATCH_SHARE,
    )
    return Offspring(
        title=title,
        plan=plan,
        timeout=random.choice((0.3, 0.7, 1.5, 4.0))
        if is_awaited and (not ends or random.random() < 0.2)
        else None,
        is_started=is_started,
        is_awaited=is_awaited,
        leaves=is_started and ends and random.random() < 0.3,
    )


def _fate(random: Random) -> Fate:
    drawn = random.random()
    if drawn < DIE_SHARE:
        return "dies"
    return "is not told" if drawn < DIE_SHARE + DEAF_SHARE else ""
