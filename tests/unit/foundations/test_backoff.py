"""Pauses grow to a limit, and are spread."""

from __future__ import annotations

from worchflow.foundations.backoff import Backoff


def test_each_pause_is_longer_up_to_the_longest() -> None:
    backoff = Backoff(lambda: 0.5, first=0.1, longest=0.5)

    assert [backoff.pause() for _ in range(5)] == [0.1, 0.2, 0.4, 0.5, 0.5]
    backoff.reset()
    assert backoff.pause() == 0.1


def test_a_pause_is_spread_by_half_of_it_to_either_side() -> None:
    numbers = iter([0.0, 0.999])
    backoff = Backoff(lambda: next(numbers), first=1.0, longest=1.0)

    assert backoff.pause() == 0.5
    assert 1.49 < backoff.pause() < 1.5
