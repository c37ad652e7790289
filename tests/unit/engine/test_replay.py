"""An attempt repeats earlier ones until it asks for something new."""

from __future__ import annotations

import logging

import pytest

from worchflow.engine.replay import LOGGER, MAX_HELD_LINES, Replay


def line(number: int) -> logging.LogRecord:
    return LOGGER.makeRecord(
        LOGGER.name, logging.INFO, __file__, 1, f"line {number}", (), None
    )


def test_a_replay_ends_with_the_last_of_what_was_recorded() -> None:
    replay = Replay(["a", "b"], told=False, clock=lambda: 0.0)
    for step_id in ("b", "b", "a"):
        assert replay.continues
        replay.ask_for(step_id)

    assert not replay.continues


def test_a_replay_ends_with_a_step_that_was_not_recorded() -> None:
    replay = Replay(["a", "b"], told=False, clock=lambda: 0.0)

    replay.ask_for("c")

    assert not replay.continues


def test_nothing_recorded_is_no_replay() -> None:
    assert not Replay([], told=False, clock=lambda: 0.0).continues


def test_what_was_held_back_is_dropped_where_the_replay_ends_as_it_should(
    caplog: pytest.LogCaptureFixture,
) -> None:
    replay = Replay(["a"], told=False, clock=lambda: 0.0)
    replay.held.append(line(1))

    replay.ask_for("a")
    replay.tell_held()

    assert caplog.messages == []


def test_what_was_held_back_is_logged_where_an_attempt_ends_before(
    caplog: pytest.LogCaptureFixture,
) -> None:
    replay = Replay(["a"], told=False, clock=lambda: 0.0)
    replay.held.extend(map(line, range(MAX_HELD_LINES + 2)))

    replay.tell_held()

    assert caplog.messages[0] == "line 2"
    assert len(caplog.messages) == MAX_HELD_LINES
