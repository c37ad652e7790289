"""Processes in virtual time: event loops and threads that run when the world says so.

Nothing here waits. A process is its own event loop and any number of threads
(greenlets, so that the library's blocking code runs as it is written); between two
of its turns it can be frozen or cease to exist.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
import random
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from greenlet import getcurrent, greenlet

TURNS_AT_ONCE = 100_000
"""So many turns of a loop without any time passing are a program that never waits."""


class World:
    """Virtual time, and everything that happens in it, in one fixed order."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.now = 0.0
        self.processes: list[Process] = []
        """All that there were."""
        self.ready: deque[Process] = deque()
        """Those whose loops have something to do."""
        self.history: list[tuple[Any, ...]] = []
        self._events: list[tuple[float, int, Callable[[], object]]] = []
        self._order = itertools.count()
        self.numbers = itertools.count()
        """Of futures and tasks, in the order in which they are made."""

    def note(self, *what: Any) -> None:
        """Add a line to the history."""
        self.history.append((self.now, *what))

    def after(self, seconds: float, event: Callable[[], object]) -> None:
        """Let something happen so many seconds from now."""
        self.at(self.now + seconds, event)

    def at(self, moment: float, event: Callable[[], object]) -> None:
        """Let something happen then."""
        heapq.heappush(self._events, (moment, next(self._order), event))

    def run(
        self, until: Callable[[], bool], deadline: float, every: float = 0.0
    ) -> bool:
        """Let time pass; whether `until`, asked now and then, came true in time."""
        events, turns, asked = self._events, 0, -1.0
        while True:
            while self.ready:
                self.ready.popleft().take_turn()
                turns += 1
                if turns > TURNS_AT_ONCE:
                    raise RuntimeError(f"a loop never waits, at {self.now} s")
            if self.now >= asked + every:
                asked = self.now
                if until():
                    return True
            if not events or events[0][0] > deadline:
                return False
            if events[0][0] > self.now:
                self.now, turns = events[0][0], 0
            heapq.heappop(events)[2]()


class Process:
    """One process of the fleet."""

    def __init__(self, world: World, name: str, wall_offset: float = 0.0) -> None:
        self.world = world
        self.name = name
        self.wall_offset = wall_offset
        """Seconds by which its wall clock is wrong."""
        self.is_alive = True
        self.is_running = True
        """Whether its code gets a turn: it is alive and not frozen."""
        self.thawed_at = -math.inf
        """When it went on after it was frozen last."""
        self.loop = VirtualLoop(self)
        self.threads: list[Thread] = []
        self._deferred: list[Callable[[], object]] = []
        world.processes.append(self)

    def start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run a coroutine on its loop."""
        return self.loop.create_task(work)

    def kill(self) -> None:
        """End it between two instructions: nothing of it runs again."""
        self.is_alive = self.is_running = False

    def take_turn(self) -> None:
        """Run what is ready on its loop; called by the world."""
        loop = self.loop
        ready = loop._ready
        if not (self.is_running and ready):
            return
        asyncio._set_running_loop(loop)
        try:
            for _ in range(len(ready)):
                handle = ready.popleft()
                if not handle._cancelled:
                    handle._run()
        finally:
            asyncio._set_running_loop(None)
        if ready:
            self.world.ready.append(self)

    def freeze(self, seconds: float) -> None:
        """Let nothing of it run for a while; time continues for everybody else."""
        self.is_running = False
        self.world.after(seconds, self.thaw)

    def thaw(self) -> None:
        """Let it go on."""
        if self.is_alive and not self.is_running:
            self.is_running = True
            self.thawed_at = self.world.now
            self.world.ready.append(self)
            deferred, self._deferred = self._deferred, []
            self.world.random.shuffle(deferred)
            for each in deferred:
                each()

    def deliver(self, callback: Callable[..., object], *arguments: Any) -> None:
        """Bring something from outside to its loop."""
        if self.is_alive:
            self.loop.call_soon_threadsafe(callback, *arguments)

    def when_running(self, event: Callable[[], object]) -> None:
        """Do something in it, now or once it is not frozen any more."""
        if self.is_running:
            event()
        elif self.is_alive:
            self._deferred.append(event)

    def dispose(self) -> None:
        """Drop what is left, without a word about tasks that were never ended."""
        self.is_alive = self.is_running = False
        self.loop.set_exception_handler(lambda _, context: None)
        self.loop._ready.clear()


class NumberedFuture(asyncio.Future[Any]):
    """A future whose place in a set is the same in every run."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__(loop=loop)
        self._number = next(loop.process.world.numbers)

    def __hash__(self) -> int:
        return self._number


class NumberedTask(asyncio.Task[Any]):
    """A task whose place in a set is the same in every run."""

    def __init__(self, work: Any, *, loop: VirtualLoop, **options: Any) -> None:
        self._number = next(loop.process.world.numbers)
        super().__init__(work, loop=loop, **options)

    def __hash__(self) -> int:
        return self._number


def _make_task(loop: Any, work: Any, **options: Any) -> NumberedTask:
    return NumberedTask(work, loop=loop, **options)


