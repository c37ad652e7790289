"""SIGINT and SIGTERM: the first drains the worker, the second stops it now."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

logger = logging.getLogger("worchflow.worker")

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def stop_on_signals(
    drain: Callable[[], object], stop_now: Callable[[], object]
) -> Generator[list[signal.Signals]]:
    """Call `drain` on the first signal and `stop_now` on every later one.

    Yields the signals received so far. Outside the main thread signals cannot be
    received; then nothing is installed.
    """
    loop = asyncio.get_running_loop()
    received: list[signal.Signals] = []

    def receive(number: int) -> None:
        received.append(signal.Signals(number))
        name = received[-1].name
        if len(received) == 1:
            logger.info(
                "%s received: no new executions, waiting for the running ones; a "
                "second signal stops now and hands them back",
                name,
            )
            drain()
        else:
            logger.warning("%s received again: stopping now", name)
            stop_now()

    installed: list[signal.Signals] = []
    try:
        for number in SIGNALS:
            with contextlib.suppress(RuntimeError, ValueError, NotImplementedError):
                loop.add_signal_handler(number, receive, number)
                installed.append(number)
        yield received
    finally:
        for number in installed:
            loop.remove_signal_handler(number)
