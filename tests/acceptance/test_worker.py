"""`worchflow worker`: signals, bursts, logs, and what it refuses."""

from __future__ import annotations

import json
import signal

import pytest

from tests.acceptance.conftest import Seed
from tests.command_line import Process, Project

PAY = ("process-payment", {"amount": 5})
HOLD = ("hold-payment", {"gate": "gate"})
STEPPING = "hold-payment held-0001 started"


def status(project: Project, execution_id: str) -> str:
    shown = project.run("executions", "show", execution_id, "-o", "json")
    return str(shown.json["status"])


def test_a_burst_does_what_is_due_and_ends(project: Project, seed: Seed) -> None:
    seed({f"order-000{n}": PAY for n in range(5)}, run=False)
    seed({"declined-1": ("decline-payment", {})}, run=False)
    project.run(
        *("send", "process-payment", "-d", '{"amount": 1}', "--delay", "1h"),
        *("--app", "shop:app", "--id", "later-0001"),
    )

    burst = project.run("worker", "shop:app", "--burst", "-c", 2)

    assert burst.code == 0
    assert burst.out == ""
    listed = project.run("executions", "list", "-o", "json").json["executions"]
    statuses = {each["id"]: each["status"] for each in listed}
    assert statuses.pop("later-0001") == "queued"
    assert statuses.pop("declined-1") == "failed"
    assert set(statuses.values()) == {"completed"}


def test_a_burst_waits_for_what_runs(project: Project, seed: Seed) -> None:
    seed({"held-0001": HOLD}, run=False)

    with project.start("worker", "shop:app", "--burst", "-c", 2) as worker:
        worker.wait_for_line(STEPPING)
        # The burst's own measure: another execution came and went meanwhile.
        seed_late = project.run(
            *("send", "process-payment", "-d", '{"amount": 1}', "--wait"),
            *("--app", "shop:app"),
        )
        project.write("gate", "")
        burst = worker.wait()

    assert seed_late.code == 0
    assert burst.code == 0
    assert status(project, "held-0001") == "completed"


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)]
)
def test_one_signal_lets_what_runs_finish_and_takes_nothing_new(
    project: Project, seed: Seed, number: signal.Signals, code: int
) -> None:
    seed({"held-0001": HOLD}, run=False)
    with project.start("worker", "shop:app", "-c", 2) as worker:
        worker.wait_for_line(STEPPING)
        worker.send_signal(number)
        worker.wait_for_line(f"{number.name} received: no new executions")
        seed({"order-0001": PAY}, run=False)
        project.write("gate", "")
        stopped = worker.wait()

    assert stopped.code == code
    assert "Traceback" not in stopped.err
    assert status(project, "held-0001") == "completed"
    assert status(project, "order-0001") == "queued"


def test_a_second_signal_hands_back_what_runs(project: Project, seed: Seed) -> None:
    seed({"held-0001": HOLD}, run=False)
    with project.start("worker", "shop:app") as worker:
        worker.wait_for_line(STEPPING)
        worker.send_signal(signal.SIGTERM)
        worker.wait_for_line("SIGTERM received: no new executions")
        worker.send_signal(signal.SIGTERM)
        worker.wait_for_line("received again: stopping now")
        stopped = worker.wait()

    assert stopped.code == 0
    shown = project.run("executions", "show", "held-0001", "-o", "json").json
    assert shown["status"] == "queued"
    assert (shown["attempt_count"], shown["recoveries"]) == (0, 0)
    assert shown["waiting"].startswith("It has been due for")


def test_what_does_not_finish_in_time_is_handed_back(
    project: Project, seed: Seed
) -> None:
    seed({"held-0001": HOLD}, run=False)
    with project.start("worker", "shop:app", "--shutdown-timeout", "0.4s") as worker:
        worker.wait_for_line(STEPPING)
        worker.send_signal(signal.SIGTERM)
        stopped = worker.wait()

    assert stopped.code == 0
    assert status(project, "held-0001") == "queued"


def test_a_killed_worker_s_execution_goes_on_elsewhere(
    project: Project, seed: Seed
) -> None:
    seed({"held-0001": HOLD}, run=False)
    with project.start("worker", "shop:app") as worker:
        worker.wait_for_line(STEPPING)
        worker.send_signal(signal.SIGKILL)
        assert worker.wait().code == -signal.SIGKILL
    project.write("gate", "")

    burst = project.run("worker", "shop:app", "--burst")

    assert burst.code == 0
    shown = project.run("executions", "show", "held-0001", "-o", "json").json
    assert (shown["status"], shown["recoveries"]) == ("completed", 1)
    assert shown["result"] not in (worker.pid, None)


