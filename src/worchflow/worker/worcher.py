"""The worker: joins the fleet, runs what it claims, and leaves in order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Literal, TypeAlias

from ..definitions.registry import FunctionRegistry
from ..engine.emitter import CallbackMethods, Callbacks, Emitter
from ..engine.ownership import Interruption
from ..engine.sending import Sender
from ..engine.slot import ParkingCounts
from ..engine.threads import Threads
from ..engine.worker_runtime import WorkerRuntime
from ..foundations import forking
from ..foundations.durations import format_duration, to_seconds
from ..foundations.errors import ConfigurationError, StoreUnavailable, WorchflowError
from ..foundations.repeated_lines import RepeatedLines
from ..foundations.suggestions import refuse_unknown
from ..model.notices import ErrorRaised, Ready
from ..model.options import WorkerOptions
from ..serialization.payloads import PayloadOptions, Payloads
from ..storage.choice import StoreChoice, StoreOptions, make_backend
from .background import Background
from .blocked_loop import BlockedLoopWatch
from .claiming import ClaimLoop
from .deadline import Deadline
from .execution_slots import ExecutionSlots
from .lifespan import Lifespan
from .membership import Membership
from .pruning import PruneLoop
from .signals import stop_on_signals
from .upkeep import UpkeepLoop

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Iterable, Sequence
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType
    from typing import Self, Unpack

    from ..definitions.function import AnyFunction
    from ..definitions.middleware import Middleware
    from ..foundations.types import Duration

logger = logging.getLogger("worchflow.worker")

State: TypeAlias = Literal[
    "new", "starting", "running", "stopping", "stopped", "one of the parent process"
]

REPORT_AFTER_SECONDS = 1.0
"""Seconds of stopping after which a worker says what it waits for."""
MAX_REPORTED_IDS = 3
MIN_STEP_THREADS = 32
"""Sync steps of one execution may run in parallel, so a slot can need several."""


class SharedOptions(StoreOptions, PayloadOptions, total=False):
    """What a worker is made with as clients are: the stores and the payloads."""


class Worcher(CallbackMethods):
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
        concurrency: int = 1,
        middleware: Sequence[Middleware] = (),
        options: WorkerOptions | None = None,
        lifespan: Callable[[], AbstractAsyncContextManager[None]] | None = None,
        **shared: Unpack[SharedOptions],
    ) -> None:
        refuse_unknown(shared, SharedOptions.__optional_keys__, "Worcher")
        super().__init__(Callbacks())
        self._emitter = Emitter(middleware, self._callbacks)
        self.options = _options(concurrency, options)
        self._registry = FunctionRegistry(functions)
        self._backend = make_backend(StoreChoice.of(shared))
        self._opened = False
        self._lifespan = Lifespan(lifespan)
        clock, payloads = self._backend.options.runtime, Payloads.of(shared)
        self._runtime = WorkerRuntime(
            store=self._backend,
            payloads=payloads,
            middleware=tuple(middleware),
            emitter=self._emitter,
            # Those of plain handlers that are parked stay taken.
            handler_threads=Threads(2 * self.options.concurrency, "worchflow-handler"),
            step_threads=Threads(_step_threads(self.options), "worchflow-step"),
            clock=clock,
            random=clock.random,
            repeated=RepeatedLines(clock.monotonic),
            parking=ParkingCounts(),
            sender=Sender.of(self._backend, payloads, self._registry),
        )
        self._slots = ExecutionSlots(self._runtime, self._registry, self.options)
        self._background = Background(self._emitter)
        self._membership = Membership(
            self._backend,
            self._slots,
            self.options,
            self._registry.events,
            self._background.spawn,
        )
        self._claiming = ClaimLoop(self._slots, self._runtime, self._membership)
        self._upkeep = UpkeepLoop(
            self._slots, self._runtime, self._membership, self.options
        )
        self._watch: BlockedLoopWatch | None = None
        self._state: State = "new"
        self._starting: asyncio.Task[None] | None = None
        self._stopping: asyncio.Task[None] | None = None
        self._stopped = asyncio.Event()
        self._deadline = Deadline()
        self._leaving_late: asyncio.Task[None] | None = None
        forking.watch(self)

    @property
    def id(self) -> str | None:
        """This worker's identity now; it changes when the lease was lost."""
        lease = self._membership.lease
        return lease.worker.id if lease else None

    @property
    def parking(self) -> ParkingCounts:
        """How often executions have waited here: parked, resumed, suspended."""
        return self._runtime.parking

    async def start(self) -> None:
        """Connect, join the fleet and begin to claim; returns once polling.

        Raises `StoreUnavailable` or `ConfigurationError`, after emitting `error`.
        """
        if self._state != "new":
            raise ConfigurationError(
                f"this worker is {self._state}; make a new Worcher to start again"
            )
        if not self._registry:
            logger.warning("this worker has no functions, and so nothing to run")
        self._state = "starting"
        self._starting = asyncio.ensure_future(self._start())
        try:
            await self._starting
        except asyncio.CancelledError:
            if self._stopping is None:
                raise
            raise ConfigurationError(
                "this worker was stopped while it started"
            ) from None

    async def _start(self) -> None:
        self._watch = BlockedLoopWatch(
            asyncio.get_running_loop(),
            self.options.blocked_loop_after,
            self._backend.options.runtime,
        )
        self._watch.start()
        try:
            await self._backend.open(migrate=True)
            self._opened = True
            await self._membership.join(self._watch)
            await self._lifespan.enter()
        except BaseException as error:
            if isinstance(error, WorchflowError):
                self._emitter.emit(ErrorRaised(error=error))
            try:
                with contextlib.suppress(StoreUnavailable):
                    await self._leave(drained=True)
            finally:
                self._state = "stopped"
                self._stopped.set()
            raise
        self._state = "running"
        self._background.keep_up("claim loop", self._claiming.run)
        self._background.keep_up("upkeep loop", self._upkeep.run)
        pruning = PruneLoop(
            self._backend, self._membership, self.options.prune_interval
        )
        self._background.keep_up("prune loop", pruning.run)
        logger.info(
            "worker %s serves %s with %d slot(s), store %s",
            self.id,
            ", ".join(sorted(self._registry.events)) or "no event",
            self.options.concurrency,
            self._backend.location,
        )
        self._emitter.emit(Ready())

    async def run(
        self, *, shutdown_timeout: Duration = 30, burst: bool = False
    ) -> signal.Signals | None:
        """Start, then run until `stop` or a signal; returns the signal, if any.

        The first SIGINT or SIGTERM drains for up to `shutdown_timeout`; the second
        stops now. One that comes while it starts ends the start, and the lifespan is
        left as far as it was entered. With `burst` it also stops once nothing is left
        to do now: nothing runs here and nothing this worker serves came due for two
        seconds.
        """
        timeout = to_seconds(shutdown_timeout, "shutdown_timeout")

        # Asked for at once: a task that had yet to begin could be lost in the stop.
        def drain() -> None:
            self._request_stop(timeout)

        def stop_now() -> None:
            self._request_stop(0)

        if burst:
            self._claiming.on_idle = drain
        with stop_on_signals(drain=drain, stop_now=stop_now) as received:
            try:
                await self.start()
            except ConfigurationError:
                if not received:
                    raise
            try:
                await self._stopped.wait()
                await self.stop(0)  # raises what stopping has raised
            except asyncio.CancelledError:
                await self.stop(timeout)
                raise
        return received[0] if received else None

    async def stop(self, timeout: Duration = 30) -> None:
        """Claim nothing more, wait for what runs, and return by the deadline.

        What is not done shortly before the deadline is cancelled and handed back to
        the front of the queue, without counting an attempt; with `timeout=0` at once.
        A sync step cannot be cancelled: if it still runs at the deadline its execution
        is not handed back before it ends, or else its claim ends with the lease.

        Calling it again waits for the first call, until the earlier of both deadlines.
        Cancelling the call does not end the stop.
        """
        seconds = to_seconds(timeout, "timeout")
        if self._state == "one of the parent process":
            return
        self._request_stop(seconds)
        if self._stopping is not None:
            await asyncio.shield(self._stopping)

    def after_fork(self) -> None:
        """Do nothing in the child: what the worker runs continues in the parent."""
        if self._state != "new":
            self._state = "one of the parent process"

    def _request_stop(self, seconds: float) -> None:
        """Let it stop within so many seconds, in its own task."""
        self._deadline.bring_forward(seconds)
        if self._state == "new":
            self._state = "stopped"
            self._stopped.set()
        if self._stopping is None:
            self._stopping = asyncio.ensure_future(self._stop())

    async def _stop(self) -> None:
        if self._starting is not None and not self._starting.done():
            self._starting.cancel()
            await asyncio.wait({self._starting})
        if self._state == "stopped":
            return
        self._state = "stopping"
        try:
            await self._background.end()
            self._slots.suspend_parked()
            drained = await self._drain()
            if drained:
                await self._release()
            else:
                self._slots.abandon()
                await self._membership.leave(drained=False)
                self._leaving_late = asyncio.ensure_future(self._release_late())
            await self._leave_lifespan()
            await self._emitter.drain(0.5)
        finally:
            self._state = "stopped"
            self._stopped.set()
            logger.info("worker stopped")

    async def _drain(self) -> bool:
        """Wait for what runs, then end it; False if it does not end in time."""
        # Handing back needs a moment of the time that was given.
        reserve = min(2.0, self._deadline.left() / 4)
        tell = asyncio.get_running_loop().call_later(
            REPORT_AFTER_SECONDS, self._tell_what_runs
        )
        try:
            if await self._deadline.keeps(self._slots.drained, reserve=reserve):
                return True
        finally:
            tell.cancel()
        self._slots.interrupt_all(Interruption.STOPPING)
        self._deadline.at_least(0.5)
        return await self._deadline.keeps(self._slots.drained)

    def _tell_what_runs(self) -> None:
        ids = sorted(self._slots.ids)
        logger.warning(
            "the worker stops once %d execution(s) have ended, in %s at the latest: %s",
            len(ids),
            format_duration(self._deadline.left()),
            ", ".join(ids[:MAX_REPORTED_IDS])
            + (", …" if len(ids) > MAX_REPORTED_IDS else ""),
        )

    async def _release(self) -> None:
        try:
            async with asyncio.timeout(max(1.0, self._deadline.left())):
                await self._leave(drained=True)
        except (TimeoutError, StoreUnavailable) as error:
            logger.warning(
                "the stores did not answer while stopping (%s); what was not handed "
                "back is taken over when the lease ends",
                error,
            )
        self._runtime.handler_threads.close()
        self._runtime.step_threads.close()

    async def _leave_lifespan(self) -> None:
        try:
            await self._lifespan.leave(max(1.0, self._deadline.left()))
        except Exception as error:
            logger.exception("leaving the lifespan failed; the worker stops anyway")
            self._emitter.emit(ErrorRaised(error=error))

    async def _release_late(self) -> None:
        """After the deadline: what ends yet is recorded and handed back even so."""
        await self._slots.drained()
        await self._release()

    async def _leave(self, *, drained: bool) -> None:
        if self._watch is not None:
            self._watch.stop()
        self._runtime.sender.served.close()
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
    return max(MIN_STEP_THREADS, 2 * options.concurrency)
