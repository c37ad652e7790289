"""Forks: what a child process inherits of its parent and must not hold or use."""

from __future__ import annotations

import logging
import os
import sys
import threading
from typing import TYPE_CHECKING, Protocol
from weakref import WeakSet

from .runtime import SYSTEM

if TYPE_CHECKING:
    from types import TracebackType

logger = logging.getLogger("worchflow")

LOCK_TIMEOUT_SECONDS = 5.0
"""Seconds that a fork waits for those who are in a `Section`; then it happens."""


class Inherited(Protocol):
    """What has to be put right in a child before any of its code runs."""

    def after_fork(self) -> None:
        """Drop what belongs to the parent; never blocks."""
        ...


class Section:
    """Work of one thread at a time, `with` which no fork happens in another one.

    For libraries with locks of the whole process, as SQLite has them: in a child they
    would stay locked, for the thread that holds them is not there. A thread in one
    section may enter others.
    """

    def __init__(self) -> None:
        self._held = threading.Lock()
        _FORKS.sections.add(self)

    def __enter__(self) -> None:
        # Inside another one no fork can happen, and one that waits would wait for us.
        if _FORKS.depth.enter() == 1:
            with _FORKS.entering:
                self._held.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None:
        if _FORKS.depth.leave() == 0:
            self._held.release()

    def hold(self, timeout: float) -> bool:
        """Keep it empty from now on; False when somebody does not leave it in time."""
        return self._held.acquire(timeout=timeout)

    def release(self) -> None:
        """Undo `hold`."""
        self._held.release()

    def renew(self) -> None:
        """Be empty, in a child: who was in it is not there."""
        self._held = threading.Lock()


def watch(one: Inherited) -> None:
    """Have `after_fork` called in the child of every fork, as long as `one` lives.

    In the child it is never finalised: event loops and connections that it holds
    share descriptors with those of the parent, and closing them there in good order
    would change what the parent sees.
    """
    _FORKS.watched.add(one)


class _Depth(threading.local):
    """In how many sections this thread is."""

    def __init__(self) -> None:
        self._sections = 0

    def enter(self) -> int:
        """One more."""
        self._sections += 1
        return self._sections

    def leave(self) -> int:
        """One less."""
        self._sections -= 1
        return self._sections


class _Forks:
    def __init__(self) -> None:
        self.depth = _Depth()
        self.watched: WeakSet[Inherited] = WeakSet()
        self.sections: WeakSet[Section] = WeakSet()
        self.entering = threading.Lock()
        self._held: list[Section] = []
        self._kept: list[object] = []

    def prepare(self) -> None:
        """Let nobody enter a section, and wait for those who are in one."""
        self.entering.acquire()
        end = SYSTEM.monotonic() + LOCK_TIMEOUT_SECONDS
        for section in list(self.sections):
            # An interrupt that comes while it waits must not lose what is held.
            if section.hold(max(0.0, end - SYSTEM.monotonic())):
                self._held.append(section)

    def go_on(self) -> None:
        """Undo `prepare` in the parent."""
        held, self._held = self._held, []
        for section in held:
            section.release()
        self.entering.release()

    def put_right(self) -> None:
        """Undo `prepare` in the child, and have all drop what is the parent's."""
        inherited = list(self.watched)
        self._kept += inherited
        self._held = []
        self.entering = threading.Lock()
        for section in list(self.sections):
            section.renew()
        for one in inherited:
            try:
                one.after_fork()
            except Exception:
                logger.exception("after a fork %r could not be put right", one)


_FORKS = _Forks()

if sys.platform != "win32":
    os.register_at_fork(
        before=_FORKS.prepare,
        after_in_parent=_FORKS.go_on,
        after_in_child=_FORKS.put_right,
    )
