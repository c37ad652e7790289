"""`worchflow send`: an event is accepted, checked, and its result waited for."""

from __future__ import annotations

import json
import re
import signal

import pytest

from tests.command_line import Project

UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
PAY = ("--app", "shop:app", "send", "process-payment")


def test_send_prints_the_id_alone(project: Project) -> None:
    sent = project.run(*PAY, "-d", '{"amount": 5}')

    assert sent.code == 0
    assert re.fullmatch(UUID + "\n", sent.out)
    listed = project.run("executions", "show", sent.out.strip(), "-o", "json").json
    assert listed["data"] == {"amount": 5, "customer": "ada"}
    assert listed["status"] == "queued"


def test_send_as_json_tells_whether_it_is_a_duplicate(project: Project) -> None:
    pay = (*PAY, "-d", '{"amount": 5}', "--id", "order-1", "-o", "json")

    assert project.run(*pay).json == {"id": "order-1", "duplicate": False}
    assert project.run(*pay).json == {"id": "order-1", "duplicate": True}


def test_an_id_of_other_work_is_refused(project: Project) -> None:
    project.run(*PAY, "-d", '{"amount": 5}', "--id", "order-1")
    again = project.run(*PAY, "-d", '{"amount": 6}', "--id", "order-1")

    assert again.code == 5
    assert again.out == ""
    assert "other data" in again.err
    assert "[WF3002]" in again.err


def test_sending_without_data_and_without_an_app_says_that_null_is_sent(
    project: Project,
) -> None:
    bare = project.run("send", "anything", "-o", "json")
    given = project.run("send", "anything", "-d", "null", "-o", "json")

    assert "no data was given, so null is sent" in bare.err
    assert "no data was given" not in given.err


def test_without_an_app_any_event_goes_to_the_stores_of_the_environment(
    project: Project,
) -> None:
    sent = project.run(
        *("send", "anything", "-d", '{"a": [1, null]}', "-o", "json"),
        WORCHFLOW_SQLITE_PATH="elsewhere.db",
    )

    assert sent.code == 0
    shown = project.run(
        *("executions", "show", sent.json["id"], "-o", "json"),
        WORCHFLOW_SQLITE_PATH="elsewhere.db",
    )
    assert shown.json["event_name"] == "anything"
    assert shown.json["data"] == {"a": [1, None]}
    assert not project.database.exists()


def test_data_comes_from_a_file_or_from_stdin(project: Project) -> None:
    project.write("pay.json", '{"amount": 7}')
    from_file = project.run(*PAY, "-d", "@pay.json", "--id", "from-file")
    from_stdin = project.run(
        *PAY, "-d", "-", "--id", "from-stdin", stdin='{"amount":8}'
    )

    assert (from_file.code, from_stdin.code) == (0, 0)
    for id_, amount in (("from-file", 7), ("from-stdin", 8)):
        shown = project.run("executions", "show", id_, "-o", "json").json
        assert shown["data"]["amount"] == amount


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ("{amount: 5}", "--data is not JSON"),
        ("@missing.json", "the file cannot be read: No such file"),
        (
            '{"amount": "many"}',
            'unable to parse string as an integer; it is "many" [WF4003]',
        ),
        ("{}", "--data does not fit: $.amount: Field required ["),
        (
            '{"amount": 5, "custmer": "bob"}',
            'has no field "custmer", did you mean "customer"?',
        ),
    ],
)
def test_data_that_does_not_fit_is_refused(
    project: Project, data: str, says: str
) -> None:
    sent = project.run(*PAY, "-d", data)

    assert sent.code == 2
    assert says in sent.err
    assert re.search(r"\[WF4\d\d\d\]\n$", sent.err)
    assert "Traceback" not in sent.err
    assert sent.out == ""
    assert not project.database.exists()


def test_data_may_be_left_out_where_no_field_is_required(project: Project) -> None:
    sent = project.run("-A", "shop:app", "send", "decline-payment", "--id", "d-1")
    refused = project.run(*PAY)

    assert sent.out == "d-1\n"
    shown = project.run("executions", "show", "d-1", "-o", "json").json
    assert shown["data"] == {"text": "declined"}
    assert refused.code == 2
    assert (
        'the event "process-payment" needs data with the field amount: give it with '
        """-d '{"amount": "…"}' [WF4003]"""
    ) in refused.err


@pytest.mark.parametrize(
    ("data_type", "needs_data"), [("int", True), ("int | None", False)]
)
def test_data_of_a_plain_type_may_be_left_out_where_null_is_some(
    project: Project, data_type: str, needs_data: bool
) -> None:
    project.write(
        "plain.py",
        "from worchflow import Worchflow, event\n"
        "app = Worchflow('plain')\n"
        "@app.function(event('count', REPLACED))\n"
        "async def count(ctx): ...\n".replace("REPLACED", data_type),
    )

    sent = project.run("send", "-A", "plain:app", "count", "--id", "c-1")

    told = 'error: the event "count" needs data: give it with -d, as JSON [WF4003]\n'
    assert (sent.err == told) == needs_data
    assert (sent.code, sent.out) == ((2, "") if needs_data else (0, "c-1\n"))


