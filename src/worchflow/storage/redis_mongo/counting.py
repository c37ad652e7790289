"""How many executions have each status, without reading as much as there are.

What waits or runs is counted in the index, up to a bound. What has ended is counted
once: per day of its end, up to a moment that the elected worker moves on. Only what
ended after that moment is counted again. What a crash made a day's number differ by
does not last: once a day, and after a worker died, they are counted again, and a day's
number goes with its executions.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

from bson.datetime_ms import DatetimeMS
from typing_extensions import override

from ...foundations.errors import StoreUnavailable
from ...model.records import SUSPENDED, TERMINAL, ExecutionStatus
from ..contract.listing import CountingStore
from .documents import EXECUTIONS, META
from .indexes import ENDED, LISTING
from .recount import Recount
from .values import milliseconds_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .documents import Document
    from .stores import Stores

COUNTS_AGE = 2000
"""Milliseconds."""
AGE_PER_READING = 20
"""Numbers are kept so many times as long as reading them took, if that was long."""
LONG_READING = 100
"""Milliseconds. With `ts_compat` every reading is, for it reads all of the index."""
MAX_EXACT = 100_000
"""Of what is queued, so many are counted; that takes MongoDB some hundredths of a
second. Beyond it, the lengths of Redis' queues say how many there are."""
DAY = 24 * 3600 * 1000


