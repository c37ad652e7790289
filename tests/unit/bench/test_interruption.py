"""A signal ends a measurement where it waits, and nowhere else."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from worchflow.bench.driver import Program
from worchflow.bench.interruption import check, pause, signals_noted
from worchflow.bench.places import SQLiteStore

SIGNALS = [signal.SIGINT, signal.SIGTERM]


@pytest.mark.parametrize("number", SIGNALS)
def test_what_is_being_removed_is_removed_although_a_signal_comes(
    number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "worchflow.bench.places.folder_of",
        lambda database: (signal.raise_signal(number), tmp_path / "sockets")[1],
    )
    store = SQLiteStore(tmp_path, "strict")

    with signals_noted():
        with store.place():
            assert list(tmp_path.iterdir()) != []
        with pytest.raises(KeyboardInterrupt):
            check()

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", SIGNALS)
def test_who_waits_for_a_program_is_interrupted(number: signal.Signals) -> None:
    command = (sys.executable, "-c", "input()")
    with signals_noted(), Program(command, {}) as program:
        signal.raise_signal(number)
        with pytest.raises(KeyboardInterrupt):
            program.answer()
        with pytest.raises(KeyboardInterrupt):
            program.hear(60)
        with pytest.raises(KeyboardInterrupt):
            program.close()
        with pytest.raises(KeyboardInterrupt):
            pause(60)


def test_signals_mean_afterwards_what_they_meant_before() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with signals_noted():
        signal.raise_signal(signal.SIGTERM)

    assert [signal.getsignal(number) for number in SIGNALS] == before
    check()
