"""What an attempt asks of the stores beside its records, until they answer."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from ..foundations.backoff import Backoff
from ..foundations.errors import StoreUnavailable
from ..foundations.ids import step_name
from ..storage.contract.children import CHILDREN_PAGE
from .ownership import Interrupted, Interruption

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

    from ..foundations.types import T
    from ..model.children import Child
    from ..model.events import LogLook, NewEvent, StoredEvent
    from ..model.records import Claim
    from ..model.waits import StoredWait
    from .open_children import OpenChildren
    from .scope import Scope
    from .sending import Accepted, Prepared
    from .worker_runtime import WorkerRuntime

logger = logging.getLogger("worchflow.engine")


class StoreCalls:
    """Calls of the stores under one claim.

    What leaves the execution does so after all that was recorded before is durable.
    `fields` is what every log line about the attempt carries.
    """

    __slots__ = ("_claim", "_fields", "_runtime", "_scope", "_starting")

    def __init__(
        self,
        runtime: WorkerRuntime,
        claim: Claim,
        scope: Scope,
        fields: Mapping[str, object],
    ) -> None:
        self._runtime = runtime
        self._claim = claim
        self._scope = scope
        self._fields = fields
        self._starting: set[asyncio.Future[list[Accepted]]] = set()
        """Children that are on their way to the store."""

    async def find_event(
        self, wait: StoredWait, passed: Collection[str], left_out: Collection[str]
    ) -> LogLook:
        """What the log of events has for a wait. Repeated until the store answers."""
        events = self._runtime.store.events
        return await self.until_answered(
            lambda: events.find(self._claim, wait, passed, left_out),
            wait.title,
            "looks for its event",
        )

    async def take_event(
        self, wait: StoredWait, event: StoredEvent, left_out: Collection[str]
    ) -> bool:
        """Keep an event for a wait; whether it is this wait's.

        Repeated until the store answers.
        """
        events = self._runtime.store.events
        return await self.until_answered(
            lambda: events.take(self._claim, wait.step_id, event.id, left_out),
            wait.title,
            f"takes event {event.id}",
        )

    async def send(self, messages: Sequence[Prepared], title: str) -> None:
        """Have executions accepted, after all that was recorded before.

        An id that exists is taken for what an earlier try has sent. Repeated until the
        store answers.
        """

        async def accept() -> None:
            await self.flush()
            await self._runtime.sender.insert(messages, first_counts=True)

        await self.until_answered(accept, title, "sends its messages")

    async def start_children(
        self, messages: Sequence[Prepared], title: str
    ) -> list[Accepted]:
        """As `send`, of children: whatever ends this execution knows of them."""

        async def accept() -> list[Accepted]:
            await self.flush()
            if not await self._runtime.store.children.announce(self._claim):
                self._scope.interrupt(Interruption.LOST)
                raise Interrupted
            insert = self._runtime.sender.insert(messages, first_counts=True)
            # Whoever cancels them later must not come before them.
            starting = self._scope.keep(insert)
            self._starting.add(starting)
            starting.add_done_callback(self._starting.discard)
            return await asyncio.shield(starting)

        return await self.until_answered(accept, title, "starts its children")

    async def find_child(
        self, children: OpenChildren, child_id: str, title: str
    ) -> Child | None:
        """How a child stands now. Repeated until the store answers."""
        what = f"looks for child {child_id}"
        return await self.until_answered(lambda: children.find(child_id), title, what)

    async def retry_child(self, child_id: str, title: str) -> None:
        """Have a child run again that failed in an earlier life of this execution.

        Repeated until the store answers.
        """

        async def retry() -> None:
            await self.flush()
            await self._runtime.store.children.retry(self._claim, child_id)

        await self.until_answered(retry, title, f"retries child {child_id}")

    async def cancel_child(self, child_id: str, reason: str | None, title: str) -> None:
        """Cancel a child, unless it has ended. Repeated until the store answers."""

        async def cancel() -> None:
            await self.flush()
            await self._runtime.store.executions.cancel(child_id, reason)

        await self.until_answered(cancel, title, f"cancels child {child_id}")

    async def cancel_children(
        self, ids: Sequence[str], reason: str, title: str
    ) -> None:
        """Cancel those of some children that there are and that have not ended.

        Also those that are on their way to the store: whoever started them may have
        been cancelled since. Repeated until the store answers.
        """
        if self._starting:
            await asyncio.wait(self._starting)
        store = self._runtime.store

        async def cancel() -> None:
            await self.flush()
            found = await store.children.find(page)
            live = [each for each in found.values() if not each.status.is_terminal]
            cancel_one = store.executions.cancel
            await asyncio.gather(*(cancel_one(each.id, reason) for each in live))

        for start in range(0, len(ids), CHILDREN_PAGE):
            page = ids[start : start + CHILDREN_PAGE]
            await self.until_answered(cancel, title, "cancels its children")

    async def append_event(self, event: NewEvent, title: str) -> StoredEvent:
        """Append an event to the log, for a wait of this execution; what is stored.

        Repeated until the store answers.
        """
        events = self._runtime.store.events
        what = f"appends event {event.id}"
        return await self.until_answered(lambda: events.append(event), title, what)

    async def wakeups(self) -> int:
        """How often the execution was woken."""
        return await self._runtime.store.waits.wakeups(self._claim.execution.id)

    async def flush(self) -> None:
        """Have all that is recorded survive, before anything leaves the execution.

        An attempt that has other values than are recorded ends here: what would leave
        it is not what the next attempt, which has the recorded ones, would make.
        """
        if not await self._runtime.store.steps.flush(self._claim):
            self._scope.interrupt(Interruption.OUTDATED)
            raise Interrupted

    async def until_answered(
        self, call: Callable[[], Awaitable[T]], title: str, what: str
    ) -> T:
        """Make a call of the store for the step of a title until it answers."""
        backoff = Backoff(self._runtime.random)
        while True:
            try:
                return await call()
            except StoreUnavailable as error:
                pause = backoff.pause()
                self.report_unanswered(title, None, what, error, pause)
            await asyncio.sleep(pause)

    def report_unanswered(
        self,
        title: str,
        key: str | None,
        what: str,
        error: StoreUnavailable,
        pause: float,
    ) -> None:
        """Log that a store did not answer a step, and when it is asked again."""
        self._runtime.repeated.warning(
            logger,
            "%s; step %s of execution %s %s, next try in %.1f s",
            error,
            step_name(title, key),
            self._claim.execution.id,
            what,
            pause,
            extra={**self._fields, "step": title},
        )
