"""Whether an attempt still repeats what earlier ones did; it logs less meanwhile."""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

LOGGER = logging.getLogger("worchflow.execution")

MAX_HELD_LINES = 1000
"""Lines that an attempt holds back; of more, the newest."""


class Replay:
    """Whether an attempt still repeats what earlier ones did.

    It does until every step that was recorded before it was asked for, or one that
    was not. `told`: what is logged meanwhile is logged all the same, and marked.
    """

    __slots__ = ("_left", "_recorded", "held", "told")

    def __init__(self, recorded: Iterable[str], *, told: bool) -> None:
        self._recorded = frozenset(recorded)
        self._left = set(self._recorded)
        self.told = told
        self.held: deque[logging.LogRecord] = deque(maxlen=MAX_HELD_LINES)
        """Lines that earlier attempts have logged, if the replay ends as it should."""

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
        if not self._left:
            self.held.clear()

    def tell_held(self) -> None:
        """Log what was held back: the attempt ended otherwise than those before it."""
        while self.held:
            LOGGER.handle(self.held.popleft())
