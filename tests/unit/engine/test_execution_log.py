"""Lines of `ctx.log` carry their execution, and wait on a replay."""

from __future__ import annotations

import logging

import pytest

from worchflow.engine.execution_log import ExecutionLog
from worchflow.engine.replay import Replay

FIELDS = {"execution_id": "e-1", "function": "pay", "attempt": 2}


def test_a_line_carries_what_it_is_about(caplog: pytest.LogCaptureFixture) -> None:
    log = ExecutionLog(FIELDS, Replay([], told=False, clock=lambda: 0.0))

    log.warning("charged %d", 7, extra={"amount": 7, "function": "the caller's"})

    (record,) = caplog.records
    assert record.getMessage() == "charged 7"
    assert (record.name, record.levelno) == ("worchflow.execution", logging.WARNING)
    carried = {name: record.__dict__[name] for name in (*FIELDS, "step", "amount")}
    own = {"function": "the caller's", "step": None, "amount": 7}
    assert carried == FIELDS | own
    assert not hasattr(record, "replay")


@pytest.mark.parametrize("told", [False, True])
def test_a_line_of_a_replay_waits_or_is_marked(
    told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    replay = Replay(["a"], told=told, clock=lambda: 0.0)
    log = ExecutionLog(FIELDS, replay)

    log.warning("again")

    assert len(caplog.records) == told
    (record,) = caplog.records or replay.held
    assert record.__dict__["replay"] is True


def test_a_level_that_is_off_makes_no_line(caplog: pytest.LogCaptureFixture) -> None:
    log = ExecutionLog(FIELDS, Replay([], told=False, clock=lambda: 0.0))
    with caplog.at_level(logging.ERROR, "worchflow.execution"):
        log.warning("not now")

    assert caplog.records == []
