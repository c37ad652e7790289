"""Redis keys that hold a value of a foreign type: told once each, with what to do."""

from __future__ import annotations

import logging

logger = logging.getLogger("worchflow.storage.redis_mongo")

MAX_REMEMBERED = 1000
"""How many keys are remembered, to be told only once; the oldest are forgotten."""


class ForeignKeys:
    """Tells of keys that this library cannot write, because another program did."""

    def __init__(self) -> None:
        self._told: dict[str, None] = {}

    def report(self, answer: bytes) -> None:
        """Log the key that a script answered instead of a number, once."""
        key = answer.decode(errors="replace")
        if key in self._told:
            return
        logger.warning(
            "the Redis key %.200r holds a value of a foreign type, so what belongs "
            "there was not written and its execution may not be queued: find out who "
            "wrote it, then delete or rename it (DEL, RENAME); the next sweep queues "
            "what is due",
            key,
        )
        self._told[key] = None
        if len(self._told) > MAX_REMEMBERED:
            del self._told[next(iter(self._told))]
