"""Whether this process may still act for an execution, and why it has to stop."""

from __future__ import annotations

import asyncio
from enum import Enum
from typing import Protocol


class Interruption(Enum):
    """Why an attempt ends before its handler does."""

    TIMEOUT = "the function's timeout"
    DEADLINE = "the execution's deadline"
    CANCELLED = "the execution was cancelled"
    STOPPING = "the worker stops"
    LOST = "the worker lost its lease"
    OUTDATED = "other values than this attempt has are recorded"
    SUSPENDED = "it leaves the worker while it waits"


class Interrupted(asyncio.CancelledError):
    """Unwinds a handler or step whose attempt has ended.

    A `BaseException`, so that `except Exception` in user code lets it pass and
    `finally` still runs; raised from `step.run` in threads too.
    """


class Ownership(Protocol):
    """The lease under which an execution was claimed."""

    def holds(self) -> bool:
        """Whether a step may start now. Asked from any thread, right before it."""
        ...

    async def regain(self) -> None:
        """Wait until it holds again; `Interrupted` when it is lost for good."""
        ...
