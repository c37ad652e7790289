"""A damaged row of an event is in nobody's way."""

from __future__ import annotations

import contextlib
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

from tests.stores import claimed
from worchflow.model.events import NewEvent
from worchflow.model.step_kind import StepKind
from worchflow.model.waits import AwaitedEvent, NewWait
from worchflow.storage.sqlite.backend import SQLiteBackend

EARLY = datetime(2020, 1, 1, tzinfo=UTC)


async def test_an_event_without_a_moment_is_left_out(
    backend: SQLiteBackend, path: Path
) -> None:
    claim = await claimed(backend)
    every = AwaitedEvent(name="news", key=None, since=EARLY)
    new = NewWait(step_id="s", kind=StepKind.WAIT, title="wait", event=every)
    (wait,) = await backend.waits.add(claim, [new])
    await backend.events.append(NewEvent(id="damaged", name="news", data="1"))
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE events SET accepted_at = 'soon'")
        connection.commit()

    assert (await backend.events.find(claim, wait, ())).event is None
    good = await backend.events.append(NewEvent(id="good", name="news", data="1"))
    assert (await backend.events.find(claim, wait, ())).event == good
