"""From a message to an event in the log: for whoever waits, and starting nothing."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from ..foundations.errors import EventConflict, StoreUnavailable
from ..foundations.ids import new_execution_id
from ..foundations.limits import check_id
from ..model.events import NewEvent

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ..definitions.correlation_key import Keys
    from ..model.events import StoredEvent
    from .sending import EncodedMessage, Sender

logger = logging.getLogger("worchflow.client")


class EventLog:
    """Appends events of one client to the log, and delivers them."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self._deliveries: set[asyncio.Task[None]] = set()

    async def emit(
        self,
        message: Any,
        id: str | None,
        key: Keys | None,
        ready: Callable[[], Awaitable[object]],
    ) -> str:
        """Accept an event and wake the first of those who wait; its id.

        The others are woken by a task of this client, or if that ends, by a sweep.
        Everything that can be refused is refused before `ready` opens the store.
        """
        sender = self._sender
        encoded = sender.encode(message)
        runtime = sender.store.options.runtime
        event = NewEvent(
            id=new_execution_id(runtime) if id is None else check_id(id),
            name=encoded.name,
            data=encoded.payload,
            key=sender.key_of(encoded, key),
        )
        try:
            await ready()
            events = sender.store.events
            stored = await events.append(event)
        except StoreUnavailable as error:
            error.unknown = (event.id,)
            raise
        self._refuse_other(stored, event, encoded)
        try:
            after = await events.deliver(stored)
        except StoreUnavailable as error:
            logger.debug(
                "event %s is accepted; its delivery waits: %s", stored.id, error
            )
            return event.id
        if after is not None:
            task = asyncio.create_task(self._deliver(stored, after))
            self._deliveries.add(task)
            task.add_done_callback(self._deliveries.discard)
        return event.id

    async def close(self) -> None:
        """Leave what is not delivered yet to a sweep."""
        unfinished = [task for task in self._deliveries if not task.done()]
        for task in unfinished:
            task.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)

    async def _deliver(self, event: StoredEvent, after: str) -> None:
        try:
            await self._sender.store.events.deliver_all(event, after)
        except StoreUnavailable as error:
            logger.debug("the delivery of event %s waits: %s", event.id, error)

    def _refuse_other(
        self, stored: StoredEvent, new: NewEvent, encoded: EncodedMessage
    ) -> None:
        same = (stored.name, stored.key) == (new.name, new.key)
        if same and self._sender.is_same(
            stored.data, new.data, encoded.data, encoded.data_type
        ):
            return
        what = "other data"
        if stored.name != new.name:
            what = f'the name "{stored.name}"'
        elif stored.key != new.key:
            what = f"the key {stored.key!r}"
        raise EventConflict(
            f'id="{new.id}" belongs to an event with {what}: an id names one event, '
            "and the first that was accepted under it counts. Use another id",
            event_id=new.id,
        )
