"""An outage is told at once and then now and then, with a count."""

from __future__ import annotations

import logging

import pytest

from worchflow.foundations.repeated_lines import RepeatedLines

logger = logging.getLogger("worchflow.worker")


def test_lines_of_one_kind_are_one_in_a_while_with_a_count(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = 100.0
    lines = RepeatedLines(every=30, clock=lambda: now)

    for number in range(5):
        lines.warning(logger, "%s of %d", "saving", number, extra={"number": number})
        now += 1
    lines.warning(logger, "another %s", "kind")
    now = 130.0
    lines.warning(logger, "%s of %d", "saving", 7)
    now = 200.0
    lines.warning(logger, "%s of %d", "saving", 8)

    assert [record.getMessage() for record in caplog.records] == [
        "saving of 0",
        "another kind",
        "saving of 7 (and 4 more lines like this one in the last 30 s)",
        "saving of 8",
    ]
    assert vars(caplog.records[0])["number"] == 0
