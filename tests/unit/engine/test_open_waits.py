"""Who gets an event that several open waits of one attempt may take."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from worchflow.engine.open_waits import OpenWaits
from worchflow.model.events import StoredEvent


@dataclass(eq=False)
class Wait:
    """A wait that may take all but some events."""

    never: set[str] = field(default_factory=set)

    def may_take(self, event: StoredEvent) -> bool:
        return event.id not in self.never


def event(id: str) -> StoredEvent:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    return StoredEvent(id=id, name="news", data="null", key=None, at=at)


@pytest.fixture
def three() -> tuple[OpenWaits, list[Wait]]:
    """Three open waits."""
    open_waits, waits = OpenWaits(), [Wait(), Wait(), Wait()]
    for wait in waits:
        open_waits.add(wait)
    return open_waits, waits


def test_an_event_is_promised_to_the_first_that_has_none(
    three: tuple[OpenWaits, list[Wait]],
) -> None:
    open_waits, (first, second, third) = three

    assert open_waits.promise(event("a"), third) is first
    assert open_waits.promise(event("b"), third) is second
    assert open_waits.promise(event("c"), third) is third

    assert set(open_waits.promised) == {"a", "b", "c"}
    assert open_waits.promised_to(first) == event("a")
    assert open_waits.promised_to(first) == event("a")


def test_who_found_it_comes_before_who_was_asked_for_later_or_may_not_take_it(
    three: tuple[OpenWaits, list[Wait]],
) -> None:
    open_waits, (first, second, third) = three
    first.never.add("a")

    assert open_waits.promise(event("a"), second) is second
    assert open_waits.promised_to(third) is None


def test_what_is_forgone_or_left_is_promised_no_more(
    three: tuple[OpenWaits, list[Wait]],
) -> None:
    open_waits, (first, second, third) = three
    open_waits.promise(event("a"), third)
    open_waits.promise(event("b"), third)

    open_waits.forgo(first)
    assert open_waits.remove(second)
    assert not open_waits.remove(first)
    assert not open_waits.remove(first)

    assert set(open_waits.promised) == set()
    assert list(open_waits) == [third]
