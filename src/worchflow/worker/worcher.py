"""The worker: joins the fleet, runs what it claims, and leaves in order."""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Literal

from ..clock import SystemClock
from ..durations import to_seconds
from ..emitter import Emitter
from ..engine.environment import Environment
from ..engine.ownership import Interruption
from ..engine.threads import Threads
from ..errors import ConfigurationError, StoreUnavailable, WorchflowError
from ..limits import Limits
from ..notices import ErrorRaised, Ready
from ..options import WorkerOptions
from ..payloads import Payloads
from ..registry import FunctionRegistry
from ..storage import StoreChoice, make_backend
from .background import Background
from .blocked_loop import BlockedLoopWatch
from .claiming import ClaimLoop
from .membership import Membership
from .running import Running
from .signals import stop_on_signals
from .upkeep import UpkeepLoop

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Iterable, Sequence
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType
    from typing import Self

    from ..function import AnyFunction
    from ..middleware import Middleware
    from ..serialization import Codec, Serializer
    from ..storage import AnyDatabase, AnyRedis
    from ..storage.base import Backend
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
        self.options = _options(concurrency, options)
        self._registry = FunctionRegistry(functions)
        self._backend = make_backend(
            StoreChoice(redis=redis, db=db, backend=backend, queue_prefix=queue_prefix)
        )
        self._opened = False
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
            step_threads=Threads(_step_threads(self.options), "worchflow-step"),
            clock=self._clock,
            random=random.random,
        )
        self._running = Running(self._environment, self._registry, self.options)
        self._background = Background(self)
        self._membership = Membership(
            self._backend,
            self._running,
            self.options,
            self._registry.events,
            self._clock,
            self._background.spawn,
        )
        self._claiming = ClaimLoop(self._running, self._environment, self._membership)
        self._membership.claim_asked_at = lambda: self._claiming.asked_at
        self._upkeep = UpkeepLoop(
            self._environment, self._membership, self.options.upkeep_interval
        )
        self._watch: BlockedLoopWatch | None = None
        self._state: Literal["new", "running", "stopping", "stopped"] = "new"
        self._stopped = asyncio.Event()

    @property
    def id(self) -> str | None:
        """This worker's identity now; it changes when the lease was lost."""
        lease = self._membership.lease
        return lease.worker.id if lease else None

    async def start(self) -> None:
        """Connect, join the fleet and begin to claim; returns once polling.

        Raises `StoreUnavailable` or `ConfigurationError`, after emitting `error`.
        """
        if self._state != "new":
            raise ConfigurationError(
                f"this worker is {self._state}; make a new Worcher to start again"
            )
        self._state = "running"
        self._watch = BlockedLoopWatch(
            asyncio.get_running_loop(), self.options.blocked_loop_after
        )
        try:
            await self._backend.open()
            self._opened = True
            await self._membership.join(self._watch)
            if self._lifespan is not None:
                await self._lifespan_exit.enter_async_context(self._lifespan())
        except BaseException as error:
            self._state = "stopped"
            self._stopped.set()
            if isinstance(error, WorchflowError):
                self.emit(ErrorRaised(error=error))
            await self._leave(drained=True)
            raise
        self._watch.start()
        self._background.keep_up("claim loop", self._claiming.run)
        self._background.keep_up("upkeep loop", self._upkeep.run)
        logger.info(
            "worker %s serves %s with %d slot(s), store %s",
            self.id,
            ", ".join(sorted(self._registry.events)) or "no event",
            self.options.concurrency,
            self._backend.location,
        )
        self.emit(Ready())

    async def run(
        self, *, shutdown_timeout: Duration = 30, burst: bool = False
    ) -> signal.Signals | None:
        """Start, then run until `stop` or a signal; returns the signal, if any.

        The first SIGINT or SIGTERM drains for up to `shutdown_timeout`; the second
        stops now. With `burst` it also stops once nothing is left to do now: nothing
        runs here and nothing this worker serves came due for two seconds.
        """
        timeout = to_seconds(shutdown_timeout, "shutdown_timeout")

        def drain() -> None:
            self._background.spawn(self.stop(timeout))

        if burst:
            self._claiming.on_idle = drain
        await self.start()
        with stop_on_signals(
            drain=drain,
            stop_now=lambda: self._running.interrupt_all(Interruption.STOPPING),
        ) as received:
            await self._stopped.wait()
        return received[0] if received else None

    async def stop(self, timeout: Duration = 30) -> None:
        """Claim nothing more, wait for what runs, and return by the deadline.

        What is not done shortly before the deadline is cancelled and handed back to
        the front of the queue, without counting an attempt. A sync step cannot be
        cancelled: if it still runs at the deadline its execution is not handed back,
        its claim ends with the lease. Calling it again waits for the first call.
        """
        seconds = to_seconds(timeout, "timeout")
        if self._state == "new":
            self._stopped.set()
        if self._state != "running":
            await self._stopped.wait()
            self._state = "stopped"
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
        await self._background.end()
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

    async def _leave(self, *, drained: bool) -> None:
        if self._watch is not None:
            self._watch.stop()
        try:
            await self._membership.leave(drained=drained)
        finally:
            if self._opened:
                self._opened = False
                await self._backend.close()

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


def _options(concurrency: int, options: WorkerOptions | None) -> WorkerOptions:
    if options is not None and concurrency != 1:
        raise ConfigurationError(
            f"concurrency={concurrency!r} and options= were both given: set "
            "WorkerOptions(concurrency=...)"
        )
    return options or WorkerOptions(concurrency=concurrency)


def _step_threads(options: WorkerOptions) -> int:
    return max(LEAST_STEP_THREADS, 2 * options.concurrency)
