"""Whether an attempt still repeats what earlier ones did; it logs less meanwhile."""

from __future__ import annotations

import logging
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

LOGGER = logging.getLogger("worchflow.execution")

MAX_HELD_LINES = 1000
"""Lines that an attempt holds back; of more, the newest."""


class Replay:
    """Whether an attempt still repeats what earlier ones did.

    It does until every step that was recorded before it was asked for, or one that
    was not. `told`: what is logged meanwhile is logged all the same, and marked.
    """

    __slots__ = (
        "_added",
        "_began",
        "_clock",
        "_left",
        "_recorded",
        "_took",
        "held",
        "told",
    )

    def __init__(
        self, recorded: Iterable[str], *, told: bool, clock: Callable[[], float]
    ) -> None:
        """`clock` is in seconds, for how long it takes."""
        self._recorded = frozenset(recorded)
        self._left = set(self._recorded)
        self._clock = clock
        self._began = clock() if self._left else 0.0
        self._took: float | None = None if self._left else 0.0
        self._added = 0.0
        self.told = told
        self.held: deque[logging.LogRecord] = deque(maxlen=MAX_HELD_LINES)
        """Lines that earlier attempts have logged, if the replay ends as it should."""

    @property
    def took(self) -> float:
        """Seconds from the beginning to the end of the replay, or until now."""
        if self._took is None:
            return self._clock() - self._began
        return self._took + self._added

    @property
    def continues(self) -> bool:
        """Whether nothing new has happened yet."""
        return bool(self._left)

    def ask_for(self, step_id: str) -> None:
        """Take note of a step that the handler asks for."""
        if step_id in self._recorded:
            self._left.discard(step_id)
        else:
            self._left.clear()
        self._end_if_over()

    def leave_out(self, step_id: str) -> None:
        """Take note of a step that will not be asked for, recorded or not."""
        if self._left:
            self._left.discard(step_id)
            self._end_if_over()

    @contextmanager
    def counted(self) -> Generator[None]:
        """Count what is repeated within as well, although new things have happened."""
        is_over, began = not self._left, self._clock()
        yield
        if is_over:
            self._added += self._clock() - began

    def _end_if_over(self) -> None:
        if not self._left:
            self.held.clear()
            if self._took is None:
                self._took = self._clock() - self._began

    def tell_held(self) -> None:
        """Log what was held back: the attempt ended otherwise than those before it."""
        while self.held:
            LOGGER.handle(self.held.popleft())
