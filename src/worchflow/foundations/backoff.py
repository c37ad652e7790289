"""Pauses between tries, longer each time."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


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
        self._first = self._next = first
        self._longest = longest
        self._factor = factor

    def pause(self) -> float:
        """Seconds to wait before the next try."""
        pause = self._next * (0.5 + self._random())
        self._next = min(self._next * self._factor, self._longest)
        return pause

    def reset(self) -> None:
        """Begin with the shortest pause again."""
        self._next = self._first
