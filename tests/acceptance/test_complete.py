"""`worchflow complete`: a token is answered once, by whoever has its id."""

from __future__ import annotations

from tests.command_line import Project

APP = """
from pathlib import Path

from pydantic import BaseModel
from worchflow import Context, Worchflow

app = Worchflow("expenses")


class Decision(BaseModel):
    ok: bool
    by: str = "somebody"


@app.function("expense")
async def expense(ctx: Context[str]) -> str:
    token = await ctx.step.token("Manager", Decision)
    Path("token").write_text(token.id)
    decision = await token
    return f"{decision.by}: {decision.ok}"
"""


def asked(project: Project) -> str:
    """The token of an execution that waits for its answer."""
    project.write("expenses.py", APP)
    send = (
        "--app",
        "expenses:app",
        "send",
        "expense",
        "-d",
        '"taxi"',
        "--id",
        "e-0001",
    )
    project.run(*send)
    project.run("worker", "expenses:app", "--burst")
    return (project.folder / "token").read_text()


def test_an_answer_continues_the_execution(project: Project) -> None:
    token = asked(project)
    shown = project.run("executions", "show", "e-0001")
    assert 'the answer to token "Manager"' in shown.out
    assert f"an answer to token {token}" in shown.out

    answered = project.run("complete", token, "-d", '{"ok": true, "by": "Ada"}')

    assert (answered.code, answered.out) == (0, "")
    assert "accepted in " in answered.err
    project.run("worker", "expenses:app", "--burst")
    assert project.run("executions", "result", "e-0001").out == '"Ada: True"\n'
    shape = project.run("executions", "show", "e-0001", "-o", "json").json
    assert [(each["title"], each["kind"]) for each in shape["steps"]] == [
        ("Manager", "token")
    ]
    assert shape["waits"] == []


def test_what_cannot_be_taken_is_told_and_changes_nothing(project: Project) -> None:
    token = asked(project)

    unfit = project.run("complete", token, "-d", '{"by": "Ada"}')
    no_json = project.run("complete", token, "-d", "yes")
    no_token = project.run("complete", "e-0001", "-d", "{}")
    without = project.run("complete", token)
    unknown = project.run("complete", "0" * 32, "-d", "{}")

    assert (unfit.code, unfit.out) == (2, "")
    assert "$ lacks ok" in unfit.err
    assert "[WF4003]" in unfit.err
    assert no_json.code == no_token.code == without.code == 2
    assert "is not a token's id" in no_token.err
    assert "--data" in without.err
    assert unknown.code == 5
    assert "no execution has the token" in unknown.err

    first = project.run("complete", token, "-d", '{"ok": false}', "-o", "json")
    second = project.run("complete", token, "-d", '{"ok": true}')

    assert first.json == {"id": token}
    assert second.code == 5
    assert "takes no answer any more: it got another answer at" in second.err
