"""What is recorded of the steps of an execution."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ...model.records import Claim, StoredStep


class StepStore(ABC):
    """Recorded steps: written once, never changed."""

    @abstractmethod
    async def all(self, execution_id: str) -> list[StoredStep]:
        """Everything recorded for it, by `started_at`, then in order of recording."""

    @abstractmethod
    async def checkpoint(self, claim: Claim, step: StoredStep) -> StoredStep:
        """Record a step durably and return what is recorded.

        First write wins, whoever holds the claim: when the step was recorded before,
        that record is returned unchanged. A failure that has an `attempt` counts for
        that one alone: once it has ended, its record is void, is not read any more, and
        gives way to a new one. A failure under a claim from before an explicit retry is
        not recorded any more, and nothing under a claim on an earlier execution counts
        for the one that has its id now: `ExecutionNotFound`, or the step as it is
        given. With a completed one a `StepCompleted` notice is published.
        """

    @abstractmethod
    async def flush(self, claim: Claim) -> bool:
        """Return once everything recorded under a claim survives the loss of Redis.

        To be called before anything leaves the execution, on the backend by which the
        claim will be settled. False for a claim that cannot settle with what it has
        made of its steps: then nothing may leave it.
        """
