"""`worchflow executions`: what is printed, for people and for programs."""

from __future__ import annotations

import json
import re
import signal

import pytest

from tests.acceptance.conftest import Seed
from tests.command_line import Project

APP = ("--app", "shop:app")
PAY = ("process-payment", {"amount": 5})
DECLINE = ("decline-payment", {"text": "no\x1b[2J"})
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")

EXECUTION_FIELDS = [
    *("id", "event_name", "function_id", "data", "status", "result", "error"),
    *("attempt_count", "recoveries", "created_at", "updated_at", "started_at"),
    *("finished_at", "run_at", "worker", "reason", "cancel_requested"),
    *("headers", "tags", "attempts", "parent", "depth", "deadline_at"),
]


def test_a_completed_execution_is_shown_with_its_steps_in_order(
    project: Project, seed: Seed
) -> None:
    seed({"order-0001": PAY})

    shown = project.run("executions", "show", "order-0001", "-o", "json").json

    steps = shown.pop("steps")
    assert shown.pop("waiting") is None
    assert shown.pop("waits") == shown.pop("children") == []
    assert list(shown) == EXECUTION_FIELDS
    (attempt,) = shown.pop("attempts")
    assert (attempt["number"], attempt["outcome"]) == (1, "completed")
    assert MOMENT.fullmatch(attempt["started_at"])
    for field in ("created_at", "updated_at", "started_at", "finished_at"):
        assert MOMENT.fullmatch(shown.pop(field))
    assert shown == {
        "id": "order-0001",
        "event_name": "process-payment",
        "function_id": "payments",
        "data": {"amount": 5, "customer": "ada"},
        "status": "completed",
        "result": "txn-ada-5",
        "error": None,
        "attempt_count": 0,
        "recoveries": 0,
        "run_at": None,
        "worker": None,
        "reason": None,
        "cancel_requested": False,
        "headers": {},
        "tags": [],
        "parent": None,
        "depth": 0,
        "deadline_at": None,
    }
    assert [(s["title"], s["result"], s["attempts"]) for s in steps] == [
        ("Validate payment", 5, 1),
        ("Charge provider", "txn-ada-5", 1),
    ]
    assert all(step["status"] == "completed" for step in steps)
    assert all(re.fullmatch("[0-9a-f]{32}", step["step_id"]) for step in steps)
    assert all(MOMENT.fullmatch(step["finished_at"]) for step in steps)


def test_a_failed_execution_is_shown_with_its_traceback(
    project: Project, seed: Seed
) -> None:
    seed({"declined-1": DECLINE})

    for_people = project.run(*APP, "executions", "show", "declined-1")
    for_programs = project.run("executions", "show", "declined-1", "-o", "json").json

    assert for_people.code == 0
    assert re.search(r"^status +failed$", for_people.out, re.MULTILINE)
    assert re.search(r"^1 +Validate payment +completed", for_people.out, re.MULTILINE)
    assert "in refuse" in for_people.out
    assert "NonRetryable: no\\x1b[2J" in for_people.out
    assert "\x1b" not in for_people.out
    assert for_programs["error"]["type"] == "NonRetryable"
    assert for_programs["error"]["message"] == "no\x1b[2J"
    assert "in refuse" in for_programs["error"]["traceback"]


def test_an_execution_that_waits_says_why(project: Project, seed: Seed) -> None:
    seed({"order-0001": PAY}, run=False)

    shown = project.run("executions", "show", "order-0001")

    assert re.search(
        r'^waiting +It has been due for .* a worker that serves "process-payment"',
        shown.out,
        re.MULTILINE,
    )
    assert "No step is recorded." in shown.out


def test_a_dead_worker_is_told_where_its_execution_is_shown(project: Project) -> None:
    gate = json.dumps({"gate": str(project.folder / "gate")})
    project.run(*APP, "send", "hold-payment", "-d", gate, "--id", "held-0001")
    with project.start("worker", "shop:app") as worker:
        worker.wait_for_line("started, attempt 1")
        running = project.run("executions", "show", "held-0001", "-o", "json").json
        worker.send_signal(signal.SIGKILL)
        worker.wait()

    left = project.run("executions", "show", "held-0001", "-o", "json").json

    assert (running["status"], running["waiting"]) == ("processing", None)
    assert left["status"] == "processing"
    assert re.fullmatch(
        rf"Its worker {left['worker']} was last heard of .* ago; a worker takes over "
        r"once one is started\.",
        left["waiting"],
    )


def test_the_step_that_failed_is_told_and_what_its_retry_waits_for(
    project: Project,
) -> None:
    project.write(
        "flaky.py",
        "from worchflow import Context, Worchflow\n"
        "app = Worchflow('flaky')\n"
        "def fail() -> None:\n"
        "    raise ConnectionError('the printer is off')\n"
        "@app.function('print', retry_delay='1h')\n"
        "async def print_it(ctx: Context[None]) -> None:\n"
        "    await ctx.step.run('Write letter', fail)\n",
    )
    project.run("send", "print", "-A", "flaky:app", "--id", "letter-1")
    project.run("worker", "flaky:app", "--burst")

    shown = project.run("executions", "show", "letter-1").out

    assert re.search(
        r"^waiting +Attempt 1 failed with ConnectionError: the printer is off; the "
        r"next one is due in 59 min",
        shown,
        re.MULTILINE,
    )
    assert re.search(r"^failed in +step Write letter$", shown, re.MULTILINE)


