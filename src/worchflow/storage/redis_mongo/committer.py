"""The group committer: concurrent callers share MongoDB's round trips.

A write leaves at once while fewer than three flushes are in the air, else it joins
the next one; nothing ever waits for company. Every caller waits for its own
acknowledgement, and a batch of unknown outcome is sent again as it is: inserts are
recognised by their id, updates by the `doneBy` they set.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import bson
from bson.codec_options import CodecOptions
from bson.errors import BSONError
from bson.raw_bson import RawBSONDocument

from ...errors import SerializationError, StoreUnavailable, WorchflowError
from .documents import EXECUTIONS, STEPS
from .mongo_door import CODEC, DUPLICATE_KEY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .mongo_door import Document, MongoDoor, Refusal

logger = logging.getLogger("worchflow.storage.redis_mongo")

FLUSHES = 3
BATCH_OPERATIONS = 1000
BATCH_BYTES = 16 * 1024 * 1024
WORTHWHILE = 100
"""Operations below which a batch is not shared out among the free flights."""
WAITING_OPERATIONS = 10_000
WAITING_BYTES = 64 * 1024 * 1024
TOO_LARGE = frozenset({10334, 17419, 17420, 17280})

INSERT_EXECUTION: Final = 0
INSERT_STEP: Final = 1
UPDATE_EXECUTION: Final = 2

RAW_CODEC: CodecOptions[RawBSONDocument] = CodecOptions(document_class=RawBSONDocument)

SEEN = ("id", "owner", "token", "doneBy", "status", "cancelRequested", "cancelReason")
"""What tells why an update did not match."""

Outcome: TypeAlias = Any


class Duplicate:
    """The outcome of an insert whose id was there before."""


DUPLICATE: Final = Duplicate()


@dataclass(slots=True)
class _Write:
    kind: int
    body: RawBSONDocument
    size: int
    deadline: float
    submitted_at: float
    future: asyncio.Future[Outcome]
    id: Any


class Committer:
    """Collects writes and sends them in batches, for as long as it is open."""

    def __init__(self, mongo: MongoDoor, timeout: float, id_field: str) -> None:
        self._mongo = mongo
        self._timeout = timeout
        self._id_field = id_field
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[_Write] = deque()
        self._waiting_bytes = 0
        self._flights: dict[asyncio.Task[None], list[_Write]] = {}
        self._scheduled = False
        self._room = asyncio.Event()
        self._room.set()

    # -- what callers do

    async def insert_executions(
        self, documents: Sequence[Document]
    ) -> list[Duplicate | None]:
        """Insert executions; `DUPLICATE` for an id that is taken.

        Raises when one of them fails, after the others were answered.
        """
        futures: list[asyncio.Future[Duplicate | None]] = [
            await self._submit(INSERT_EXECUTION, each) for each in documents
        ]
        if futures:
            await asyncio.wait(futures)
        return [future.result() for future in futures]

    async def insert_step(self, document: Document) -> Duplicate | None:
        """Insert a step; `DUPLICATE` when it was recorded before."""
        outcome: Duplicate | None = await (await self._submit(INSERT_STEP, document))
        return outcome

    async def update_execution(
        self, query: Document, change: object
    ) -> Document | None:
        """Update one execution.

        None when it was certainly applied now. Else what the execution looks like
        afterwards (`{}`: it does not exist), for `doneBy` says whose write it shows.
        """
        statement = {"q": query, "u": change}
        seen: Document | None = await (
            await self._submit(UPDATE_EXECUTION, statement, query[self._id_field])
        )
        return seen

    def oldest_age(self) -> float:
        """Seconds for which the oldest unanswered write has been waiting."""
        oldest = min(
            (batch[0].submitted_at for batch in self._flights.values() if batch),
            default=self._waiting[0].submitted_at if self._waiting else None,
        )
        return 0.0 if oldest is None else time.monotonic() - oldest

    async def close(self) -> None:
        """Send what waits; returns when every write was answered or has failed."""
        while self._waiting or self._flights:
            self._start_flushes()
            if self._flights:
                await asyncio.wait(self._flights)

    # -- how it works

    async def _submit(
        self, kind: int, document: Document, id: object = None
    ) -> asyncio.Future[Outcome]:
        try:
            raw = bson.encode(document, codec_options=CODEC)
        except (BSONError, OverflowError, UnicodeError, RecursionError) as error:
            raise SerializationError(
                f"MongoDB cannot hold this value: {error}"
            ) from error
        while not self._room.is_set():
            await self._wait_for_room()
        now = time.monotonic()
        write = _Write(
            kind,
            RawBSONDocument(raw, RAW_CODEC),
            len(raw),
            now + self._timeout,
            now,
            self._loop.create_future(),
            id,
        )
        self._waiting.append(write)
        self._waiting_bytes += write.size
        if (
            len(self._waiting) >= WAITING_OPERATIONS
            or self._waiting_bytes >= WAITING_BYTES
        ):
            self._room.clear()
        if not self._scheduled:
            # At the end of this turn of the loop: what was submitted in the same
            # turn leaves together.
            self._scheduled = True
            self._loop.call_soon(self._start_flushes)
        return write.future

    async def _wait_for_room(self) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                await self._room.wait()
        except TimeoutError:
            raise StoreUnavailable(
                f"{WAITING_OPERATIONS} writes wait for MongoDB, and none was taken "
                f"for {self._timeout:g} s"
            ) from None

    def _start_flushes(self) -> None:
        self._scheduled = False
        while self._waiting and (free := FLUSHES - len(self._flights)) > 0:
            # Shared among the free flights: while MongoDB works on one batch, this
            # process works on the answers of another.
            batch = self._take_batch(max(WORTHWHILE, -(-len(self._waiting) // free)))
            task = self._loop.create_task(self._flush(batch))
            self._flights[task] = batch
            task.add_done_callback(self._landed)

    def _take_batch(self, most: int) -> list[_Write]:
        batch: list[_Write] = []
        size = 0
        while self._waiting and len(batch) < min(most, BATCH_OPERATIONS):
            size += self._waiting[0].size
            if batch and size > BATCH_BYTES:
                break
            write = self._waiting.popleft()
            self._waiting_bytes -= write.size
            batch.append(write)
        if (
            len(self._waiting) < WAITING_OPERATIONS
            and self._waiting_bytes < WAITING_BYTES
        ):
            self._room.set()
        return batch

    def _landed(self, task: asyncio.Task[None]) -> None:
        batch = self._flights.pop(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            logger.error("a flush failed unexpectedly", exc_info=error)
        for write in batch:
            # Nobody waits for ever, whatever went wrong.
            _fail(write, StoreUnavailable("the write was given up: see the log"))
        self._start_flushes()

    async def _flush(self, batch: list[_Write]) -> None:
        kinds: dict[int, list[_Write]] = {}
        for write in batch:
            kinds.setdefault(write.kind, []).append(write)
        sends = [self._send(kind, writes) for kind, writes in kinds.items()]
        if len(sends) == 1:
            await sends[0]
        else:
            await asyncio.gather(*sends)

    async def _send(self, kind: int, writes: list[_Write]) -> None:
        """Send one command until it is answered or nobody waits any more."""
        pause = 0.05
        while True:
            try:
                if kind == UPDATE_EXECUTION:
                    await self._update(writes)
                else:
                    await self._insert(kind, writes)
            except WorchflowError as error:
                writes = _expire(writes, error)
                if not writes:
                    return
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311
                pause = min(pause * 2, 1.0)
            else:
                return

    async def _insert(self, kind: int, writes: Sequence[_Write]) -> None:
        written = await self._mongo.insert(
            EXECUTIONS if kind == INSERT_EXECUTION else STEPS,
            [write.body for write in writes],
            _time_left(writes),
        )
        for index, write in enumerate(writes):
            refusal = written.refused.get(index)
            if refusal is None:
                _resolve(write, None)
            elif refusal.code == DUPLICATE_KEY:
                _resolve(write, DUPLICATE)
            else:
                _fail(write, _refused(refusal))

    async def _update(self, writes: Sequence[_Write]) -> None:
        written = await self._mongo.update(
            EXECUTIONS, [write.body for write in writes], _time_left(writes)
        )
        refused = written.refused
        found: dict[Any, Document] = {}
        is_short = written.count < len(writes) - len(refused)
        if is_short:
            # The total does not say who was too late; the documents do.
            found = {
                document[self._id_field]: document
                for document in await self._mongo.find(
                    EXECUTIONS,
                    {self._id_field: {"$in": [write.id for write in writes]}},
                    fields=SEEN,
                )
            }
        for index, write in enumerate(writes):
            if index in refused:
                _fail(write, _refused(refused[index]))
                continue
            _resolve(write, found.get(write.id, {}) if is_short else None)


def _time_left(writes: Sequence[_Write]) -> float:
    return max(0.05, writes[0].deadline - time.monotonic())


def _expire(writes: list[_Write], error: WorchflowError) -> list[_Write]:
    """Fail the writes whose time is over; the others are to be sent again."""
    now = time.monotonic()
    alive: list[_Write] = []
    for write in writes:
        if isinstance(error, StoreUnavailable) and write.deadline > now + 0.05:
            alive.append(write)
        else:
            _fail(write, error)
    return alive


def _refused(refusal: Refusal) -> WorchflowError:
    text = f"MongoDB refused a write (code {refusal.code}: {refusal.message[:200]})"
    if refusal.code in TOO_LARGE:
        return SerializationError(text)
    return StoreUnavailable(text)


def _resolve(write: _Write, outcome: Outcome) -> None:
    if not write.future.done():
        write.future.set_result(outcome)


def _fail(write: _Write, error: WorchflowError) -> None:
    if not write.future.done():
        own = type(error)(error.message)
        own.__cause__ = error
        write.future.set_exception(own)
        write.future.exception()  # A caller that was cancelled does not fetch it.
