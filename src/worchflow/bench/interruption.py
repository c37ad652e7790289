"""SIGINT and SIGTERM end a measurement where it waits, never where it cleans up."""

from __future__ import annotations

import contextlib
import signal
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator
    from types import FrameType

POLL_SECONDS = 0.1
"""How often whoever waits looks whether a signal came."""

_received = threading.Event()


@contextlib.contextmanager
def signals_noted() -> Generator[None]:
    """Only note SIGINT and SIGTERM; `check` then raises `KeyboardInterrupt`.

    An exception raised wherever the signal happens to arrive could leave a folder
    half removed, or a program running that was just being started.
    """
    _received.clear()
    before = {
        number: signal.signal(number, _note)
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _received.clear()


def check() -> None:
    """Raise `KeyboardInterrupt` if a signal was noted."""
    if _received.is_set():
        raise KeyboardInterrupt


def pause(seconds: float) -> None:
    """Wait so long; `KeyboardInterrupt` as soon as a signal is noted."""
    _received.wait(seconds)
    check()


def _note(_number: int, _frame: FrameType | None) -> None:
    _received.set()
