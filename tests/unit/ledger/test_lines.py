"""The lines of a ledger: written, read again, and torn ones counted."""

from __future__ import annotations

from pathlib import Path

import pytest

from worchflow import ConfigurationError
from worchflow.ledger import Kind, Ledger, Plan, read

PLAN = Plan(
    executions=1, faults={"kill": 1}, mid_step=1, slots=1, width=1, drained_within=60
)


def test_what_is_written_is_read_and_torn_lines_are_counted(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger")
    ledger.plan(PLAN)
    ledger.write(Kind.START, execution="e", step="a", token=3, attempt=1)
    ledger.close()
    with (tmp_path / "ledger").open("a") as file:
        file.write('{"kind": "start", "ti')

    lines, torn = read(tmp_path / "ledger")

    assert torn == 1
    assert [line.kind for line in lines] == [Kind.PLAN, Kind.START]
    assert (lines[1].execution, lines[1].token) == ("e", 3)
    assert lines[1].time >= lines[0].time > 0


def test_lines_of_several_files_are_told_by_their_time(tmp_path: Path) -> None:
    first, second = Ledger(tmp_path / "first"), Ledger(tmp_path / "second")
    first.write(Kind.START, execution="e", step="a", token=1)
    second.write(Kind.START, execution="e", step="b", token=1)
    first.write(Kind.DONE, execution="e", step="a", token=1)

    lines, _ = read(second.path, first.path)

    told = [(line.kind, line.step) for line in lines]
    assert told == [(Kind.START, "a"), (Kind.START, "b"), (Kind.DONE, "a")]
    first.close()
    second.close()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[1]",
        '"start"',
        "{}",
        '{"kind":"start"}',
        '{"kind":"sprint","time":1.0,"pid":1}',
        '{"kind":"start","time":"now","pid":1}',
        '{"kind":"start","time":1.0,"pid":1,"execution":5}',
        '{"kind":"start","time":1.0,"pid":1,"colour":"red"}',
        '{"kind":"plan","time":1.0,"pid":1,"value":{"executions":1,"goats":2}}',
        '{"kind":"plan","time":1.0,"pid":1}',
        "[" * 100_000,
        "\x00\x01",
    ],
)
def test_what_is_no_line_of_a_ledger_is_counted_as_torn(
    tmp_path: Path, text: str
) -> None:
    path = tmp_path / "ledger"
    path.write_text(f"{text}\n")

    assert read(path) == ([], 1)


def test_a_fault_that_could_not_be_injected_is_not_told(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger")
    with pytest.raises(ProcessLookupError), ledger.fault("kill", 7):
        raise ProcessLookupError
    with ledger.fault("kill", 8):
        pass
    ledger.close()

    lines, _ = read(ledger.path)
    assert [(line.fault, line.target) for line in lines] == [("kill", 8)]
    assert lines[0].asked <= lines[0].time


def test_a_ledger_that_cannot_be_opened_names_its_path(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no-folder"):
        Ledger(tmp_path / "no-folder" / "ledger")
    with pytest.raises(ConfigurationError, match="missing"):
        read(tmp_path / "missing")
