"""What hints set off on one event loop: claims look again, watchers are told."""

from __future__ import annotations

import asyncio
import logging
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

from ..contract.notices import Subscription
from ..contract.workers import WorkerHint

if TYPE_CHECKING:
    from collections.abc import Generator

    from ..contract.workers import OnHint
    from .hints import Happening, Hints

logger = logging.getLogger("worchflow.storage.sqlite")


class Waiter:
    """A claim that waits for work of some events."""

    def __init__(self, events: frozenset[str]) -> None:
        self.events = events
        self._hinted = asyncio.Event()

    def wake(self) -> None:
        """Say that there may be work."""
        self._hinted.set()

    def clear(self) -> None:
        """Forget the hints so far; call it before looking."""
        self._hinted.clear()

    async def wait(self, timeout: float) -> bool:
        """Whether a hint came in time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._hinted.wait()
        return self._hinted.is_set()


class Watched:
    """Who watches which execution. The tuples are replaced, never changed."""

    def __init__(self) -> None:
        self._by_id: dict[str, tuple[Subscription, ...]] = {}

    def __bool__(self) -> bool:
        """Whether anybody watches."""
        return bool(self._by_id)

    def __getitem__(self, execution_id: str) -> tuple[Subscription, ...]:
        """Those who watch an execution."""
        return self._by_id.get(execution_id, ())

    @contextmanager
    def by(self, execution_id: str, one: Subscription) -> Generator[None, None, None]:
        """One more who watches an execution."""
        self._by_id[execution_id] = (*self[execution_id], one)
        try:
            yield
        finally:
            others = tuple(o for o in self[execution_id] if o is not one)
            if others:
                self._by_id[execution_id] = others
            else:
                del self._by_id[execution_id]


class Wakeup:
    """Everybody on one event loop who wants to be told, under one queue prefix.

    `receive` may be called from any thread; the rest belongs to the loop. The tuples
    are replaced, never changed, so that other threads can read them.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._loop = asyncio.get_running_loop()
        self._waiters: tuple[Waiter, ...] = ()
        self._on_hint: dict[str, OnHint] = {}
        self._watched = Watched()
        self._followed = Watched()

    def watches(self, *, progress: bool) -> bool:
        """Whether anybody watches an execution, or follows its progress."""
        return bool(self._followed if progress else self._watched)

    def receive(self, hints: Hints) -> None:
        """Pass on what concerns somebody here."""
        if self._concerns(hints):
            # A closed loop has nobody to tell.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._tell, hints)

    @contextmanager
    def waiting(self, events: frozenset[str]) -> Generator[Waiter, None, None]:
        """A waiter for work of these events."""
        waiter = Waiter(events)
        self._waiters = (*self._waiters, waiter)
        try:
            yield waiter
        finally:
            self._waiters = tuple(one for one in self._waiters if one is not waiter)

    def add_worker(self, worker_id: str, on_hint: OnHint) -> None:
        """Tell a worker which executions are to be cancelled, or were woken."""
        self._on_hint[worker_id] = on_hint

    def remove_worker(self, worker_id: str) -> None:
        """Tell it nothing any more."""
        self._on_hint.pop(worker_id, None)

    @contextmanager
    def watching_one(
        self, execution_id: str, *, progress: bool
    ) -> Generator[Subscription, None, None]:
        """A subscription to notices about one execution."""
        one = Subscription()
        with ExitStack() as stack:
            stack.enter_context(self._watched.by(execution_id, one))
            if progress:
                stack.enter_context(self._followed.by(execution_id, one))
            yield one

    def _concerns(self, hints: Hints) -> bool:
        return (
            any(self._has_work(waiter, hints) for waiter in self._waiters)
            or (
                bool(self._on_hint)
                and any(
                    prefix == self._prefix
                    for prefix, _ in (*hints.cancelled, *hints.woken)
                )
            )
            or any(self._listeners(happening) for happening in hints.happenings)
        )

    def _tell(self, hints: Hints) -> None:
        for waiter in self._waiters:
            if self._has_work(waiter, hints):
                waiter.wake()
        for kind, hinted in (
            (WorkerHint.CANCEL, hints.cancelled),
            (WorkerHint.WOKEN, hints.woken),
        ):
            for prefix, execution_id in hinted:
                if prefix == self._prefix:
                    self._hint(kind, execution_id)
        for happening in hints.happenings:
            for subscription in self._listeners(happening):
                subscription.put(happening.notice)

    def _hint(self, kind: WorkerHint, execution_id: str) -> None:
        for on_hint in tuple(self._on_hint.values()):
            try:
                on_hint(kind, execution_id)
            except Exception:
                # The others, and those who watch something, are told even so.
                logger.exception("a worker could not be told of a %s", kind.value)

    def _listeners(self, happening: Happening) -> tuple[Subscription, ...]:
        watched = self._followed if happening.is_progress else self._watched
        if not watched or happening.prefix != self._prefix:
            return ()
        return watched[happening.notice.execution_id]

    def _has_work(self, waiter: Waiter, hints: Hints) -> bool:
        return any(
            prefix == self._prefix and event in waiter.events
            for prefix, event in hints.work
        )