def test_eight_characters_of_an_id_are_enough(project: Project, seed: Seed) -> None:
    seed({"order-0001": PAY, "declined-1": DECLINE})

    shown = project.run("executions", "show", "order-00", "-o", "json")
    result = project.run("executions", "result", "order-00")
    retried = project.run("executions", "retry", "declined")
    cancelled = project.run("executions", "cancel", "declined")

    assert shown.json["id"] == "order-0001"
    assert result.out == '"txn-ada-5"\n'
    assert (retried.code, retried.out) == (0, "declined-1\n")
    assert (cancelled.code, cancelled.out) == (0, "declined-1\n")


def test_a_beginning_of_several_ids_is_refused_with_the_candidates(
    project: Project, seed: Seed
) -> None:
    seed({f"order-000{n}": PAY for n in range(7)} | {"order-00": PAY}, run=False)

    ambiguous = project.run("executions", "cancel", "order-000")
    exact = project.run("executions", "show", "order-00", "-o", "json")
    short = project.run("executions", "show", "order-0")

    assert ambiguous.code == 2
    assert len(re.findall(r"^  order-000\d  queued", ambiguous.err, re.MULTILINE)) == 5
    assert "[WF4007]" in ambiguous.err
    assert exact.json["id"] == "order-00"
    assert short.code == 4
    assert "first 8 characters" in short.err


def test_an_unknown_id_is_not_found_and_the_place_is_told(project: Project) -> None:
    missing = project.run("executions", "show", "no-such-order", "-o", "json")

    assert missing.code == 4
    assert missing.out == ""
    assert str(project.database) in missing.err
    assert "[WF3001]" in missing.err


@pytest.mark.parametrize("app", [(), APP])
def test_reading_makes_nothing_and_tells_where_it_looked(
    project: Project, app: tuple[str, ...]
) -> None:
    before = sorted(project.folder.iterdir())

    listed = project.run(*app, "executions", "list")
    as_json = project.run(*app, "executions", "list", "-o", "json")
    others = [
        project.run(*app, "executions", what, "order-0001")
        for what in ("show", "result", "retry", "cancel")
    ]
    pruned = project.run(*app, "retention", "run", "--yes")

    assert (listed.code, listed.out) == (0, "")
    nothing = f"there is no database at {project.database}: run this where the worker"
    assert listed.err.splitlines()[1:] == [f"no executions in {project.database}"]
    assert as_json.json == {"executions": [], "cursor": None}
    assert all(
        each.err.startswith(nothing) for each in (listed, as_json, pruned, *others)
    )
    assert [each.code for each in others] == [4] * 4
    assert all(str(project.database) in each.err for each in others)
    assert pruned.out == "0\n"
    left = {each.name for each in project.folder.iterdir()} - {"__pycache__"}
    assert left == {each.name for each in before}


@pytest.mark.parametrize("command", [("executions", "list"), ("send", "pay")])
def test_a_folder_that_is_missing_is_an_error(
    project: Project, command: tuple[str, ...]
) -> None:
    missing = project.folder / "shpo" / "shop.db"

    refused = project.run(*command, WORCHFLOW_SQLITE_PATH=missing)

    assert refused.code == 2
    assert f"there is no folder {missing.parent} for the database" in refused.err
    assert not missing.parent.exists()


def test_what_is_not_there_yet_can_be_sent_to(project: Project) -> None:
    sent = project.run("send", "pay")

    assert f"accepted in {project.database}\n" in sent.err
    assert sent.out.strip() in project.run("executions", "list").out
    assert (project.database.parent / ".gitignore").read_text() == "*\n"


def test_what_is_no_id_is_refused(project: Project) -> None:
    wrong = project.run("executions", "show", "no such order")

    assert wrong.code == 2
    assert "is not an id" in wrong.err


def test_the_list_is_newest_first_and_comes_in_pages(
    project: Project, seed: Seed
) -> None:
    seed({f"order-{n}": PAY for n in range(5)}, run=False)

    first = project.run("executions", "list", "-o", "json", "--limit", 3)
    cursor = first.json["cursor"]
    second = project.run("executions", "list", "-o", "json", "--cursor", cursor)
    lines = project.run("executions", "list", "-o", "jsonl").out.splitlines()

    pages = [[e["id"] for e in page.json["executions"]] for page in (first, second)]
    assert pages == [["order-4", "order-3", "order-2"], ["order-1", "order-0"]]
    listed = [
        name for name in EXECUTION_FIELDS if name not in {"data", "result", "attempts"}
    ]
    assert list(first.json["executions"][0]) == listed
    assert f"--cursor {cursor}" in first.err
    assert second.json["cursor"] is None
    assert len(lines) == 5


