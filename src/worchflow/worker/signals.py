"""SIGINT and SIGTERM: the first drains the worker, the second stops it now."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from types import FrameType
    from typing import TypeAlias

    Handler: TypeAlias = (
        Callable[[int, FrameType | None], object] | int | signal.Handlers | None
    )

logger = logging.getLogger("worchflow.worker")

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class _Terminated(BaseException):
    """SIGTERM, raised where it arrives."""


@contextlib.contextmanager
def end_on_sigterm() -> Generator[None]:
    """SIGTERM ends the block, until there is a worker whose loop receives it.

    The kernel drops a SIGTERM that the first process of a container has no handler
    for: stopped while it imports its app, it would be killed at last. To be called in
    the main thread.
    """

    def end(_number: int, _frame: FrameType | None) -> None:
        raise _Terminated

    before = signal.signal(signal.SIGTERM, end)
    _CHILD_SIGNALS.before[signal.SIGTERM] = before
    try:
        yield
    except _Terminated:
        logger.info("SIGTERM received: the worker had not started yet")
    finally:
        signal.signal(signal.SIGTERM, before)
        _CHILD_SIGNALS.before.pop(signal.SIGTERM, None)


@contextlib.contextmanager
def stop_on_signals(
    drain: Callable[[], object], stop_now: Callable[[], object]
) -> Generator[list[signal.Signals]]:
    """Call `drain` on the first signal and `stop_now` on every later one.

    Yields the signals received so far. Outside the main thread signals cannot be
    received; then nothing is installed. A forked child receives its own signals in
    the way it would without a worker.
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
            before = signal.getsignal(number)
            with contextlib.suppress(RuntimeError, ValueError, NotImplementedError):
                loop.add_signal_handler(number, receive, number)
                installed.append(number)
                _CHILD_SIGNALS.before.setdefault(number, before)
        yield received
    finally:
        for number in installed:
            loop.remove_signal_handler(number)
            _CHILD_SIGNALS.before.pop(number, None)


class _ChildSignals:
    """Gives a child its signals back.

    It inherits the handlers, which write to a socket that its parent reads: a signal
    to the child alone would stop the parent, and not the child.
    """

    def __init__(self) -> None:
        self.before: dict[signal.Signals, Handler] = {}
        """The handlers that were there before a worker's."""
        self._blocked = threading.local()

    def block(self) -> None:
        """Let no signal arrive between the fork and the child's `restore`."""
        self._blocked.mask = (
            signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS) if self.before else None
        )

    def unblock(self) -> None:
        """Undo `block`; what has arrived meanwhile is handled now."""
        mask = self._blocked.mask
        if mask is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def restore(self) -> None:
        """Put the child's handlers back, then `unblock`."""
        if self.before:
            signal.set_wakeup_fd(-1)
        for number, before in self.before.items():
            signal.signal(number, _for_child(number, before))
        self.before.clear()
        self.unblock()


def _for_child(number: signal.Signals, before: Handler) -> Handler:
    """The handler of a child; that of `asyncio.run` would cancel the parent's task."""
    owner = getattr(before, "func", before) if callable(before) else None
    if before is None or isinstance(getattr(owner, "__self__", None), asyncio.Runner):
        is_interrupt = number is signal.SIGINT
        return signal.default_int_handler if is_interrupt else signal.SIG_DFL
    return before


_CHILD_SIGNALS = _ChildSignals()

if sys.platform != "win32":
    os.register_at_fork(
        before=_CHILD_SIGNALS.block,
        after_in_parent=_CHILD_SIGNALS.unblock,
        after_in_child=_CHILD_SIGNALS.restore,
    )
