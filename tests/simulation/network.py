"""What lies between processes and servers: delays, losses, outages, fail-overs."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pymongo.errors import AutoReconnect, NetworkTimeout, NotPrimaryError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError

from tests.simulation import mongo_server, redis_server
from tests.simulation.drivers import answered, refusal
from tests.simulation.mongo_server import WRITES, MongoServer
from tests.simulation.mongo_values import Document
from tests.simulation.processes import Event, Process, World, running_thread
from tests.simulation.redis_server import RedisServer, Waiting
from tests.simulation.virtual import BEGINNING

Answer = Callable[[Any, Exception | None], None]
"""Called with a reply or with what went wrong, once or never."""

QUICK = (0.0002, 0.002)
"""Seconds that a message takes."""
REPLICATED = (0.0005, 0.003)
"""Seconds until a majority has a write."""
LATE = (0.05, 9.0)
"""Seconds by which a message is late: longer than any lease."""
NOTICED = 0.05
"""Seconds until a broken connection is noticed."""
KEPT_ALIVE = 60.0
"""The same where neither side is told: longer than every timeout but one."""


NAIVE_BEGINNING = BEGINNING.replace(tzinfo=None)
"""As the driver tells dates."""


@dataclass
class Weather:
    """How likely each mishap is for one message."""

    lost_request: float = 0.0
    lost_reply: float = 0.0
    late_request: float = 0.0
    silent: float = 0.0
    """The share of losses that neither side is told of."""


CALM = Weather()


class Network:
    """Two servers and every way to them. `hits` counts the faults that mattered."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.weather = CALM
        self.hits: Counter[str] = Counter()
        self.mongo = MongoServer(self._mongo_now)
        self.redis = RedisServer(lambda: world.now * 1000)
        self.replicated = REPLICATED
        self.mongo_skew = 0.0
        """Seconds by which the primary's clock is ahead."""
        self.writer: Process | None = None
        """Whose command the primary runs, or ran last."""
        self._mongo_down_until = 0.0
        self._redis_down_until = 0.0
        self._is_replicating = False
        self._popping: dict[Waiting, Answer] = {}
        self._listeners: list[Listener] = []

    def _mongo_now(self) -> datetime:
        milliseconds = int((self.world.now + self.mongo_skew) * 1000)
        return NAIVE_BEGINNING + timedelta(milliseconds=milliseconds)

    # -- faults

    def stop_mongo(self, seconds: float) -> None:
        """The primary crashes: what no majority has is gone."""
        self._mongo_down_until = self.world.now + seconds
        self.hits["roll-back"] += bool(self.mongo.roll_back())

    def stop_redis(self, seconds: float) -> None:
        """Redis cannot be reached."""
        self._redis_down_until = self.world.now + seconds
        self.break_redis_connections()

    def break_redis_connections(self) -> None:
        """Every connection ends; what waits on one learns of it."""
        waiting, self._popping = self._popping, {}
        self.redis.waiting.clear()
        for answer in waiting.values():
            answer(None, RedisConnectionError("connection closed"))
        listeners, self._listeners = self._listeners, []
        self.redis.subscribers.clear()
        for listener in listeners:
            listener.break_off()

    def calm_down(self) -> None:
        """No fault from now on."""
        self.weather = CALM
        self._mongo_down_until = self._redis_down_until = 0.0
        self.redis.is_full = False
        self.replicated = REPLICATED

    # -- messages

    def to_mongo(self, process: Process, command: Document, answer: Answer) -> None:
        """Send a command."""
        name = next(iter(command))
        is_write = name in WRITES
        delay, is_lost, loses_reply = self._fate("MongoDB", is_write=is_write)
        if is_lost:
            return self._lose(answer, AutoReconnect("connection reset"))

        def reply(value: Any, error: Exception | None) -> None:
            if loses_reply:
                self._lose(answer, AutoReconnect("connection closed"))
            else:
                self._after(QUICK, lambda: answer(value, error))

        def arrive() -> None:
            if self.world.now < self._mongo_down_until:
                self.hits["MongoDB away"] += 1
                return self._lose(answer, AutoReconnect("connection refused"))
            self.world.note(process.name, "mongo", command)
            self.writer = process
            try:
                value = self.mongo.run(command)
            except mongo_server.CommandError as error:
                return reply(None, refusal(error))
            if is_write and command["writeConcern"].get("w") == "majority":
                return self._replicate(lambda error: reply(value, error))
            if is_write:
                self._replicate(lambda error: None)
            return reply(value, None)

        return self.world.after(delay, arrive)

    def _replicate(self, answer: Callable[[Exception | None], None]) -> None:
        def told(committed: bool) -> None:
            if not committed:
                error = {"code": 11602, "errmsg": "interrupted by a step-down"}
                answer(NotPrimaryError("not primary", error))
            else:
                answer(None)

        self.mongo.when_committed(told)
        if not self._is_replicating:
            self._is_replicating = True
            self._after(self.replicated, self._commit)

    def _commit(self) -> None:
        self._is_replicating = False
        self.mongo.commit()

    def to_redis(
        self, process: Process, commands: Sequence[redis_server.Command], answer: Answer
    ) -> None:
        """Send commands in one go."""
        delay, is_lost, loses_reply = self._fate("Redis", is_write=True)
        if is_lost:
            return self._lose(answer, RedisConnectionError("connection reset"))

        def arrive() -> None:
            if self.world.now < self._redis_down_until:
                self.hits["Redis away"] += 1
                error = RedisConnectionError("connection refused")
                return self._lose(answer, error)
            # A connection that breaks may have brought only the first of them.
            count = len(commands)
            if loses_reply:
                count = self.world.random.randint(1, count)
            answers: list[Any] = []
            for command in commands[:count]:
                self.world.note(process.name, "redis", command)
                answers.append(answered(self.redis, command))
            if any("OOM" in str(a) for a in answers if isinstance(a, Exception)):
                self.hits["Redis full"] += 1
            if loses_reply:
                return self._lose(answer, RedisConnectionError("connection closed"))
            return self._after(QUICK, lambda: answer(answers, None))

        return self.world.after(delay, arrive)

    def to_pop(
        self, process: Process, waiting: Waiting, block: float, answer: Answer
    ) -> None:
        """Send BLMOVE; it answers None after `block` seconds."""
        delay, is_lost, loses_reply = self._fate("Redis", is_write=True)
        if is_lost:
            return self._lose(answer, RedisConnectionError("connection reset"))

        def popped(item: bytes | None) -> None:
            self._popping.pop(waiting, None)
            self.world.note(process.name, "popped", item)
            if loses_reply:
                self._lose(answer, RedisConnectionError("connection closed"))
            else:
                self._after(QUICK, lambda: answer(item, None))

        def give_up() -> None:
            if waiting in self.redis.waiting:
                self.redis.waiting.remove(waiting)
                popped(None)

        def arrive() -> None:
            if self.world.now < self._redis_down_until:
                self.hits["Redis away"] += 1
                error = RedisConnectionError("connection refused")
                return self._lose(answer, error)
            waiting.answer = popped
            self._popping[waiting] = answer
            try:
                self.redis.wait_to_move(waiting)
            except redis_server.CommandError as error:
                self.hits["Redis full"] += 1
                del self._popping[waiting]
                full = error
                return self._after(QUICK, lambda: answer(None, full))
            return self.world.after(block, give_up)

        return self.world.after(delay, arrive)

    def hang_up(self, waiting: Waiting) -> None:
        """The client of a BLMOVE closes its connection; the server learns of it."""

        def learn() -> None:
            self._popping.pop(waiting, None)
            if waiting in self.redis.waiting:
                self.redis.waiting.remove(waiting)

        self._after(QUICK, learn)

    def add_listener(self, listener: Listener) -> None:
        """Remember a connection for messages."""
        if listener not in self._listeners:
            self._listeners.append(listener)

    def remove_listener(self, listener: Listener) -> None:
        """Forget it."""
        if listener in self._listeners:
            self._listeners.remove(listener)

    def redis_is_away(self) -> bool:
        """Whether Redis cannot be reached now."""
        return self.world.now < self._redis_down_until

    # -- inside

    def _fate(self, store: str, *, is_write: bool) -> tuple[float, bool, bool]:
        """How long a request takes, whether it is lost, whether its reply is."""
        chance, weather = self.world.random.random, self.weather
        delay = self.world.random.uniform(*QUICK)
        if weather is CALM:
            return delay, False, False
        is_lost = chance() < weather.lost_request
        loses_reply = not is_lost and chance() < weather.lost_reply
        if not is_lost and chance() < weather.late_request:
            delay += self.world.random.uniform(*LATE)
            self.hits[f"late {store} request"] += 1
        if is_write:
            self.hits[f"lost {store} request"] += is_lost
            self.hits[f"lost {store} reply"] += loses_reply
        return delay, is_lost, loses_reply

    def _lose(self, answer: Answer, error: Exception) -> None:
        """The connection breaks; how soon its client learns of it is chance."""
        is_silent = self.world.random.random() < self.weather.silent
        seconds = KEPT_ALIVE if is_silent else NOTICED
        self.world.after(seconds, lambda: answer(None, error))

    def _after(self, between: tuple[float, float], event: Callable[[], object]) -> None:
        self.world.after(self.world.random.uniform(*between), event)


