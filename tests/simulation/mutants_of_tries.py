"""The rules of steps that wait between their tries, taken out one by one."""

from __future__ import annotations

from typing import Any

from tests.simulation.mutant import Change, Mutant
from worchflow.engine.operations import run
from worchflow.storage.redis_mongo import waits

MOST = 2**40
"""Above every count of tries."""


def _counted_anew() -> list[Change]:
    real = run.Run._wait

    async def wait(self: Any, stored: Any, after: str = "") -> None:
        tries = self.tries
        await real(self, stored, after)
        self.tries = tries

    return [(run.Run, "_wait", wait)]


def _not_waited_for_again() -> list[Change]:
    real = run.Run._wait

    async def wait(self: Any, stored: Any, after: str = "") -> None:
        if after:
            await real(self, stored, after)
        self.tries = stored.tries

    return [(run.Run, "_wait", wait)]


def _first_count_kept() -> list[Change]:
    return [(waits, "count_of", lambda _: MOST)]


MUTANTS_OF_TRIES = (
    Mutant(
        "tries counted anew",
        "a step is tried more often than it may be",
        _counted_anew,
    ),
    Mutant(
        "next try not waited for after a suspension",
        "a wake-up or a crash hurries it",
        _not_waited_for_again,
    ),
    Mutant(
        "first count of tries kept",
        "what is known of a step is that it was tried once",
        _first_count_kept,
    ),
)
