"""The demo tells the truth: it ends well only if no recorded step ran twice."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "examples" / "demo" / "kill_and_resume.py"


@pytest.fixture(scope="module")
def demo() -> ModuleType:
    """The demo's script as a module."""
    spec = importlib.util.spec_from_file_location("kill_and_resume", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["kill_and_resume"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def story(demo: ModuleType) -> Any:
    """A run that went well: worker 1 was killed in the fourth step of five."""
    steps = demo.STEPS
    ledger = [
        demo.Entry(what, step, pid, f"payment {step}" if what == "done" else "")
        for pid, done in ((1, steps[:3]), (2, steps[3:]))
        for step in done
        for what in ("start", "done")
    ]
    ledger.append(demo.Entry("start", steps[3], 1, ""))
    ledger.append(demo.Entry("done", "Charge the card", 1, "payment"))
    return demo.Story(
        killed=1,
        resumed=2,
        ledger=ledger,
        recorded_at_kill=list(steps[:3]),
        recorded_at_end=list(steps),
        result=f"payment {steps[4]}",
    )


@pytest.mark.timeout(90)
def test_the_demo_kills_a_worker_and_shows_what_ran_where() -> None:
    shown = subprocess.run(
        [sys.executable, str(SCRIPT)],
        capture_output=True,
        text=True,
        timeout=80,
        check=False,
        env={"DEMO_STEP_SECONDS": "0.5", "PATH": ""},
    )

    assert shown.returncode == 0, shown.stdout + shown.stderr
    table = {
        line[2:20].strip(): line[20:].split()[:2] for line in shown.stdout.splitlines()
    }
    assert table["Reserve the item"] == ["1", "0"]
    assert table["Charge the card"] == ["1", "0"]
    assert table["Write the invoice"] == ["1", "0"]
    assert table["Post the parcel"] == ["0", "1"]
    assert "SIGKILL" in shown.stdout
    assert "none of them ran twice; result right" in shown.stdout
    assert "\x1b" not in shown.stdout


def test_a_good_run_breaks_no_promise(demo: ModuleType, story: Any) -> None:
    assert story.broken_promises() == []
    assert demo.report(story) == 0


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda demo, story: {
                "ledger": [*story.ledger, demo.Entry("start", demo.STEPS[1], 2, "")]
            },
            '"Charge the card" was recorded and started 2 times',
        ),
        (
            lambda demo, story: {
                "ledger": [
                    *story.ledger,
                    *(demo.Entry("start", demo.STEPS[3], 2, "") for _ in range(2)),
                ]
            },
            '"Pack the parcel" started 4 times',
        ),
        (
            lambda demo, story: {"recorded_at_end": story.recorded_at_end[:4]},
            "the records at the end are",
        ),
        (
            lambda demo, story: {"recorded_at_kill": story.recorded_at_kill[:2]},
            "the kill came before the third record",
        ),
        (lambda demo, story: {"result": "something else"}, "is not the last step's"),
        (lambda demo, story: {"resumed": 3}, "the second worker ran no step"),
    ],
)
def test_a_run_that_broke_a_promise_is_told_and_fails(
    demo: ModuleType,
    story: Any,
    change: Any,
    says: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    bad = replace(story, **change(demo, story))

    assert demo.report(bad) == 1
    assert "BROKEN" in capsys.readouterr().out
    assert any(says in each for each in bad.broken_promises())
