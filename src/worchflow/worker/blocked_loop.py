"""Reports an event loop that is blocked: by which function and step, and where."""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from typing import TYPE_CHECKING

from ..engine.runner import ExecutionRunner
from ..engine.step_function import StepFunction

if TYPE_CHECKING:
    import asyncio
    from types import FrameType

    from ..engine.attempt import Attempt
    from ..foundations.runtime import Runtime

logger = logging.getLogger("worchflow.worker")


class BlockedLoopWatch:
    """A thread that asks the loop for a turn and reports when none comes."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, after: float, clock: Runtime
    ) -> None:
        self._loop = loop
        self._loop_thread = threading.get_ident()
        self._after = after
        self._clock = clock
        self._last_turn = self._clock.monotonic()
        self._reported = False
        self._ended = threading.Event()
        self._thread = threading.Thread(
            target=self._watch, name="worchflow-loop-watch", daemon=True
        )

    def start(self) -> None:
        """Watch from now on; call it on the loop's own thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread soon."""
        self._ended.set()

    def blocked_for(self) -> float:
        """Seconds since the loop last had a turn."""
        return self._clock.monotonic() - self._last_turn

    def _turn(self) -> None:
        self._last_turn = self._clock.monotonic()
        if self._reported:
            self._reported = False
            logger.warning("the event loop runs again")

    def _watch(self) -> None:
        while not self._clock.wait(self._ended, self._after / 4):
            try:
                self._loop.call_soon_threadsafe(self._turn)
            except RuntimeError:  # the loop is closed
                return
            if not self._reported and self.blocked_for() > self._after:
                self._reported = True
                try:
                    self._report()
                except Exception:
                    # Whether a lease may be renewed hangs on this thread.
                    logger.exception("a blocked event loop could not be reported")

    def _report(self) -> None:
        frames = sys._current_frames()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
        frame = frames.get(self._loop_thread)
        where, extra, depth = _culprit(frame)
        # Without the frames of the loop and the engine, which are always the same.
        stack = "".join(traceback.format_stack(frame, depth)) if frame else ""
        logger.warning(
            "the event loop has been blocked for %.1f s %s: nothing else of this "
            "worker runs meanwhile, its lease is kept. Use a plain def for blocking "
            "code, it runs in a thread. Stack:\n%s",
            self.blocked_for(),
            where,
            stack,
            extra=extra,
        )


def _culprit(
    frame: FrameType | None,
) -> tuple[str, dict[str, object], int | None]:
    """Which step or handler a stack belongs to, and how many frames are its own."""
    depth = 0
    while frame is not None:
        owner = frame.f_locals.get("self")
        if isinstance(owner, StepFunction):
            title = owner.call.title
            return _place(owner.attempt, title), _extra(owner.attempt, title), depth
        if isinstance(owner, ExecutionRunner):
            return _place(owner.attempt, None), _extra(owner.attempt, None), depth
        frame, depth = frame.f_back, depth + 1
    return "outside any handler", {}, None


def _place(attempt: Attempt, title: str | None) -> str:
    step = f'step "{title}" of ' if title else ""
    return f"by {step}{attempt.function.id}, execution {attempt.claim.execution.id}"


def _extra(attempt: Attempt, title: str | None) -> dict[str, object]:
    return {**attempt.fields, "step": title}
