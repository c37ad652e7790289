"""The write-behind queue of Redis: writes that nobody waits for, many per round trip.

MongoDB decided before anything enters here, so losing all of it only delays work:
the sweep, the reconciliation of the inflight lists and the next claim repair it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

from ...foundations.backoff import Backoff
from ...foundations.errors import StoreUnavailable
from ...foundations.repeated_lines import RepeatedLines
from .errors import RedisFull, describe
from .scripts import ENQUEUE, FOREIGN, ORDER
from .tasks import end

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ...foundations.runtime import Runtime
    from .foreign_keys import ForeignKeys
    from .redis_gateway import RedisGateway
    from .scripts import Operation, Script, Scripts

logger = logging.getLogger("worchflow.storage.redis_mongo")

MAX_BATCH_OPERATIONS = 1000
MAX_BATCH_BYTES = 8 * 1024 * 1024
MAX_WAITING_OPERATIONS = 50_000
MAX_WAITING_BYTES = 64 * 1024 * 1024
LINGER_SECONDS = 0.02
"""Seconds that what nobody waits for may wait for company."""
CLOSE_TIMEOUT = 2.0
"""Seconds for the rest at closing; what is left then is repaired by others."""


class WriteBehindQueue:
    """One pipeline in flight at a time, first in first out."""

    def __init__(
        self,
        redis: RedisGateway,
        scripts: Scripts,
        foreign_keys: ForeignKeys,
        runtime: Runtime,
    ) -> None:
        self._redis = redis
        self._scripts = scripts
        self._foreign_keys = foreign_keys
        self._waiting: deque[Operation] = deque()
        self._waiting_bytes = 0
        self._is_asleep = True
        self._alarm: asyncio.TimerHandle | None = None
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._failing = False
        self._repeated = RepeatedLines(runtime.monotonic)
        self._random = runtime.random
        self.lost = 0
        """How many operations were given up; grows only."""
        self.is_full = False
        """Whether Redis refused to take more when it was last asked."""
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._run())

    @property
    def is_failing(self) -> bool:
        """Whether Redis did not answer when it was last asked."""
        return self._failing

    def put(self, operation: Operation, *, at_once: bool = True) -> None:
        """Send it, at once or soon; the oldest give way when too many wait.

        Soon is for what only shows how far an execution has come: its handler continues
        first, for making and sending a message takes about as long as Redis does.
        """
        self._waiting.append(operation)
        self._waiting_bytes += operation.size
        while (
            len(self._waiting) > MAX_WAITING_OPERATIONS
            or self._waiting_bytes > MAX_WAITING_BYTES
        ):
            dropped = self._waiting.popleft()
            self._waiting_bytes -= dropped.size
            self._give_up(dropped)
        if not self._is_asleep:
            return
        if at_once:
            self._get_up()
        elif self._alarm is None:
            self._idle.clear()
            self._alarm = self._loop.call_later(LINGER_SECONDS, self._get_up)

    async def flush(self, timeout: float) -> bool:
        """Wait until everything was sent; False if it was not in time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._idle.wait()
        return self._idle.is_set()

    async def close(self) -> None:
        """Send the rest, at most for a few seconds, and stop."""
        if self._task.done():
            # `asyncio.run` cancels every task before it lets anything close.
            self._task = self._loop.create_task(self._run())
        if not await self.flush(CLOSE_TIMEOUT):
            logger.warning(
                "Redis did not take the last %d updates: the sweep repairs them",
                len(self._waiting),
            )
        if self._alarm is not None:
            self._alarm.cancel()
        await end(self._task)
        while self._waiting:
            self._give_up(self._waiting.popleft())

    def _get_up(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        self._is_asleep = False
        self._idle.clear()
        self._wake.set()

    async def _run(self) -> None:
        backoff = Backoff(self._random, first=0.05, longest=1.0)
        while True:
            if not self._waiting:
                self._is_asleep = True
                self._idle.set()
                self._wake.clear()
                await self._wake.wait()
            batch = self._take_batch()
            try:
                await self._send(batch)
            except asyncio.CancelledError:
                self._put_back(batch)
                raise
            except StoreUnavailable as error:
                self._failed(error)
                self._put_back(batch)
                await asyncio.sleep(backoff.pause())
            except Exception:
                logger.exception("updates for Redis were given up: the sweep repairs")
                for operation in batch:
                    self._give_up(operation)
            else:
                self._answered()
                backoff.reset()

    async def _send(self, batch: Sequence[Operation]) -> None:
        parts = [part for run in _runs(batch) for part in _by_script(run)]
        answers = await self._redis.run([self._scripts.call(*part) for part in parts])
        self.is_full = False
        for (_, group), answer in zip(parts, answers, strict=True):
            if isinstance(answer, Exception):
                await self._refused(group, answer)
                continue
            for operation, one in zip(group, answer, strict=True):
                if isinstance(one, bytes):
                    self._foreign_keys.report(one)
                    self._give_up(operation, FOREIGN)
                else:
                    _answer(operation, one)

    async def _refused(self, group: Sequence[Operation], error: Exception) -> None:
        if isinstance(error, RedisFull):
            if not self.is_full:
                logger.warning("%s; work continues through MongoDB", error)
            self.is_full = True
        elif len(group) > 1:
            # Whatever it is about one of them must not keep the others.
            for operation in group:
                await self._send([operation])
            return
        else:
            self._repeated.warning(
                logger,
                "Redis refused an update of %s (%s)",
                group[0].keys[0],
                describe(error),
            )
        for operation in group:
            self._give_up(operation)

    def _take_batch(self) -> list[Operation]:
        if (
            len(self._waiting) > MAX_BATCH_OPERATIONS
            or self._waiting_bytes > MAX_BATCH_BYTES
        ):
            return self._take_some()
        batch = list(self._waiting)
        self._waiting.clear()
        self._waiting_bytes = 0
        return batch

    def _take_some(self) -> list[Operation]:
        batch: list[Operation] = []
        total = 0
        while self._waiting and len(batch) < MAX_BATCH_OPERATIONS:
            total += self._waiting[0].size
            if batch and total > MAX_BATCH_BYTES:
                break
            operation = self._waiting.popleft()
            self._waiting_bytes -= operation.size
            batch.append(operation)
        return batch

    def _put_back(self, batch: Sequence[Operation]) -> None:
        for operation in reversed(batch):
            self._waiting.appendleft(operation)
            self._waiting_bytes += operation.size

    def _give_up(self, operation: Operation, answer: int = 0) -> None:
        self.lost += 1
        _answer(operation, answer)

    def _failed(self, error: StoreUnavailable) -> None:
        if not self._failing:
            logger.warning("%s; work continues through MongoDB, more slowly", error)
        self._failing = True

    def _answered(self) -> None:
        if self._failing:
            logger.info("Redis answers again")
        self._failing = False


def _answer(operation: Operation, answer: int) -> None:
    try:
        if operation.answered is not None:
            operation.answered(answer)
    except Exception:
        # It must neither end the queue nor make the rest of the batch look lost.
        logger.exception("what follows from an answer of Redis was not done")


def _runs(batch: Sequence[Operation]) -> Iterator[list[Operation]]:
    """The batch, cut where something is queued after other writes.

    An id that was removed and sent anew begins again with the lowest token: what is
    left to write of its former life must not come after its queueing.
    """
    run: list[Operation] = []
    for operation in batch:
        if operation.script is ENQUEUE and run and run[-1].script is not ENQUEUE:
            yield run
            run = []
        run.append(operation)
    yield run


def _by_script(run: Sequence[Operation]) -> list[tuple[Script, list[Operation]]]:
    groups: dict[Script, list[Operation]] = {script: [] for script in ORDER}
    for operation in run:
        groups[operation.script].append(operation)
    return [(script, group) for script, group in groups.items() if group]
