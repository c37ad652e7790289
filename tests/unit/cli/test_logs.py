from __future__ import annotations

import io
import json
import logging
import re
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

import worchflow
from worchflow.cli.logs import JSONFormatter, PrettyFormatter, set_up_logging
from worchflow.foundations.limits import check_id
from worchflow.serialization.exception_text import without_middle

OWN = Path(worchflow.__file__).parent


@pytest.fixture
def _restored_logging() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("worchflow")
    before = root.handlers[:], root.level, ours.level
    yield
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    ours.setLevel(before[2])


def record(message: str, *args: object, **extra: object) -> logging.LogRecord:
    return logging.getLogger("shop").makeRecord(
        "shop", logging.WARNING, "shop.py", 1, message, args, None, extra=extra
    )


def test_a_json_line_carries_the_fields_of_its_execution() -> None:
    line = JSONFormatter().format(
        record("charged %s", "ada", execution_id="e-1", function="pay", attempt=2)
    )

    entry = json.loads(line)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", entry.pop("time"))
    assert entry == {
        "level": "warning",
        "logger": "shop",
        "message": "charged ada",
        "execution_id": "e-1",
        "function": "pay",
        "attempt": 2,
    }


def test_a_json_line_keeps_the_user_s_own_fields_and_stays_one_line() -> None:
    line = JSONFormatter().format(
        record("a\nb\x1b[2J", customer=object, step=None, level="mine")
    )

    assert line.isprintable()
    entry = json.loads(line)
    assert entry["message"] == "a\nb\x1b[2J"
    assert entry["level"] == "warning"
    assert entry["customer"] == "<class 'object'>"
    assert "step" not in entry


def test_an_exception_goes_into_the_json_line() -> None:
    failed = record("failed")
    try:
        raise ValueError("no")
    except ValueError:
        failed.exc_info = sys.exc_info()

    entry = json.loads(JSONFormatter().format(failed))
    assert entry["traceback"].endswith("ValueError: no")


def raise_in_the_library(error: Exception) -> None:
    raising = compile("raise error", str(OWN / "made_up.py"), "exec")
    exec(raising, {"error": error})  # noqa: S102 - so that a frame is of that file


def charge() -> None:
    raise ConnectionError("the bank is closed")


@pytest.mark.parametrize(
    ("raising", "ours"),
    [
        # A fault of ours is to be found, a refusal is of what the user's code did.
        (lambda: without_middle(None, 10), True),  # type: ignore[arg-type]
        (lambda: check_id("ü"), False),
        (charge, False),
        # That of a step says what took too long; one without words is a fault.
        (partial(raise_in_the_library, TimeoutError("took longer than 1 s")), False),
        (partial(raise_in_the_library, TimeoutError()), True),
    ],
)
def test_a_traceback_shows_our_frames_only_for_a_fault_of_ours(
    raising: Callable[[], object], ours: bool
) -> None:
    failed = record("failed")
    try:
        raising()
    except Exception:  # noqa: BLE001
        failed.exc_info = sys.exc_info()

    shown = json.loads(JSONFormatter().format(failed))["traceback"]

    assert (str(OWN) in shown) == ours
    assert "test_logs.py" in shown


def test_a_pretty_line_cannot_look_like_two() -> None:
    text = PrettyFormatter(color=False).format(record("a\n12:00:00 INFO fake\x1b[2J"))

    first, second = text.split("\n")
    assert re.fullmatch(r"\d\d:\d\d:\d\d WARNING  a", first)
    assert second == "    12:00:00 INFO fake\\x1b[2J"


def test_a_pretty_line_of_a_handler_says_whose_it_is() -> None:
    def line(**extra: object) -> str:
        made = logging.getLogger("worchflow.execution").makeRecord(
            "worchflow.execution", 20, "x.py", 1, "hello", (), None, extra=extra
        )
        return PrettyFormatter(color=False).format(made)[18:]

    id_ = "443be08a-6165-4b39-a69c-072ea4e58c5d"
    assert line(execution_id=id_, step="Charge card") == "[443be08a Charge card] hello"
    assert line(execution_id=id_, step=None) == "[443be08a] hello"
    assert line(execution_id="o", step=None, replay=True) == "[o replay] hello"
    assert "[" not in PrettyFormatter(color=False).format(record("x", execution_id=id_))


def test_colour_is_only_in_the_level() -> None:
    text = PrettyFormatter(color=True).format(record("hello"))

    assert "\x1b[33mWARNING \x1b[0m hello" in text


@pytest.mark.usefixtures("_restored_logging")
def test_debug_is_of_the_library_and_info_of_everybody() -> None:
    stream = io.StringIO()
    set_up_logging("pretty", "debug", stream)

    logging.getLogger("worchflow.worker").debug("ours")
    logging.getLogger("asyncio").debug("theirs")
    logging.getLogger("shop").info("the app's")

    lines = [line.split(maxsplit=2)[2] for line in stream.getvalue().splitlines()]
    assert lines == ["ours", "the app's"]


@pytest.mark.usefixtures("_restored_logging")
def test_a_level_hides_what_is_below_it() -> None:
    stream = io.StringIO()
    set_up_logging("pretty", "error", stream)

    logging.getLogger("worchflow.worker").warning("hidden")
    logging.getLogger("shop").warning("hidden")
    logging.getLogger("shop").error("shown")

    assert stream.getvalue().endswith("ERROR    shown\n")
    assert "hidden" not in stream.getvalue()