class LoopBinding:
    """The transport of one process."""

    def __init__(self, process: Process, network: Network) -> None:
        self._process = process
        self._network = network

    async def mongo(self, command: Document, timeout: float) -> Document:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Document] = loop.create_future()
        timer = loop.call_later(timeout, _time_out, future, timeout)
        self._network.to_mongo(self._process, command, self._answer(future))
        try:
            return await future
        finally:
            timer.cancel()

    def mongo_in_thread(self, command: Document, timeout: float) -> Document:
        thread = running_thread()
        assert thread is not None
        outcome: list[tuple[Any, Exception | None]] = []
        answered_ = Event()

        def answer(value: Any, error: Exception | None) -> None:
            if not outcome:
                outcome.append((value, error))
                answered_.set()

        self._network.to_mongo(self._process, command, answer)
        answered_.wait(timeout)
        if not outcome:
            outcome.append((None, None))
            raise NetworkTimeout(f"timed out after {timeout:g} s")
        value, error = outcome[0]
        if error is not None:
            raise error
        reply: Document = value
        return reply

    async def redis(self, commands: Sequence[redis_server.Command]) -> list[Any]:
        future: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self._network.to_redis(self._process, commands, self._answer(future))
        return await future

    async def move(self, source: bytes, target: bytes, block: float) -> bytes | None:
        future: asyncio.Future[bytes | None]
        future = asyncio.get_running_loop().create_future()
        waiting = Waiting(source, target, lambda _: None)
        self._network.to_pop(self._process, waiting, block, self._answer(future))
        try:
            return await future
        except asyncio.CancelledError:
            self._network.hang_up(waiting)
            raise
        except redis_server.CommandError as error:
            raise OutOfMemoryError(str(error)) from error

    def listen(self) -> Listener:
        return Listener(self._process, self._network)

    def _answer(self, future: asyncio.Future[Any]) -> Answer:
        def answer(value: Any, error: Exception | None) -> None:
            self._process.deliver(_settle, future, value, error)

        return answer