class VirtualLoop(asyncio.BaseEventLoop):
    """An event loop that never waits: its timers are due when the world says so."""

    _ready: Any

    def __init__(self, process: Process) -> None:
        super().__init__()
        self.process = process
        self.set_task_factory(_make_task)
        self.errors: list[dict[str, Any]] = []
        self.set_exception_handler(lambda _, context: self.errors.append(context))

    def time(self) -> float:
        return self.process.world.now

    def create_future(self) -> asyncio.Future[Any]:
        return NumberedFuture(loop=self)

    def call_at(
        self, when: float, callback: Any, *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)

        def fire() -> None:
            if not handle.cancelled():
                self._add(handle)

        self.process.world.at(when, lambda: self.process.when_running(fire))
        return handle

    def call_soon(
        self, callback: Any, *args: Any, context: Any = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._add(handle)
        return handle

    def call_soon_threadsafe(
        self, callback: Any, *args: Any, context: Any = None
    ) -> asyncio.Handle:
        return self.call_soon(callback, *args, context=context)

    def _add(self, handle: asyncio.Handle) -> None:
        if not self._ready:
            self.process.world.ready.append(self.process)
        self._ready.append(handle)

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:
        future: asyncio.Future[Any] = self.create_future()

        def work() -> None:
            try:
                result = func(*args)
            except Exception as error:  # noqa: BLE001 - raised where it is awaited
                self.call_soon_threadsafe(_settle, future, None, error)
            else:
                self.call_soon_threadsafe(_settle, future, result, None)

        Thread(target=work, process=self.process).start()
        return future

    def _process_events(self, event_list: Any) -> None:
        """There is nothing but time."""


def _settle(future: asyncio.Future[Any], value: Any, error: Exception | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(value)
    else:
        future.set_exception(error)


# -- threads, in the place of the module `threading`


class Thread:
    """A thread of the process that makes it."""

    def __init__(
        self,
        target: Callable[..., object],
        args: tuple[Any, ...] = (),
        name: str = "",
        daemon: bool = True,
        process: Process | None = None,
    ) -> None:
        self.process = process or current_process()
        self.name = name
        self.ident = id(self)
        self._finished = Event(self.process)
        self._greenlet = greenlet(lambda: self._run(target, args))
        _THREADS[self._greenlet] = self

    def start(self) -> None:
        process = self.process
        process.threads.append(self)
        process.world.after(0.0, lambda: process.when_running(self.switch))

    def is_alive(self) -> bool:
        return not self._finished.is_set()

    def join(self, timeout: float | None = None) -> None:
        self._finished.wait(timeout)

    def switch(self) -> None:
        """Run it until it waits; called by the world, never by code that runs."""
        self._greenlet.switch()

    def block(self) -> None:
        """Let the world go on; returns when somebody switches back."""
        assert self._greenlet.parent is not None
        self._greenlet.parent.switch()

    def _run(self, target: Callable[..., object], args: tuple[Any, ...]) -> None:
        try:
            target(*args)
        finally:
            _THREADS.pop(self._greenlet, None)
            self._finished.set()


_THREADS: dict[Any, Thread] = {}


def running_thread() -> Thread | None:
    """The thread that runs; None on an event loop."""
    return _THREADS.get(getcurrent())


def current_process() -> Process:
    """The process whose code runs."""
    thread = running_thread()
    if thread is not None:
        return thread.process
    loop: Any = asyncio.get_running_loop()
    process: Process = loop.process
    return process


class Event:
    """An event for threads; `wait` is for threads only."""

    def __init__(self, process: Process | None = None) -> None:
        self._process = process or current_process()
        self._is_set = False
        self._waiting: list[Callable[[], None]] = []

    def is_set(self) -> bool:
        return self._is_set

    def set(self) -> None:
        self._is_set = True
        waiting, self._waiting = self._waiting, []
        for wake in waiting:
            self._process.world.after(0.0, wake)

    def wait(self, timeout: float | None = None) -> bool:
        if self._is_set:
            return True
        thread = running_thread()
        if thread is None:
            raise RuntimeError("an event loop must not wait for a thread")
        done = False

        def wake() -> None:
            nonlocal done
            if not done:
                done = True
                thread.process.when_running(thread.switch)

        self._waiting.append(wake)
        if timeout is not None:
            thread.process.world.after(timeout, wake)
        thread.block()
        return self._is_set


class Lock:
    """A lock between threads."""

    def __init__(self) -> None:
        self._is_held = False
        self._waiting: list[Event] = []

    def __enter__(self) -> None:
        while self._is_held:
            event = Event()
            self._waiting.append(event)
            event.wait()
        self._is_held = True

    def __exit__(self, *_: object) -> None:
        self._is_held = False
        waiting, self._waiting = self._waiting, []
        for event in waiting:
            event.set()


class SimpleQueue:
    """A queue whose `get` waits; for threads."""

    def __init__(self) -> None:
        self._items: list[Any] = []
        self._waiting: list[Event] = []

    def put(self, item: Any) -> None:
        self._items.append(item)
        if self._waiting:
            self._waiting.pop(0).set()

    def get(self) -> Any:
        while not self._items:
            event = Event()
            self._waiting.append(event)
            event.wait()
        return self._items.pop(0)


def get_ident() -> int:
    """A number for the running thread, or for the process's event loop."""
    return id(running_thread() or current_process())


def sleep(seconds: float) -> None:
    """Let time pass for the running thread."""
    Event().wait(seconds)