def test_an_app_without_functions_says_so(project: Project) -> None:
    project.write("empty.py", "from worchflow import Worchflow\napp = Worchflow('e')\n")

    sent = project.run("-A", "empty:app", "send", "pay")

    assert sent.code == 2
    assert "It has none: register functions with @app.function(...)" in sent.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("send",), "error: Missing argument 'event'. See worchflow send --help"),
        (("send", "x", "--dta", "1"), "error: No such option: --dta"),
        (("executions", "list", "--limit", "x"), "executions list --help [WF1001]"),
    ],
)
def test_usage_errors_are_told_as_all_others(
    project: Project, arguments: tuple[str, ...], says: str
) -> None:
    refused = project.run(*arguments)

    assert (refused.code, refused.out) == (2, "")
    assert says in refused.err
    assert refused.err.startswith("error: ")
    assert refused.err.endswith("[WF1001]\n")


def test_a_mistyped_event_is_refused_with_the_right_one(project: Project) -> None:
    sent = project.run("-A", "shop:app", "send", "proces-payment", "-d", "{}")

    assert sent.code == 2
    assert 'did you mean "process-payment"?' in sent.err
    assert "[WF4002]" in sent.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--delay", "5x"), "--delay='5x' is not a duration"),
        (("--at", "2030-01-31T08:00:00"), "not a moment with a time zone"),
        (("--at", "2030-01-31T08:00:00Z", "--delay", "5m"), "say when once"),
        (("--id", "a b"), "is not an id"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    project: Project, arguments: tuple[str, ...], says: str
) -> None:
    sent = project.run(*PAY, "-d", '{"amount": 5}', *arguments)

    assert sent.code == 2
    assert says in sent.err
    assert not project.database.exists()


def test_a_delayed_event_says_when_it_is_due(project: Project) -> None:
    project.run(*PAY, "-d", '{"amount": 5}', "--id", "in-an-hour", "--delay", "1h")
    project.run(
        *PAY, "-d", '{"amount": 5}', "--id", "in-2099", "--at", "2099-01-01T00:00:00Z"
    )

    later = project.run("executions", "show", "in-an-hour", "-o", "json").json
    assert later["waiting"].startswith("It was sent with a delay and is due in 59 min")
    much_later = project.run("executions", "show", "in-2099", "-o", "json").json
    assert much_later["run_at"] == "2099-01-01T00:00:00.000Z"


def test_wait_prints_the_result(project: Project) -> None:
    pay = (*PAY, "-d", '{"amount": 5}', "--wait")
    with project.start("worker", "shop:app") as worker:
        worker.wait_for_line("serves")
        for_people = project.run(*pay)
        for_programs = project.run(*pay, "--id", "order-1", "-o", "jsonl")

    assert for_people.code == 0
    assert for_people.out == '"txn-ada-5"\n'
    assert re.search(f"accepted as {UUID}", for_people.err)
    assert for_programs.out.count("\n") == 1
    assert for_programs.json == {
        "id": "order-1",
        "duplicate": False,
        "status": "completed",
        "result": "txn-ada-5",
    }


def test_wait_tells_how_an_execution_failed(project: Project) -> None:
    with project.start("worker", "shop:app") as worker:
        worker.wait_for_line("serves")
        sent = project.run(
            *("send", "decline-payment", "-d", '{"text": "no\\u001b[2J"}'),
            *("--wait", "-o", "json", "--app", "shop:app", "--id", "declined"),
        )

    assert sent.code == 1
    assert sent.out == ""
    assert "NonRetryable: no\\x1b[2J [WF3003]" in sent.err
    assert "in refuse" in sent.err
    assert "worchflow executions retry declined" in sent.err
    assert "\x1b" not in sent.err


def test_waiting_ends_at_its_timeout_and_the_execution_goes_on(
    project: Project,
) -> None:
    sent = project.run(
        *PAY,
        "-d",
        '{"amount": 5}',
        "--id",
        "order-1",
        "--timeout",
        "0.1s",
        "-o",
        "json",
    )

    assert sent.code == 124
    assert sent.out == ""
    assert "execution order-1 has no result after 100 ms: it is queued." in sent.err
    assert "none is running" in sent.err
    assert "wait longer: worchflow executions result order-1 --wait" in sent.err
    shown = project.run("executions", "show", "order-1", "-o", "json").json
    assert shown["status"] == "queued"


def test_ctrl_c_ends_the_waiting(project: Project) -> None:
    pay = (*PAY, "-d", json.dumps({"amount": 5}), "--timeout", "20s")
    with project.start(*pay) as sender:
        sender.wait_for_line("waiting for its result")
        sender.send_signal(signal.SIGINT)
        sent = sender.wait()

    assert sent.code == 130
    assert "interrupted" in sent.err
    assert "Traceback" not in sent.err


def test_an_event_that_no_worker_serves_is_told_with_the_nearest(
    project: Project,
) -> None:
    with project.start("worker", "shop:app") as worker:
        worker.wait_for_line(" serves ")
        wrong = project.run("send", "proces-payment")
        right = project.run("send", "process-payment", "-d", '{"amount": 5}')

    assert wrong.code == 0
    assert (
        'warning: no live worker serves the event "proces-payment", did you mean '
        '"process-payment"?'
    ) in wrong.err
    assert "warning" not in right.err
