"""A runner for tests of what contexts and steps pass on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from worchflow.definitions.calls import StepCall


class Recorder:
    """A runner that keeps the calls and answers with a step's title."""

    def __init__(self) -> None:
        self.calls: list[StepCall] = []
        self.keys: list[tuple[str | None, str | None]] = []
        self.cancelled = False
        self.log = logging.LoggerAdapter(logging.getLogger("test"))

    def run(self, call: StepCall) -> Coroutine[Any, Any, Any]:
        self.calls.append(call)
        return asyncio.sleep(0, call.title)

    def run_blocking(self, call: StepCall) -> Any:
        self.calls.append(call)
        return call.title

    def idempotency_key(self, title: str | None, key: str | None) -> str:
        self.keys.append((title, key))
        return "stable"


def charge(*args: Any, **kwargs: Any) -> None: ...
