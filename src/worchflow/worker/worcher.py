"""The worker: joins the fleet, runs what it claims, and leaves in order."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import socket
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from ..clock import SystemClock
from ..durations import to_seconds
from ..emitter import Emitter
from ..engine.environment import Environment
from ..engine.ownership import Interruption
from ..engine.threads import Threads
from ..errors import ConfigurationError, StoreUnavailable, WorchflowError
from ..ids import new_worker_id
from ..limits import Limits
from ..notices import ErrorRaised, Ready
from ..options import WorkerOptions
from ..payloads import Payloads
from ..records import WorkerRecord
from ..registry import FunctionRegistry
from ..storage import StoreChoice, make_backend
from .blocked_loop import BlockedLoopWatch
from .claiming import ClaimLoop
from .lease import Lease, LeaseKeeper
from .running import Running
from .signals import stop_on_signals
from .upkeep import UpkeepLoop

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Sequence
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType
    from typing import Self

    from ..function import AnyFunction
    from ..middleware import Middleware
    from ..serialization import Codec, Serializer
    from ..storage import AnyDatabase, AnyRedis
    from ..storage.base import Backend, Renewal
    from ..types import Duration

logger = logging.getLogger("worchflow.worker")

LEAST_STEP_THREADS = 32
"""Sync steps of one execution may run in parallel, so a slot can need several."""


class Worcher(Emitter):
    """Claims executions and runs the functions registered for their events.

    At most `concurrency` executions run at once. Making one does no I/O; `start`
    returns once it polls, `run` runs until a signal or `stop`, and `async with`
    does both ends. The stores are given as for `open_backend`.
    """

    def __init__(
        self,
        functions: Iterable[AnyFunction],
        /,
        *,
        redis: AnyRedis | None = None,
        db: AnyDatabase | None = None,
        backend: Backend | None = None,
        concurrency: int = 1,
        queue_prefix: str | None = None,
        middleware: Sequence[Middleware] = (),
        serializer: Serializer | None = None,
        codec: Codec | None = None,
        limits: Limits | None = None,
        options: WorkerOptions | None = None,
        lifespan: Callable[[], AbstractAsyncContextManager[None]] | None = None,
    ) -> None:
        super().__init__(middleware)
        if options is not None and concurrency != 1:
            raise ConfigurationError(
                f"concurrency={concurrency!r} and options= were both given: set "
                "WorkerOptions(concurrency=...)"
            )
        self.options = options or WorkerOptions(concurrency=concurrency)
        self._registry = FunctionRegistry(functions)
        self._backend = make_backend(
            StoreChoice(redis=redis, db=db, backend=backend, queue_prefix=queue_prefix)
        )
        self._lifespan = lifespan
        self._lifespan_exit = AsyncExitStack()
        self._clock = SystemClock()
        self._environment = Environment(
            store=self._backend,
            payloads=Payloads(
                serializer=serializer, codec=codec, limits=limits or Limits()
            ),
            middleware=tuple(middleware),
            emitter=self,
            handler_threads=Threads(self.options.concurrency, "worchflow-handler"),
            step_threads=Threads(
                max(LEAST_STEP_THREADS, 2 * self.options.concurrency),
                "worchflow-step",
            ),
            clock=self._clock,
            random=random.random,
        )
        self._running = Running(self._environment, self._registry, self.options)
        self._claiming = ClaimLoop(
            self._backend, self._running, self._environment, lambda: self._lease
        )
        self._upkeep = UpkeepLoop(
            self._backend,
            lambda: self._lease,
            self.options.upkeep_interval,
            random.random,
        )
        self._lease: Lease | None = None
        self._keeper: LeaseKeeper | None = None
        self._watch: BlockedLoopWatch | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._unknown: dict[str, float] = {}
        self._state = "new"
        self._stopped = asyncio.Event()

    @property
    def id(self) -> str | None:
        """This worker's identity now; it changes when the lease was lost."""
        return self._lease.worker.id if self._lease else None

    async def start(self) -> None:
        """Connect, join the fleet and begin to claim; returns once polling."""
        if self._state != "new":
            raise ConfigurationError(
                f"this worker is {self._state}; make a new Worcher to start again"
            )
        self._state = "running"
        try:
            await self._backend.open()
            await self._join()
            if self._lifespan is not None:
                await self._lifespan_exit.enter_async_context(self._lifespan())
        except BaseException as error:
            self._state = "stopped"
            if isinstance(error, WorchflowError):
                self.emit(ErrorRaised(error=error))
            await self._leave(drained=True)
            raise
        self._watch = BlockedLoopWatch(
            asyncio.get_running_loop(), self.options.blocked_loop_after
        )
        self._watch.start()
        self._spawn("claim loop", self._claiming.run)
        self._spawn("upkeep loop", self._upkeep.run)
        logger.info(
            "worker %s serves %s with %d slot(s), store %s",
            self.id,
            ", ".join(sorted(self._registry.events)) or "no event",
            self.options.concurrency,
            self._backend.location,
        )
        self.emit(Ready())

    async def run(self, *, shutdown_timeout: Duration = 30) -> None:
        """Start, then run until `stop` or a signal.

        The first SIGINT or SIGTERM drains for up to `shutdown_timeout`; the second
        stops now. Returns when stopped.
        """
        timeout = to_seconds(shutdown_timeout, "shutdown_timeout")
        await self.start()
        with stop_on_signals(
            drain=lambda: self._spawn_once(self.stop(timeout)),
            stop_now=lambda: self._running.interrupt_all(Interruption.STOPPING),
        ):
            await self._stopped.wait()

    async def stop(self, timeout: Duration = 30) -> None:
        """Claim nothing more, wait for what runs, and return by the deadline.

        What is not done shortly before the deadline is cancelled and handed back to
        the front of the queue, without counting an attempt. A sync step cannot be
        cancelled: if it still runs at the deadline its execution is not handed back,
        its claim ends with the lease. Calling it again waits for the first call.
        """
        seconds = to_seconds(timeout, "timeout")
        if self._state in ("stopping", "stopped", "new"):
            if self._state == "stopping":
                await self._stopped.wait()
            self._state = "stopped" if self._state == "new" else self._state
            return
        self._state = "stopping"
        try:
            await self._stop(seconds)
        finally:
            self._state = "stopped"
            self._stopped.set()
            logger.info("worker stopped")

    async def _stop(self, seconds: float) -> None:
        now = asyncio.get_running_loop().time
        deadline = now() + seconds
        # Handing back needs a moment of the time that was given.
        grace = min(2.0, seconds / 4)
        await self._end_loops()
        drained = await self._running.drained(deadline - grace - now())
        if not drained:
            self._running.interrupt_all(Interruption.STOPPING)
            drained = await self._running.drained(max(0.5, deadline - now()))
        if not drained:
            self._running.abandon()
        try:
            async with asyncio.timeout(max(1.0, deadline - now())):
                await self._leave(drained=drained)
                await self.drain(0.5)
        except (TimeoutError, StoreUnavailable) as error:
            logger.warning(
                "the stores did not answer while stopping (%s); what was not handed "
                "back is taken over when the lease ends",
                error,
            )
        await self._lifespan_exit.aclose()
        self._environment.handler_threads.close()
        self._environment.step_threads.close()

    async def _end_loops(self) -> None:
        me = asyncio.current_task()
        tasks = {task for task in self._tasks if task is not me}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=1.0)

    async def _leave(self, *, drained: bool) -> None:
        if self._watch is not None:
            self._watch.stop()
        if self._keeper is not None:
            await self._keeper.stop()
        if self._lease is not None and drained and not self._lease.lost:
            await self._backend.leave(self._lease.worker.id)
        await self._backend.close()

    async def _join(self) -> None:
        """Take a new identity and a lease for it."""
        worker = WorkerRecord(
            id=new_worker_id(),
            functions=self._registry.events,
            concurrency=self.options.concurrency,
            host=socket.gethostname(),
            pid=os.getpid(),
            started_at=self._clock.now(),
        )
        lease = Lease(worker, self._backend.options.lease_ttl, self._clock)
        asked_at = self._clock.monotonic()
        await self._backend.join(worker, self._hinted)
        lease.renewed(asked_at)
        self._unknown.clear()
        self._lease = lease
        self._keeper = LeaseKeeper(
            self._backend,
            lease,
            self.options.heartbeat,
            self._clock,
            self._may_renew,
        )
        self._keeper.start(asyncio.get_running_loop(), self._renewed)

    def _may_renew(self) -> bool:
        limit = self.options.give_up_blocked_after
        return limit is None or self._watch is None or self._watch.blocked_for() < limit

    def _renewed(self, lease: Lease, renewal: Renewal) -> None:
        if lease is not self._lease or self._state != "running":
            return
        if not renewal.alive:
            self._fenced(lease)
            return
        for execution_id in renewal.cancelled:
            self._running.interrupt(execution_id, Interruption.CANCELLED)
        self._reconcile(lease, renewal.owned)

    def _fenced(self, lease: Lease) -> None:
        logger.error(
            "worker %s was declared dead (frozen or cut off for longer than its lease "
            "of %.0f s): it drops what it ran and goes on under a new identity",
            lease.worker.id,
            lease.ttl,
        )
        self._lease = None
        self._running.interrupt_all(Interruption.LOST)
        self._spawn_once(self._rejoin())

    async def _rejoin(self) -> None:
        pause = 0.1
        while self._state == "running":
            try:
                await self._join()
            except StoreUnavailable as error:
                logger.warning("%s; joining again in %.1f s", error, pause)
                await asyncio.sleep(pause)
                pause = min(pause * 2, 5.0)
            else:
                logger.info("goes on as worker %s", self.id)
                return

    def _reconcile(self, lease: Lease, owned: frozenset[str]) -> None:
        """Run what the store says this worker owns and the process does not know.

        Only what was unknown a beat ago too, and not while a claim that began before
        then is still under way: that claim will hand it out itself.
        """
        now = self._clock.monotonic()
        known = self._running.ids
        before = self._unknown
        self._unknown = {id_: before.get(id_, now) for id_ in owned - known}
        asked_at = self._claiming.asked_at
        lost = frozenset(
            id_
            for id_, seen in self._unknown.items()
            if id_ in before and (asked_at is None or asked_at > seen)
        )
        if lost and self._running.free:
            self._spawn_once(self._adopt(lease, lost))

    async def _adopt(self, lease: Lease, execution_ids: frozenset[str]) -> None:
        some = frozenset(sorted(execution_ids)[: self._running.free])
        try:
            claims = await self._backend.adopt(lease.worker, some)
        except StoreUnavailable as error:
            logger.warning("%s; adopting claims is tried at the next beat", error)
            return
        for claim in claims:
            if self._running.free and lease is self._lease:
                self._running.start(claim, lease)

    def _hinted(self, execution_id: str) -> None:
        if execution_id in self._running.ids:
            self._spawn_once(self._cancel_if_asked(execution_id))

    async def _cancel_if_asked(self, execution_id: str) -> None:
        try:
            stored = await self._backend.get(execution_id)
        except StoreUnavailable:
            return  # the next renewal tells
        if stored is not None and stored.cancel_requested:
            self._running.interrupt(execution_id, Interruption.CANCELLED)

    def _spawn(self, name: str, loop: Any) -> None:
        self._spawn_once(self._keep_up(name, loop))

    async def _keep_up(self, name: str, loop: Any) -> None:
        """Run a loop for ever; what it raises is seen, and it starts again."""
        while True:
            try:
                await loop()
            except Exception as error:
                logger.exception("the %s failed; it starts again in a second", name)
                self.emit(ErrorRaised(error=error))
            await asyncio.sleep(1.0)

    def _spawn_once(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None:
        await self.stop()
