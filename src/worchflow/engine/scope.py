"""What runs on behalf of one attempt, its tasks, threads and saves, and their end."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from .coroutines import has_not_begun
from .ownership import Interrupted, Interruption
from .threads import ThreadCall

if TYPE_CHECKING:
    from collections.abc import (
        Awaitable,
        Callable,
        Collection,
        Coroutine,
        Iterable,
        Mapping,
    )

    from .operation import Operation
    from .threads import Executor

logger = logging.getLogger("worchflow.engine")

MAX_UNFINISHED = 10_000
"""How many steps, and how many tasks and threads, of one attempt may be unfinished."""
LATE_AFTER_SECONDS = 10.0
"""Code that does not end is reported and cancelled again after this time."""


class Scope:
    """Everything of one attempt that has not ended yet.

    Nothing may settle while code of the attempt still runs: a task ends when it is
    cancelled, a thread or a save can only be awaited, and `close` sees to both.
    `fields` is what every log line about the attempt carries.
    """

    __slots__ = (
        "_cancelled",
        "_delegating",
        "_fields",
        "_following",
        "_futures",
        "_handler",
        "_issued",
        "_joined_error",
        "_joining",
        "_loop",
        "_running",
        "_tasks",
        "ended",
        "handler_call",
        "interruption",
        "is_over",
        "of_handler_thread",
    )

    def __init__(self, fields: Mapping[str, object]) -> None:
        self._fields = fields
        self._loop = asyncio.get_running_loop()
        self.interruption: Interruption | None = None
        self.ended: asyncio.Future[None] = self._loop.create_future()
        """Done once the handler is, or once the attempt is interrupted."""
        self.is_over = False
        """Whether no operation may begin any more."""
        self._handler: asyncio.Task[Any] | None = None
        self._issued: dict[Operation, Coroutine[Any, Any, Any]] = {}
        """What was handed to the handler and did not begin yet."""
        self._running: set[Operation] = set()
        self._following: dict[asyncio.Future[None], Operation] = {}
        """Further uses of steps that are being done, which wait for the first."""
        self._delegating: dict[Operation, int] = {}
        """Operations that consist of others, with how many of these run at once."""
        self._tasks: set[asyncio.Task[Any]] = set()
        self._cancelled: set[asyncio.Task[Any]] = set()
        self._futures: set[asyncio.Future[Any]] = set()
        self._joining: asyncio.Event | None = None
        self._joined_error: BaseException | None = None
        self.handler_call: asyncio.Future[Any] | None = None
        """The call of a plain handler in its thread."""
        self.of_handler_thread: Operation | None = None
        """The newest operation that a plain handler has asked for in that thread."""

    # The handler.

    def begin_handler(self, handler: asyncio.Task[Any]) -> None:
        """Name the task that runs the handler."""
        self._handler = handler
        self.add_task(handler)

    @property
    def handler(self) -> asyncio.Task[Any] | None:
        """The task that runs the handler."""
        return self._handler

    @property
    def handler_runs(self) -> bool:
        """Whether the handler has neither ended nor been interrupted."""
        # It may have ended in this very turn of the loop.
        return not self.ended.done() and not (self._handler and self._handler.done())

    def interrupt(self, why: Interruption) -> None:
        """End the attempt early: async code is cancelled, threads are told."""
        if self.interruption is None:
            self.interruption = why
        self.is_over = True
        self._end()
        self.cancel()

    async def join(self) -> None:
        """Finish operations the handler asked for and did not await; raise a failure.

        Called in the handler's task, as the last thing it does.
        """
        if not (self._issued or self._running or self._delegating):
            return
        self._joining = asyncio.Event()
        # Tasks made for a step in the handler's last moment begin in this turn.
        await asyncio.sleep(0)
        while (
            self._start_forgotten()
            or self._running
            or self._following
            or self._delegating
        ):
            self._joining.clear()
            await self._joining.wait()
        if self._joined_error is not None:
            raise self._joined_error

    async def close(self) -> None:
        """Let nothing further begin, and wait until nothing runs any more."""
        self.is_over = True
        for coroutine in self._issued.values():
            if has_not_begun(coroutine):
                coroutine.close()
        self._issued.clear()
        while unfinished := self._unfinished():
            self.cancel()
            _, late = await asyncio.wait(unfinished, timeout=LATE_AFTER_SECONDS)
            if late:
                self._report_late(len(late))
                self._cancelled.clear()
        self._cancelled.clear()

    def forget(self) -> None:
        """Drop what leads back to the attempt, once it has its outcome."""
        self._handler = self._joined_error = self.handler_call = None
        self.of_handler_thread = None

    # Its operations.

    @property
    def is_full(self) -> bool:
        """Whether nothing more may be started before some of it has ended.

        What one operation consists of is bounded there, and counts as one.
        """
        longest = MAX_UNFINISHED + sum(self._delegating.values())
        return (
            len(self._issued) + len(self._running) >= longest
            or len(self._tasks) + len(self._futures) >= longest
        )

    @property
    def first_running(self) -> Operation | None:
        """One of the operations that run now."""
        return next(iter(self._running), None)

    def runs_only(self, operations: Iterable[Operation]) -> bool:
        """Whether it runs these operations, of those that run, and nothing else.

        Beside them there is the handler, and tasks that it may have made.
        """
        return self._running == set(operations) and all(
            each is self.handler_call or each in self._tasks for each in self._futures
        )

    @property
    def following(self) -> Mapping[asyncio.Future[None], Operation]:
        """What further uses of steps wait for: the end of the first use."""
        return self._following

    async def follow(self, operation: Operation, first: asyncio.Future[None]) -> None:
        """Wait for the end of the first use of a step, and do not run meanwhile."""
        self._running.discard(operation)
        self._following[first] = operation
        try:
            await first
        finally:
            del self._following[first]
            self._running.add(operation)

    @property
    def delegating(self) -> Collection[Operation]:
        """Operations that wait for others that they consist of."""
        return self._delegating.keys()

    def delegate(self, operation: Operation, count: int) -> None:
        """Count so many others as running for an operation, and not itself."""
        self._running.discard(operation)
        self._delegating[operation] = count

    def take_back(self, operation: Operation) -> None:
        """Count it as running again: what it waited for has ended."""
        if self._delegating.pop(operation, None) is not None:
            self._running.add(operation)

    def withdraw(self, coroutine: object) -> Operation | None:
        """What was handed to the handler as this coroutine, to be done otherwise.

        None for what is none, or has begun.
        """
        for operation, issued in self._issued.items():
            if issued is coroutine and has_not_begun(issued):
                del self._issued[operation]
                issued.close()
                return operation
        return None

    @property
    def joins(self) -> bool:
        """Whether the handler has returned, and only what it did not await runs on."""
        return self._joining is not None

    def issue(
        self,
        operation: Operation,
        coroutine: Coroutine[Any, Any, Any],
        caller: asyncio.Task[Any],
    ) -> Coroutine[Any, Any, Any]:
        """Take note of what `caller` will await, or nobody: then `join` does."""
        if caller is not self._handler:
            self.add_task(caller)
        self._issued[operation] = coroutine
        return coroutine

    def begin(self, operation: Operation) -> None:
        """Count it as running from now on; `Interrupted` when it is too late."""
        self._issued.pop(operation, None)
        if self.is_over:
            raise Interrupted
        self._running.add(operation)
        task = asyncio.current_task(self._loop)
        if task is not None and task is not self._handler:
            self.add_task(task)

    def end(self, operation: Operation, failure: BaseException | None) -> None:
        """Count it as running no more; `failure` is what it raised."""
        self._running.discard(operation)
        if self._joining is not None:
            if self._joined_error is None:
                self._joined_error = failure
            self._joining.set()

    async def pause(self, seconds: float) -> None:
        """Wait in the worker between two tries: every such pause comes here."""
        await asyncio.sleep(seconds)

    # Tasks, threads and saves.

    def __len__(self) -> int:
        """How many tasks, threads and saves are unfinished."""
        return len(self._tasks) + len(self._futures)

    def add_task(self, task: asyncio.Task[Any]) -> None:
        """Count a task as the attempt's, from now until it is done.

        What runs already is taken even when the scope is full: it has to be awaited.
        """
        if task not in self._tasks and not task.done():
            self._tasks.add(task)
            task.add_done_callback(self._drop)

    def in_thread(self, threads: Executor, function: Callable[[], Any]) -> ThreadCall:
        """Run `function` in a thread with this context; awaited by `close`."""
        context = contextvars.copy_context()
        call = ThreadCall(threads, partial(context.run, function))
        self._add_future(call.future)
        return call

    def keep(self, work: Awaitable[Any]) -> asyncio.Future[Any]:
        """Let `work` continue although its caller was cancelled; `close` awaits it."""
        future = asyncio.ensure_future(work)
        self._add_future(future)
        return future

    def cancel(self) -> None:
        """Cancel every task, once: a task that cleans up is left to it."""
        for task in self._tasks - self._cancelled:
            if not task.done():
                self._cancelled.add(task)
                task.cancel()

    def _add_future(self, future: asyncio.Future[Any]) -> None:
        self._futures.add(future)
        future.add_done_callback(self._forget)

    def _drop(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        self._cancelled.discard(task)
        if task is self._handler:
            self._end()

    def _forget(self, future: asyncio.Future[Any]) -> None:
        self._futures.discard(future)
        if not future.cancelled():
            # Whoever awaited it has the exception; asyncio need not report it.
            future.exception()

    def _unfinished(self) -> set[asyncio.Future[Any]]:
        return {task for task in self._tasks if not task.done()} | self._futures

    def _end(self) -> None:
        if not self.ended.done():
            self.ended.set_result(None)

    def _start_forgotten(self) -> bool:
        """Run what was never awaited; whether there was anything."""
        forgotten = [each for each in self._issued.items() if has_not_begun(each[1])]
        self._issued.clear()
        for operation, coroutine in forgotten:
            logger.warning(
                'step "%s" of execution %s was never awaited; it runs now, before the '
                "execution completes",
                operation.call.title,
                self._fields["execution_id"],
                extra=self._fields,
            )
            self._running.add(operation)
            self._add_future(asyncio.ensure_future(coroutine))
        return bool(forgotten)

    def _report_late(self, count: int) -> None:
        logger.warning(
            "execution %s waits for %d task(s) or thread(s) of its attempt %s that do "
            "not end; it is not settled before",
            self._fields["execution_id"],
            count,
            self._fields["attempt"],
            extra=self._fields,
        )