class Counting(CountingStore):
    """Counts executions by status."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores
        prefix = stores.options.queue_prefix
        self._counts_id = f"counts:{prefix}"
        self._ended_id = f"ended:{prefix}"
        self._late = int(stores.options.timeout * 2000)
        """Milliseconds within which whatever ends is written."""
        self._recount = Recount(stores, self.ended_on, self._late)

    @override
    async def by_status(self) -> dict[ExecutionStatus, int]:
        """Executions by status, from a document that is at most two seconds old.

        What took long to read is kept for longer: what is suspended, and with
        `ts_compat` everything, is read in all of the index. So reading it takes no more
        than a twentieth of MongoDB's time.
        """
        stores = self._stores
        now = stores.clock.now()
        kept = await self._kept(self._counts_id)
        # Each kind of reading is as long as it was, not as the other was.
        duration = "took" if stores.options.ts_compat else "tookOurs"
        age, took = COUNTS_AGE, kept.get(duration, 0)
        if stores.options.ts_compat or took > LONG_READING:
            age = max(age, took * AGE_PER_READING)
        if (milliseconds_of(kept.get("at")) or 0) < now - age:
            clock = asyncio.get_running_loop().time
            began = clock()
            kept["counts"] = await self.count()
            took = int((clock() - began) * 1000)
            change = {
                "$set": {
                    "counts": kept["counts"],
                    "at": DatetimeMS(now),
                    duration: took,
                }
            }
            statement = {"q": {"_id": self._counts_id}, "u": change, "upsert": True}
            await stores.mongo.update(META, [statement])
        counts: Mapping[str, int] = kept["counts"]
        return {each: int(counts.get(each.value, 0)) for each in ExecutionStatus}

    async def advance(self) -> None:
        """Count for good what has ended since the last time, a day at a time."""
        if self._stores.options.ts_compat:
            return
        until = self._stores.clock.now() - self._late
        kept = await self._kept(self._ended_id)
        await self._recount.go_on(kept)
        since = milliseconds_of(kept.get("upTo"))
        is_first = since is None
        if since is None:
            since = await self._first_end(until)
            first = {"_id": self._ended_id, "upTo": DatetimeMS(since)}
            await self._stores.mongo.insert(META, [first])
        while since < until:
            day = since // DAY
            end = min(until, (day + 1) * DAY)
            counts = await self._ended(since, end)
            change: Document = {"$set": {"upTo": DatetimeMS(end)}}
            if end == (day + 1) * DAY and not is_first:
                change["$set"]["recount"] = DatetimeMS(until)
            if found := {f"{s}.{day}": n for s, n in counts.items() if n}:
                change["$inc"] = found
            query = {"_id": self._ended_id, "upTo": DatetimeMS(since)}
            statement = {"q": query, "u": change}
            if not (await self._stores.mongo.update(META, [statement])).count:
                return  # Another worker was elected, and has.
            since = end

    def is_not_elected(self) -> None:
        """Another worker counts for good from now on."""
        self._recount.forget()

    async def ask_for_recount(self) -> None:
        """Have what is counted for good counted again, in the elected worker's time."""
        asked = {"$set": {"recount": DatetimeMS(self._stores.clock.now())}}
        await self._stores.mongo.update(
            META, [{"q": {"_id": self._ended_id}, "u": asked}]
        )

    async def uncount(
        self, status: ExecutionStatus, ends: Iterable[int | None]
    ) -> None:
        """Take away what had ended at these milliseconds and is no more."""
        days: dict[int, list[int]] = {}
        for end in ends:
            if end is not None:
                days.setdefault(end // DAY, []).append(end)
        statements = [
            {
                "q": {"_id": self._ended_id, "upTo": {"$gt": DatetimeMS(max(of_day))}},
                "u": {"$inc": {f"{status.value}.{day}": -len(of_day)}},
            }
            for day, of_day in days.items()
        ]
        if statements:
            await self._stores.mongo.update(META, statements)

    async def forget(self, status: ExecutionStatus, before: int) -> None:
        """Drop the numbers of days of which nothing is left."""
        kept: Mapping[str, Any] = (await self._kept(self._ended_id)).get(status, {})
        gone = [day for day in kept if (int(day) + 1) * DAY <= before]
        if gone:
            unset = {"$unset": {f"{status.value}.{day}": "" for day in gone}}
            statement = {"q": {"_id": self._ended_id}, "u": unset}
            await self._stores.mongo.update(META, [statement])

    async def _kept(self, id_: str) -> Document:
        found = await self._stores.mongo.find(META, {"_id": id_}, limit=1)
        return found[0] if found else {}

    async def count(self) -> dict[str, int]:
        """Executions by status, as they are counted now."""
        if self._stores.options.ts_compat:
            return await self.count_all()
        live, ended = await asyncio.gather(self._live(), self._all_ended())
        return live | ended

    async def _all_ended(self) -> dict[str, int]:
        kept = await self._kept(self._ended_id)
        counts = Counter(
            await self._ended(milliseconds_of(kept.get("upTo")) or 0, None)
        )
        for status in TERMINAL:
            counts[status.value] += sum(kept.get(status.value, {}).values())
        return {status: max(0, count) for status, count in counts.items()}

    async def ended_on(self, day: int, up_to: int) -> dict[str, int]:
        """What ended on a day, before `up_to`, and is still stored."""
        return await self._ended(day * DAY, min(up_to, (day + 1) * DAY))

    async def _ended(self, since: int, until: int | None) -> dict[str, int]:
        moments: Document = {"$gte": DatetimeMS(since)}
        if until is not None:
            moments["$lt"] = DatetimeMS(until)
        return await self._count_each(TERMINAL, ENDED, finishedAt=moments)

    async def _live(self) -> dict[str, int]:
        at_work = {each for each in ExecutionStatus if not each.is_terminal} - SUSPENDED
        counts, suspended = await asyncio.gather(
            self._count_each(at_work, LISTING, limit=MAX_EXACT),
            # What has no deadline is in no queue of Redis that could be measured.
            self._count_each(SUSPENDED, LISTING),
        )
        queued, retrying = ExecutionStatus.QUEUED.value, ExecutionStatus.RETRYING.value
        if max(counts[queued], counts[retrying]) == MAX_EXACT:
            delayed = counts[retrying] + sum(suspended.values())
            counts[queued] = max(counts[queued], await self._waiting() - delayed)
        return counts | suspended

    async def _count_each(
        self,
        statuses: Iterable[ExecutionStatus],
        hint: object,
        limit: int = 0,
        **conditions: Document,
    ) -> dict[str, int]:
        stores = self._stores
        prefix = {"queuePrefix": stores.options.queue_prefix}
        words = [status.value for status in statuses]
        counts = await asyncio.gather(
            *(
                stores.mongo.count(
                    EXECUTIONS,
                    prefix | {"status": word} | conditions,
                    hint=hint,
                    limit=limit,
                )
                for word in words
            )
        )
        return dict(zip(words, counts, strict=True))

    async def _waiting(self) -> int:
        """How many ids wait in Redis; none while it does not answer."""
        keys, redis = self._stores.keys, self._stores.redis
        try:
            (events,) = await redis.hashes([keys.ready])
            lists = [keys.queue, *map(keys.ready_list, events or ())]
            return await redis.lengths(lists, keys.delayed)
        except StoreUnavailable:
            return 0

    async def _first_end(self, otherwise: int) -> int:
        ends = [
            milliseconds_of(document["finishedAt"])
            for status in TERMINAL
            for document in await self._stores.mongo.find(
                EXECUTIONS,
                {
                    "queuePrefix": self._stores.options.queue_prefix,
                    "status": status.value,
                    "finishedAt": {"$lt": DatetimeMS(otherwise)},
                },
                fields=("finishedAt",),
                sort=(("finishedAt", 1),),
                limit=1,
                hint=ENDED,
            )
        ]
        return min((end for end in ends if end is not None), default=otherwise)

    async def count_all(self) -> dict[str, int]:
        """Reading all of the index: documents of the original do not say their end."""
        groups = await self._stores.mongo.aggregate(
            EXECUTIONS,
            [
                {"$match": {"queuePrefix": self._stores.documents.prefix}},
                {"$group": {"_id": "$status", "count": {"$sum": 1}}},
            ],
            LISTING,
        )
        return {str(group["_id"]): group["count"] for group in groups}
