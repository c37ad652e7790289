"""Pub/Sub: notices for those who watch, hints for workers. Latency only."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from typing_extensions import override

from ...foundations.backoff import Backoff
from ...foundations.errors import StoreUnavailable
from ...model.notices import decode_notice
from ..contract.notices import NoticeStore, Subscription
from ..contract.workers import WorkerHint
from .scripts import WOKEN
from .tasks import end

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from ..contract.workers import OnHint
    from .redis_gateway import RedisListener
    from .stores import Stores

logger = logging.getLogger("worchflow.storage.redis_mongo")

IDLE_SECONDS = 1.0
"""Seconds one look for a message lasts."""
CONFIRM_TIMEOUT = 1.0
"""Seconds to wait for a subscription to be there; without it notices may be lost."""
READY = "ready "
"""What a message on the control channel begins with that names an event."""
LEAVE_AT = 100
"""Channels nobody watches any more that are left before there is a quiet moment."""


class Notices(NoticeStore):
    """One connection that listens for everybody, and comes back after an outage."""

    def __init__(self, stores: Stores, on_ready: Callable[[str | None], None]) -> None:
        self._redis = stores.redis
        self._keys = stores.keys
        self._random = stores.options.runtime.random
        self._on_ready = on_ready
        """Called with an event whose ready list begins to fill; with None when such a
        hint may have been missed."""
        self._listener: RedisListener | None = None
        self._task: asyncio.Task[None] | None = None
        self._watchers: dict[str, set[Subscription]] = {}
        self._confirmed: dict[str, asyncio.Event] = {}
        self._unwatched: set[str] = set()
        """Channels to leave; a caller with its result does not wait for that."""
        self._on_hint: dict[str, OnHint] = {}

    def call_on_hint(self, worker_id: str, on_hint: OnHint) -> None:
        """Call a function of a worker with whatever is told of executions."""
        self._on_hint[worker_id] = on_hint
        self._start()

    def forget(self, worker_id: str) -> None:
        """Call a worker's function no more."""
        self._on_hint.pop(worker_id, None)

    @override
    @asynccontextmanager
    async def watch(
        self, execution_id: str, *, progress: bool = True
    ) -> AsyncGenerator[Subscription]:
        """Subscribe to the notices about one execution."""
        channels = [self._keys.updates(execution_id)]
        if progress:
            channels.append(self._keys.progress(execution_id))
        subscription = Subscription()
        unheard = [each for each in channels if self._add(each, subscription)]
        confirmed = [self._confirmed[each] for each in channels]
        self._start()
        try:
            if unheard:
                await self._subscribe(*unheard)
            with suppress(TimeoutError):
                async with asyncio.timeout(CONFIRM_TIMEOUT):
                    for event in confirmed:
                        await event.wait()
            yield subscription
        finally:
            for each in channels:
                self._remove(each, subscription)

    async def close(self) -> None:
        """Stop listening."""
        await end(self._task)

    def _start(self) -> None:
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    def _add(self, channel: str, subscription: Subscription) -> bool:
        """Whether the server has to be asked for the channel."""
        watchers = self._watchers.setdefault(channel, set())
        is_heard = bool(watchers) or channel in self._unwatched
        watchers.add(subscription)
        self._unwatched.discard(channel)
        self._confirmed.setdefault(channel, asyncio.Event())
        return not is_heard

    def _remove(self, channel: str, subscription: Subscription) -> None:
        watchers = self._watchers[channel]
        watchers.discard(subscription)
        if not watchers:
            del self._watchers[channel]
            self._unwatched.add(channel)

    async def _subscribe(self, *channels: str) -> None:
        """Ask for channels; a new connection asks for everything again."""
        if self._listener is not None:
            with suppress(StoreUnavailable):
                await self._listener.subscribe(*channels)

    def _forget_unwatched(self) -> set[str]:
        channels, self._unwatched = self._unwatched, set()
        for channel in channels:
            self._confirmed.pop(channel, None)
        return channels

    async def _run(self) -> None:
        backoff = Backoff(self._random, first=0.05, longest=2.0)
        while True:
            listener = self._redis.listen()
            self._forget_unwatched()
            try:
                asked = {self._keys.control, *self._watchers}
                await listener.subscribe(*asked)
                self._listener = listener
                if late := self._watchers.keys() - asked:
                    await listener.subscribe(*late)
                while True:
                    message = await listener.next(IDLE_SECONDS)
                    if message is not None:
                        self._received(*message)
                        backoff.reset()
                    if len(self._unwatched) >= (1 if message is None else LEAVE_AT):
                        await listener.unsubscribe(*self._forget_unwatched())
            except StoreUnavailable:
                pass  # Others say so; what is missed is read from the store.
            except Exception:
                logger.exception("listening for notices failed; trying again")
            finally:
                self._listener = None
                for event in self._confirmed.values():
                    event.clear()
                await listener.close()
            await asyncio.sleep(backoff.pause())

    def _received(self, kind: str, channel: str, data: str | bytes) -> None:
        if kind == "subscribe":
            if (confirmed := self._confirmed.get(channel)) is not None:
                confirmed.set()
            elif channel == self._keys.control:
                self._on_ready(None)
        elif kind != "message":
            return
        elif channel == self._keys.control:
            self._told(
                data.decode(errors="replace") if isinstance(data, bytes) else data
            )
        elif (notice := decode_notice(data)) is not None:
            for subscription in self._watchers.get(channel, ()):
                subscription.put(notice)

    def _told(self, text: str) -> None:
        """Pass on a message of the control channel."""
        if text.startswith(READY):
            self._on_ready(text.removeprefix(READY))
        elif text.startswith(WOKEN):
            for execution_id in text.removeprefix(WOKEN).split("\n"):
                self._hint(WorkerHint.WOKEN, execution_id)
        else:
            self._hint(WorkerHint.CANCEL, text)

    def _hint(self, kind: WorkerHint, execution_id: str) -> None:
        for on_hint in list(self._on_hint.values()):
            try:
                on_hint(kind, execution_id)
            except Exception:
                # Neither the other workers nor the connection may suffer from it.
                logger.exception("a worker could not be told of a %s", kind.value)
