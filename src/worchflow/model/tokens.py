"""Tokens: waits for an answer from outside, and its place in the log of events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .records import ExecutionStatus
    from .waits import StoredWait


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredToken:
    """The wait for an answer to a token, as whoever answers finds it."""

    execution_id: str
    status: ExecutionStatus
    wait: StoredWait
    answer_schema: str
    """What an answer has to look like, as JSON Schema."""


ANSWER_EVENT = "\x1fanswer"
"""The name in the log of the answer to a token, whose key is the token's id.

Nobody can emit an event of this name, for it is not printable.
"""
NO_ANSWER = "\x1fno answer"
"""The name of what stands in the log in place of an answer that came too late."""


def answer_id(token_id: str) -> str:
    """The id of the only event that ends the wait for an answer."""
    return f"token:{token_id}"
