"""One worker's way to executions: ids from Redis, ownership from MongoDB."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from typing import TYPE_CHECKING

from bson.datetime_ms import DatetimeMS

from ...foundations.backoff import Backoff
from ...foundations.errors import StoreUnavailable
from ...foundations.ids import new_nonce
from .claim_updates import Ownership
from .documents import EXECUTIONS
from .errors import RedisFull
from .indexes import DUE
from .taking import Taker
from .tasks import end
from .unclaimable import UnclaimableSorter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...model.records import Claim, WorkerRecord
    from .executions import Executions
    from .steps import Steps
    from .stores import Stores

logger = logging.getLogger("worchflow.storage.redis_mongo")

POLL_SECONDS = 0.5
"""Seconds between two looks at MongoDB while Redis does not help, jittered."""
MAX_INFLIGHT = 20_000


class Claimer:
    """Takes ids and turns them into claims.

    A round is its own task and never cancelled by its caller: ids it took and
    claims it made wait here for the next call. So is a claim for the quarantine slot.
    """

    def __init__(
        self, stores: Stores, executions: Executions, steps: Steps, worker: WorkerRecord
    ) -> None:
        self._stores = stores
        self._worker = worker
        self._inflight = stores.keys.inflight(worker.id)
        self._ownership = Ownership(stores, steps, worker)
        self._taker = Taker(stores, worker)
        self._sorter = UnclaimableSorter(stores, executions, worker, self.released)
        self._held: Counter[str] = Counter()
        """How often each id should be in our inflight list."""
        self._taken: deque[str] = deque()
        self._unsure: list[str] = []
        """The ids of a claim until its outcome is known."""
        self._runtime = stores.options.runtime
        self._nonce = ""
        self._unclaimable: list[str] = []
        """The ids that were not claimable until it is known why."""
        self._tried_again: set[str] = set()
        self._polled = False
        self._ready: deque[Claim] = deque()
        self._round: asyncio.Task[None] | None = None
        self._quarantined: deque[Claim] = deque()
        self._quarantining: asyncio.Task[None] | None = None
        self._redis_is_down = False
        self._probe: asyncio.Task[None] | None = None
        self._lost_seen = 0

    async def claim(self, limit: int, wait: float) -> list[Claim]:
        """Own up to `limit` executions, waiting up to `wait` seconds for the first."""
        if not self._ready and limit > 0:
            if self._round is None:
                self._round = asyncio.get_running_loop().create_task(
                    self._run_round(limit, wait)
                )
                self._round.add_done_callback(_seen)
            task = self._round
            error = await _ended(task)
            if self._round is task:
                self._round = None
            if error is not None and not self._ready:
                raise error
        return self._hand_out(limit)

    async def claim_quarantined(self) -> Claim | None:
        """Own one that has had too many deaths for `claim`, if one waits."""
        if not self._quarantined:
            if self._quarantining is None:
                self._quarantining = asyncio.get_running_loop().create_task(
                    self._quarantine()
                )
                self._quarantining.add_done_callback(_seen)
            task = self._quarantining
            error = await _ended(task)
            if self._quarantining is task:
                self._quarantining = None
            if error is not None:
                raise error
        return self._quarantined.popleft() if self._quarantined else None

    async def adopt(self, execution_ids: frozenset[str]) -> list[Claim]:
        """Claims this worker holds; those a running round will hand out excepted."""
        if self._quarantining is not None:
            await asyncio.wait({self._quarantining})
        ready: list[Claim] = []
        for waiting in (self._ready, self._quarantined):
            some = [claim for claim in waiting if claim.execution.id in execution_ids]
            for claim in some:
                waiting.remove(claim)
            ready += some
        known = {claim.execution.id for claim in ready}
        rest = sorted(execution_ids - known - set(self._unsure))
        return ready + (await self._ownership.owned(rest) if rest else [])

    async def reconcile(self) -> None:
        """Look for ids in our inflight list that this process does not know of."""
        stores = self._stores
        items = await stores.redis.items(self._inflight, MAX_INFLIGHT)
        known = self._held + Counter(await self._read_ids(self._taker.popped))
        orphaned_claim = Counter(await self._read_ids(items)) - known
        if orphaned_claim:
            kept = await self._taker.keep(list(orphaned_claim.elements()))
            ids = await self._read_ids(kept)
            self._held.update(ids)
            self._taken.extend(ids)
        self._lost_seen = stores.write_behind.lost

    def wake(self, event: str | None) -> None:
        """Let a waiting claim look again; see `Taker.wake`."""
        self._taker.wake(event)

    @property
    def has_lost(self) -> bool:
        """Whether updates for Redis were given up since it was reconciled."""
        return self._stores.write_behind.lost != self._lost_seen

    def released(self, execution_id: str, _: int = 0) -> None:
        """An id has left the inflight list."""
        self._held[execution_id] -= 1
        if self._held[execution_id] <= 0:
            del self._held[execution_id]

    async def close(self) -> list[Claim]:
        """Stop taking; the claims that nobody was given."""
        if self._unsure and self._round is not None:
            # It is about to learn what it owns; waiting for work would only end.
            await asyncio.wait({self._round})
        if self._quarantining is not None:
            await asyncio.wait({self._quarantining})
        await end(self._round)
        await self._taker.close()
        await end(self._probe)
        claims = [*self._ready, *self._quarantined]
        self._ready.clear()
        self._quarantined.clear()
        return claims

    def _hand_out(self, limit: int) -> list[Claim]:
        return [self._ready.popleft() for _ in range(min(limit, len(self._ready)))]

    async def _run_round(self, limit: int, wait: float) -> None:
        clock = asyncio.get_running_loop().time
        deadline = clock() + wait
        handed_back = 0
        while True:
            self._polled = False
            if not self._unsure and not self._unclaimable:
                left = max(0.0, deadline - clock())
                if ids := await self._take(limit, left):
                    self._unsure = list(dict.fromkeys(ids))
                    self._nonce = new_nonce(self._runtime)
            if self._unsure:
                await self._own()
            if self._unclaimable:
                handed_back += await self._sort_out()
            left = deadline - clock()
            if self._ready or left <= 0:
                return
            if handed_back or self._polled:
                # Two workers must not throw each other's executions to and fro, and
                # MongoDB is not a queue to be asked without end.
                pause = min(1.0, 0.05 * 2 ** min(handed_back, 10))
                pause = max(pause, POLL_SECONDS * self._polled)
                spread = 0.5 + self._runtime.random() / 2
                await asyncio.sleep(min(left, pause * spread))

    async def _quarantine(self) -> None:
        claim = await self._ownership.claim_quarantined()
        if claim is not None:
            self._quarantined.append(claim)

    async def _own(self) -> None:
        """Claim what was taken; repeated with its nonce until the outcome is known."""
        claims, rest = await self._ownership.claim(self._nonce, self._unsure)
        self._unsure = []
        self._ready.extend(claims)
        self._unclaimable.extend(rest)

    async def _sort_out(self) -> bool:
        """Look at what could not be claimed; whether some of it was handed back."""
        result = await self._sorter.sort_out(self._unclaimable)
        self._unclaimable = []
        for execution_id in result.claimable:
            if execution_id in self._tried_again:
                self._sorter.set_aside(execution_id, "it cannot be claimed")
            else:
                self._taken.append(execution_id)
        self._tried_again = set(result.claimable) - self._tried_again
        return result.handed_back > 0

    async def _take(self, limit: int, wait: float) -> list[str]:
        if self._taken:
            return [self._taken.popleft() for _ in range(min(limit, len(self._taken)))]
        if self._redis_is_down:
            return await self._poll(limit)
        try:
            ids = await self._read_ids(await self._taker.take(limit, wait))
        except RedisFull:
            # BLMOVE is refused, the script that only moves is not.
            return await self._poll(limit)
        except StoreUnavailable as error:
            self._lose_redis(error)
            return await self._poll(limit)
        self._held.update(ids)
        return ids

    async def _read_ids(self, items: Sequence[bytes]) -> list[str]:
        """The items as text; what is none can be the id of nothing and is dropped."""
        ids: list[str] = []
        for item in items:
            try:
                ids.append(item.decode())
            except UnicodeDecodeError:
                logger.warning("the queued id %.200r is dropped: no text", item)
                await self._stores.redis.remove(self._inflight, item)
        return ids

    async def _poll(self, limit: int) -> list[str]:
        """Ids by MongoDB alone, oldest first: slower, but it needs no Redis."""
        self._polled = True
        stores = self._stores
        found = await stores.mongo.find(
            EXECUTIONS,
            {
                "queuePrefix": stores.documents.prefix,
                "dueAt": {"$lte": DatetimeMS(stores.clock.now())},
                "eventName": {"$in": list(self._worker.functions)},
                "owner": None,
                "deaths": {"$not": {"$gte": self._worker.quarantine_after}},
            }
            | stores.documents.waiting,
            fields=("id",),
            sort=(("dueAt", 1),),
            limit=limit,
            hint=DUE,
        )
        return [document["id"] for document in found if "id" in document]

    def _lose_redis(self, error: StoreUnavailable) -> None:
        if self._probe is None or self._probe.done():
            logger.warning("%s; work is taken from MongoDB until it does", error)
            self._redis_is_down = True
            self._probe = asyncio.get_running_loop().create_task(self._regain_redis())

    async def _regain_redis(self) -> None:
        backoff = Backoff(self._runtime.random, longest=2.0)
        while True:
            await asyncio.sleep(backoff.pause())
            try:
                # What a lost answer had moved to us is in the list.
                await self.reconcile()
            except StoreUnavailable:
                continue
            except Exception:
                # Were this the end of it, nobody would ever look at Redis again.
                logger.exception("going back to Redis failed; it is tried again")
                continue
            self._redis_is_down = False
            logger.warning("Redis answers again; work is taken from its queue")
            return


async def _ended(task: asyncio.Task[None]) -> BaseException | None:
    """What a task failed with; cancelling this call leaves the task alone."""
    await asyncio.wait({task})
    return None if task.cancelled() else task.exception()


def _seen(task: asyncio.Task[None]) -> None:
    """Nobody may be left to ask: the caller was cancelled, or the worker fenced."""
    if not task.cancelled():
        task.exception()
