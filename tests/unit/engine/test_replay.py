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


def test_what_has_lost_a_race_is_not_asked_for() -> None:
    replay = Replay(["a", "lost"], told=False, clock=lambda: 0.0)
    replay.held.append(line(1))

    replay.leave_out("never recorded")
    replay.leave_out("lost")
    assert replay.continues
    replay.ask_for("a")

    assert not replay.continues
    assert not replay.held


def test_a_replay_took_as_long_as_it_lasted_and_what_was_repeated_later() -> None:
    times = iter([10.0, 12.0, 20.0, 25.0, 30.0, 31.0])
    replay = Replay(["a", "b"], told=False, clock=lambda: next(times))

    replay.ask_for("new")
    assert replay.took == 2.0
    with replay.counted():
        replay.ask_for("a")
    with replay.counted():
        replay.ask_for("b")

    assert replay.took == 2.0 + 5.0 + 1.0


def test_what_is_repeated_before_the_end_counts_once() -> None:
    times = iter([10.0, 11.0, 13.0])
    replay = Replay(["a", "b"], told=False, clock=lambda: next(times))

    with replay.counted():
        replay.ask_for("a")
    replay.ask_for("b")

    assert replay.took == 3.0