class Listener:
    """A connection for messages."""

    def __init__(self, process: Process, network: Network) -> None:
        self._process = process
        self._network = network
        self._messages: deque[tuple[str, bytes, bytes]] = deque()
        self._arrived = asyncio.Event()
        self._channels: set[bytes] = set()
        self._is_broken = False

    async def ask(self, channels: Sequence[bytes], *, wanted: bool) -> None:
        await asyncio.sleep(self._network.world.random.uniform(*QUICK))
        self._check()
        if self._network.redis_is_away():
            raise RedisConnectionError("connection refused")
        self._network.add_listener(self)
        subscribers = self._network.redis.subscribers
        for channel in channels:
            if wanted and channel not in self._channels:
                self._channels.add(channel)
                subscribers.setdefault(channel, []).append(self._hear)
                self._deliver("subscribe", channel, b"")
            elif not wanted and channel in self._channels:
                self._channels.discard(channel)
                if self._hear in subscribers.get(channel, ()):
                    subscribers[channel].remove(self._hear)

    async def next(self, timeout: float) -> tuple[str, bytes, bytes] | None:
        self._check()
        if not self._messages:
            self._arrived.clear()
            try:
                async with asyncio.timeout(timeout):
                    await self._arrived.wait()
            except TimeoutError:
                return None
        self._check()
        return self._messages.popleft()

    async def close(self) -> None:
        self._network.remove_listener(self)
        for channel in self._channels:
            hearing = self._network.redis.subscribers.get(channel, [])
            if self._hear in hearing:
                hearing.remove(self._hear)

    def break_off(self) -> None:
        """The connection ends."""
        self._process.deliver(self._broken)

    def _broken(self) -> None:
        self._is_broken = True
        self._arrived.set()

    def _check(self) -> None:
        if self._is_broken:
            raise RedisConnectionError("connection closed")

    def _hear(self, channel: bytes, data: bytes) -> None:
        self._deliver("message", channel, data)

    def _deliver(self, kind: str, channel: bytes, data: bytes) -> None:
        delay = self._network.world.random.uniform(*QUICK)
        self._network.world.after(
            delay, lambda: self._process.deliver(self._put, kind, channel, data)
        )

    def _put(self, kind: str, channel: bytes, data: bytes) -> None:
        self._messages.append((kind, channel, data))
        self._arrived.set()


def _time_out(future: asyncio.Future[Any], timeout: float) -> None:
    _settle(future, None, NetworkTimeout(f"timed out after {timeout:g} s"))


def _settle(future: asyncio.Future[Any], value: Any, error: Exception | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(value)
    else:
        future.set_exception(error)
