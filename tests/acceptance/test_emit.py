"""`worchflow emit`: whoever waits for an event is told, and nothing is started."""

from __future__ import annotations

import re

from tests.command_line import Project

APP = """
from worchflow import Context, Event, Worchflow, event

app = Worchflow("orders")


class Approved(Event[None], name="approved", key="order_id"):
    order_id: str
    by: str = "somebody"


@app.function("order")
async def order(ctx: Context[str]) -> str:
    approved = await ctx.step.wait_for_event("Approval", Approved, key=ctx.data)
    return approved.by


@app.function("answer")
async def answer(ctx: Context[int]) -> str:
    return await ctx.step.wait_for_event("Answer", event("said", str), key=ctx.data)
"""
EMIT = ("--app", "orders:app", "emit")
WAIT = ("--app", "orders:app", "send", "order", "-d", '"o-1"', "--id", "wait-0001")


def test_an_event_ends_the_wait_of_an_execution(project: Project) -> None:
    project.write("orders.py", APP)
    project.run(*WAIT)
    project.run("worker", "orders:app", "--burst")
    shown = project.run("executions", "show", "wait-0001")
    waits = r'^waiting .*event "approved" \(key o-1\)'
    assert re.search(waits, shown.out, re.MULTILINE)

    emitted = project.run(*EMIT, "approved", "-d", '{"order_id": "o-1", "by": "Ada"}')

    assert emitted.code == 0
    assert re.fullmatch(r"[0-9a-f-]{36}\n", emitted.out)
    assert "accepted in " in emitted.err
    project.run("worker", "orders:app", "--burst")
    assert project.run("executions", "result", "wait-0001").out == '"Ada"\n'
    steps = project.run("executions", "show", "wait-0001", "-o", "json").json["steps"]
    assert [(each["title"], each["kind"]) for each in steps] == [("Approval", "wait")]


def test_an_event_of_a_name_alone_has_its_key_and_its_id_from_options(
    project: Project,
) -> None:
    project.write("orders.py", APP)
    project.run("--app", "orders:app", "send", "answer", "-d", "42", "--id", "ask-0001")
    said = ("emit", "said", "--key", "42", "--id", "said-1", "-o", "json")

    without = project.run("emit", "said", "-d", '"yes"')
    told = 'a wait for "said" with a key is not ended by it'
    assert (without.code, told in without.err) == (0, True)
    with_key = project.run(*said, "-d", '"yes"')
    assert (with_key.json, told in with_key.err) == ({"id": "said-1"}, False)
    assert project.run(*said, "-d", '"yes"').json == {"id": "said-1"}
    other = project.run(*said, "-d", '"no"')

    assert (other.code, other.out) == (5, "")
    assert "belongs to an event with other data" in other.err
    assert "[WF3007]" in other.err
    project.run("worker", "orders:app", "--burst")
    assert project.run("executions", "result", "ask-0001").out == '"yes"\n'


def test_data_that_does_not_fit_is_refused_with_its_values(project: Project) -> None:
    project.write("orders.py", APP)

    unfit = project.run(*EMIT, "approved", "-d", '{"order_id": 5}')
    unknown = project.run(*EMIT, "approved", "-d", '{"ordre_id": "x"}')
    without = project.run(*EMIT, "approved")
    other_key = project.run(
        *EMIT, "approved", "-d", '{"order_id": "o-1"}', "--key", "o-2"
    )

    assert {each.code for each in (unfit, unknown, without, other_key)} == {2}
    assert "order_id" in unfit.err
    assert "it is 5" in unfit.err
    assert 'did you mean "order_id"' in unknown.err
    assert "needs data with the field order_id" in without.err
    assert "leave it out" in other_key.err


def test_a_name_that_no_type_has_is_told_with_the_nearest(project: Project) -> None:
    project.write("orders.py", APP)

    mistyped = project.run(*EMIT, "aproved", "-d", "{}")
    other = project.run(*EMIT, "zebra", "-d", "{}")

    assert mistyped.code == other.code == 0
    assert 'the event "aproved", did you mean "approved"? it is sent' in mistyped.err
    assert 'the event "zebra"; it is sent as it is' in other.err
