"""How long the pauses between tries are: those of the library, and retries' growth."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def exponential(first: float, factor: float, longest: float, times: int) -> float:
    """Seconds after `times` pauses: `first` multiplied so often, at most `longest`."""
    try:
        return min(first * factor**times, longest)
    except OverflowError:
        return longest if first else 0.0


class Backoff:
    """Pauses from `first` seconds to `longest`, each `factor` times the one before.

    Each is spread by half of it to either side: many who fail together do not try
    again together. `random` gives numbers from 0 to 1.
    """

    def __init__(
        self,
        random: Callable[[], float],
        *,
        first: float = 0.1,
        longest: float = 5.0,
        factor: float = 2.0,
    ) -> None:
        self._random = random
        self._first = first
        self._factor = factor
        self._longest = longest
        self._times = 0

    def pause(self) -> float:
        """Seconds to wait before the next try."""
        pause = exponential(self._first, self._factor, self._longest, self._times)
        self._times += 1
        return pause * (0.5 + self._random())

    def reset(self) -> None:
        """Begin with the shortest pause again."""
        self._times = 0