def test_only_the_named_functions_are_served(project: Project, seed: Seed) -> None:
    seed({"order-0001": PAY, "declined-1": ("decline-payment", {})}, run=False)

    burst = project.run("worker", "shop:app", "--burst", "--functions", "payments")
    unknown = project.run("worker", "shop:app", "--functions", "paiments")

    assert burst.code == 0
    assert status(project, "order-0001") == "completed"
    assert status(project, "declined-1") == "queued"
    assert unknown.code == 2
    assert 'no function "paiments", did you mean "payments"?' in unknown.err


def test_json_logs_have_one_object_a_line_with_the_fields_of_the_execution(
    project: Project, seed: Seed
) -> None:
    seed({"order-0001": PAY, "declined-1": ("decline-payment", {})}, run=False)

    burst = project.run("worker", "shop:app", "--burst", "--log-format", "json")

    entries = [json.loads(line) for line in burst.err.splitlines()]
    assert all({"time", "level", "logger", "message"} <= set(each) for each in entries)
    about = [each for each in entries if each.get("execution_id") == "order-0001"]
    assert [(each["function"], each["attempt"]) for each in about] == [
        ("payments", 1)
    ] * len(about)
    assert [each.get("step") for each in about] == [
        *(None, "Validate payment", "Charge provider", None)
    ]
    failure = [each for each in entries if each["level"] == "error"]
    assert [each["execution_id"] for each in failure] == ["declined-1"]


def test_the_log_level_hides_the_rest(project: Project, seed: Seed) -> None:
    seed({"order-0001": PAY}, run=False)

    burst = project.run("worker", "shop:app", "--burst", WORCHFLOW_LOG_LEVEL="warning")

    assert (burst.code, burst.err) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "no app was named"),
        (("--app", "other:app", "worker", "shop:app"), "two apps were named"),
        (("worker", "shop:app", "-A", "other:app"), "two apps were named"),
        (("worker", "shop:app", "-c", "0"), "--concurrency=0 must be a whole number"),
        (("worker", "shop:app", "--log-level", "loud"), "must be one of debug, info"),
        (("worker", "shop:app", "--shutdown-timeout", "x"), "is not a duration"),
        (("worker", "empty:app"), 'the app "empty" has no functions'),
    ],
)
def test_what_cannot_work_is_refused(
    project: Project, arguments: tuple[str, ...], says: str
) -> None:
    project.write(
        "empty.py", 'from worchflow import Worchflow\napp = Worchflow("empty")'
    )

    refused = project.run(*(arguments or ("worker",)))

    assert refused.code == 2
    assert says in refused.err
    assert "[WF1001]" in refused.err
    assert not project.database.exists()


def test_an_interrupt_before_anything_runs_ends_with_130(project: Project) -> None:
    project.write(
        "slow.py", "print('importing', flush=True)\ninput_ = open('pipe').read()"
    )
    import os  # noqa: PLC0415

    os.mkfifo(project.folder / "pipe")
    with project.start("worker", "slow:app") as worker:
        worker.wait_for_line("importing")
        worker.send_signal(signal.SIGINT)
        ended = worker.wait()

    assert ended.code == 130
    assert isinstance(worker, Process)


def test_what_the_lifespan_raises_is_told_as_the_apps_own(project: Project) -> None:
    project.write(
        "lives.py",
        "from contextlib import asynccontextmanager\n"
        "from worchflow import Event, Worchflow\n"
        "@asynccontextmanager\n"
        "async def lifespan(app):\n"
        "    raise ConnectionError('no model server')\n"
        "    yield\n"
        "app = Worchflow('lives', lifespan=lifespan)\n"
        "@app.function('work')\n"
        "async def work(ctx): ...\n",
    )

    refused = project.run("worker", "lives:app")

    assert refused.code == 2
    assert "the app's lifespan raised ConnectionError; see above" in refused.err
    assert "lives.py" in refused.err
    assert "worcher.py" not in refused.err
    assert "bug of Worchflow" not in refused.err
