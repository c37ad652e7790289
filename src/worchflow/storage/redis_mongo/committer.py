"""The group committer: what MongoDB is asked to write, many writes per command.

A batch of unknown outcome is sent again as it is: inserts are recognised by their
id, updates by the `doneBy` they set.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import bson
from bson.errors import BSONError

from ...foundations.backoff import Backoff
from ...foundations.errors import SerializationError, StoreUnavailable, WorchflowError
from .batch_writer import BatchWriter
from .documents import EXECUTIONS, STEPS, WAITS
from .mongo_gateway import CODEC, DUPLICATE_KEY
from .statements import Update, statements
from .values import SMALL

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from ...model.options import BackendOptions
    from .batch_writer import Write
    from .mongo_gateway import Document, MongoGateway, Refusal

TOO_LARGE = frozenset({10334, 17419, 17420, 17280})
UNENCODABLE = (BSONError, OverflowError, UnicodeError, RecursionError)

SEEN = (
    *("id", "owner", "token", "doneBy", "status", "cancelRequested", "cancelReason"),
    "wakeups",
)
"""What tells why an update did not match."""


class Duplicate:
    """The outcome of an insert whose id was there before."""


DUPLICATE: Final = Duplicate()


class Committer:
    """Inserts, updates and deletes in batches, for as long as it is open.

    One group for each kind of write: they differ in how many there are, and none
    waits for another.
    """

    def __init__(
        self, mongo: MongoGateway, options: BackendOptions, id_field: str
    ) -> None:
        self._mongo = mongo
        self._timeout = timeout = options.timeout
        self._random = options.runtime.random
        self._time = asyncio.get_running_loop().time
        self._id_field = id_field
        self._executions = BatchWriter(self._insert_executions, timeout)
        self._steps = BatchWriter(self._insert_steps, timeout)
        self._updates = BatchWriter(self._update_executions, timeout)
        self._waits = BatchWriter(self._delete_waits, timeout)
        self._batch_writers = (
            self._executions,
            self._steps,
            self._updates,
            self._waits,
        )

    # -- what callers do; `size` is at least the bytes of what they hand in

    async def insert_executions(
        self, documents: Iterable[tuple[Document, int]]
    ) -> list[Duplicate | None]:
        """Insert executions; `DUPLICATE` for an id that is taken.

        Raises when one of them fails, after the others were answered.
        """
        futures: list[asyncio.Future[Duplicate | None]] = [
            await self._executions.submit(document, size)
            for document, size in documents
        ]
        if futures:
            await asyncio.wait(futures)
        return [future.result() for future in futures]

    def insert_step(self, document: Document, size: int) -> Awaitable[Duplicate | None]:
        """Insert a step; `DUPLICATE` when it was recorded before."""
        return self._steps.add(document, size)

    def update_execution(self, update: Update, size: int) -> Awaitable[Document | None]:
        """Update one execution.

        None when it was certainly applied now. Else what the execution looks like
        afterwards (`{}`: it does not exist), for `doneBy` says whose write it shows.
        """
        return self._updates.add(update, size)

    def delete_waits(self, query: Document) -> Awaitable[None]:
        """Delete the waits that a query finds."""
        return self._waits.add(query, SMALL)

    def oldest_age(self) -> float:
        """Seconds for which the oldest unanswered write has been waiting."""
        return max(batch_writer.oldest_age() for batch_writer in self._batch_writers)

    async def close(self) -> None:
        """Send what waits; returns when every write was answered or has failed."""
        await asyncio.gather(
            *(batch_writer.close() for batch_writer in self._batch_writers)
        )

    # -- how it works

    async def _insert_executions(self, writes: list[Write]) -> None:
        await self._persist(lambda left: self._insert(EXECUTIONS, left), writes)

    async def _insert_steps(self, writes: list[Write]) -> None:
        await self._persist(lambda left: self._insert(STEPS, left), writes)

    async def _update_executions(self, writes: list[Write]) -> None:
        await self._persist(self._update, writes)

    async def _delete_waits(self, writes: list[Write]) -> None:
        await self._persist(self._delete, writes)

    async def _delete(self, writes: Sequence[Write]) -> None:
        await self._mongo.delete(WAITS, *(write.body for write in writes))
        for write in writes:
            write.resolve(None)

    async def _persist(
        self, send: Callable[[Sequence[Write]], Awaitable[None]], writes: list[Write]
    ) -> None:
        """Send a batch until it is answered or nobody waits any more."""
        backoff = Backoff(self._random, first=0.05, longest=1.0)
        while writes:
            try:
                await send(writes)
            except UNENCODABLE as error:
                writes = _encodable(writes, error)
            except WorchflowError as error:
                writes = self._expire(writes, error)
                if not writes:
                    return
                await asyncio.sleep(backoff.pause())
            else:
                return

    async def _insert(self, collection: str, writes: Sequence[Write]) -> None:
        written = await self._mongo.insert(
            collection, [write.body for write in writes], self._time_left(writes)
        )
        if not written.refused:
            for write in writes:
                write.resolve(None)
            return
        for index, write in enumerate(writes):
            refusal = written.refused.get(index)
            if refusal is None:
                write.resolve(None)
            elif refusal.code == DUPLICATE_KEY:
                write.resolve(DUPLICATE)
            else:
                write.fail(_refused(refusal))

    async def _update(self, writes: Sequence[Write], *, together: bool = True) -> None:
        batch = statements(writes, self._id_field, together=together)
        written = await self._mongo.update(
            EXECUTIONS, [each.body for each in batch], self._time_left(writes)
        )
        again: list[Write] = []
        answered: list[Write] = []
        for index, statement in enumerate(batch):
            refusal = written.refused.get(index)
            if refusal is None:
                answered += statement.writes
            elif len(statement.writes) > 1:
                # It may have been applied to some of them.
                again += statement.writes
            else:
                statement.writes[0].fail(_refused(refusal))
        await self._resolve(answered, written.count)
        if again:
            await self._update(again, together=False)

    async def _resolve(self, writes: Sequence[Write], matched: int) -> None:
        """Tell the callers of updates that were not refused what became of them."""
        if matched >= len(writes):
            for write in writes:
                write.resolve(None)
            return
        # The total does not say who was too late; the documents do.
        ids = [write.body.id for write in writes]
        found = {
            document[self._id_field]: document
            for document in await self._mongo.find(
                EXECUTIONS, {self._id_field: {"$in": ids}}, fields=SEEN
            )
        }
        for write in writes:
            write.resolve(found.get(write.body.id, {}))

    def _time_left(self, writes: Sequence[Write]) -> float:
        return max(0.05, writes[0].submitted_at + self._timeout - self._time())

    def _expire(self, writes: list[Write], error: WorchflowError) -> list[Write]:
        """Fail the writes whose time is over; the others are to be sent again."""
        oldest = self._time() + 0.05 - self._timeout
        alive: list[Write] = []
        for write in writes:
            if isinstance(error, StoreUnavailable) and write.submitted_at > oldest:
                alive.append(write)
            else:
                write.fail(error)
        return alive


def _encodable(writes: Sequence[Write], error: Exception) -> list[Write]:
    """The writes that BSON can hold; a bad one fails its own caller only."""
    good: list[Write] = []
    for write in writes:
        update: object = write.body
        body = {"": update.change} if isinstance(update, Update) else write.body
        try:
            bson.encode(body, codec_options=CODEC)
        except UNENCODABLE as own:
            write.fail(_cannot_hold(own))
        else:
            good.append(write)
    if len(good) == len(writes):
        for write in good:
            write.fail(_cannot_hold(error))
        return []
    return good


def _cannot_hold(error: Exception) -> SerializationError:
    return SerializationError(f"MongoDB cannot hold this value: {error}")


def _refused(refusal: Refusal) -> WorchflowError:
    text = f"MongoDB refused a write (code {refusal.code}: {refusal.message[:200]})"
    if refusal.code in TOO_LARGE:
        return SerializationError(text)
    return StoreUnavailable(text)