def test_the_list_is_filtered(project: Project, seed: Seed) -> None:
    seed({"order-1": PAY, "declined-1": DECLINE})
    seed({"order-2": PAY}, run=False)

    def ids(*filters: str) -> set[str]:
        listed = project.run("executions", "list", "-o", "json", *filters)
        return {each["id"] for each in listed.json["executions"]}

    assert ids("--status", "failed") == {"declined-1"}
    assert ids("--function", "payments", "--status", "completed") == {"order-1"}
    assert ids("--id-prefix", "order", "--function", "process-payment") == {
        "order-1",
        "order-2",
    }
    assert ids("--since", "1h") == {"order-1", "order-2", "declined-1"}
    assert ids("--until", "1h") == set()


def test_a_filter_that_cannot_be_is_refused(project: Project) -> None:
    wrong = project.run("executions", "list", "--status", "done")
    none = project.run("executions", "list", "--status", "failed")

    assert wrong.code == 2
    assert "there are: queued, processing, retrying" in wrong.err
    assert none.code == 0
    assert none.out == ""
    assert none.err.endswith(f"\nno execution fits in {project.database}\n")


def test_the_list_for_people_has_one_line_each(project: Project, seed: Seed) -> None:
    seed({"order-1": PAY, "declined-1": DECLINE})

    header, *lines = project.run("executions", "list").out.splitlines()

    assert header.split() == ["ID", "STATUS", "EVENT", "ATTEMPTS", "CREATED", "TOOK"]
    rows = {line.split()[0]: line.split()[1:4] for line in lines}
    assert rows == {
        "order-1": ["completed", "process-payment", "1"],
        "declined-1": ["failed", "decline-payment", "1"],
    }


def test_a_result_is_there_or_it_is_told_why_not(project: Project, seed: Seed) -> None:
    seed({"order-0001": PAY, "declined-1": DECLINE})
    seed({"order-0002": PAY}, run=False)

    done = project.run("executions", "result", "order-0001", "-o", "json")
    failed = project.run("executions", "result", "declined-1", "-o", "json")
    live = project.run("executions", "result", "order-0002")
    waited = project.run("executions", "result", "order-0002", "--timeout", "0.1")
    project.run("executions", "cancel", "order-0002", "--reason", "too late")
    cancelled = project.run("executions", "result", "order-0002", "--wait")

    assert done.json == {
        "id": "order-0001",
        "status": "completed",
        "result": "txn-ada-5",
    }
    assert (failed.code, failed.out) == (1, "")
    assert "[WF3003]" in failed.err
    assert live.code == 5
    assert "is queued and has no result yet: wait for it with --wait" in live.err
    assert waited.code == 124
    assert cancelled.code == 1
    assert "was cancelled: too late [WF3004]" in cancelled.err


def test_retry_and_cancel_say_what_they_did_or_why_not(
    project: Project, seed: Seed
) -> None:
    seed({"declined-1": DECLINE, "order-0001": PAY})

    retried = project.run("executions", "retry", "declined-1", "-o", "json")
    again = project.run("executions", "retry", "declined-1", "-o", "json")
    done = project.run("executions", "cancel", "order-0001")

    assert retried.json == {"id": "declined-1", "status": "queued"}
    assert retried.err == "execution declined-1 is queued again\n"
    assert (again.code, again.out) == (5, "")
    assert "[WF3005]" in again.err
    assert done.code == 5
    assert "has completed and cannot be cancelled" in done.err
    steps = project.run("executions", "show", "declined-1", "-o", "json").json["steps"]
    assert [step["title"] for step in steps] == ["Validate payment"]


def test_headers_and_tags_are_sent_shown_and_listed(project: Project) -> None:
    headers = ("--header", "tenant=a=b", "--header", "trace=1")
    sent = project.run(
        *("send", "process-payment", "-d", "null", "--id", "order-1"),
        *headers,
        *("-t", "blue", "--tag", "tall"),
    )
    project.run("send", "process-payment", "-d", "null", "--id", "order-2")

    listed = project.run("executions", "list", "--tag", "tall", "-o", "json").json
    shown = project.run("executions", "show", "order-1")
    wrong = project.run("send", "process-payment", "-d", "null", "--header", "trace")

    assert sent.code == 0
    assert [each["id"] for each in listed["executions"]] == ["order-1"]
    assert listed["executions"][0]["headers"] == {"tenant": "a=b", "trace": "1"}
    assert listed["executions"][0]["tags"] == ["blue", "tall"]
    assert re.search(r"^tags +blue, tall$", shown.out, re.MULTILINE)
    assert wrong.code == 2
    assert '--header "trace" has no "="' in wrong.err


def test_several_attempts_are_shown(project: Project, seed: Seed) -> None:
    seed({"declined-1": DECLINE})
    project.run("executions", "retry", "declined-1")
    project.run("worker", "shop:app", "--burst")

    shown = project.run(*APP, "executions", "show", "declined-1").out

    header = r"^ATTEMPT +OUTCOME +STARTED +TOOK +WORKER +ERROR$"
    assert re.search(header, shown, re.MULTILINE)
    row = r"^1 +failed .*Z +.* [0-9a-f]{32} +step \S+.*: NonRetryable: no"
    assert len(re.findall(row, shown, re.MULTILINE)) == 2
