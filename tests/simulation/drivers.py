"""The surfaces of redis-py and pymongo that the gateways use, over a transport.

The library's own gateways, committers, leases and everything above them run unchanged;
what would go to a socket goes to the transport, and drivers' errors come back.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Protocol, Self

import bson
import hiredis
from pymongo import _csot
from pymongo.errors import OperationFailure
from redis.exceptions import NoScriptError, OutOfMemoryError, ResponseError

from tests.simulation import mongo_server, redis_server
from tests.simulation.mongo_values import Document
from worchflow.model.options import BackendOptions
from worchflow.storage.redis_mongo.backend import RedisMongoBackend
from worchflow.storage.redis_mongo.connections import Clients
from worchflow.storage.redis_mongo.leases import OwnConnection
from worchflow.storage.redis_mongo.mongo_gateway import CODEC, MongoGateway


class Transport(Protocol):
    """How the clients of one process reach the two servers.

    An answer that does not come raises what the driver would raise.
    """

    async def mongo(self, command: Document, timeout: float) -> Document:
        """Run a command."""
        ...

    def mongo_in_thread(self, command: Document, timeout: float) -> Document:
        """The same from a thread without an event loop."""
        ...

    async def redis(self, commands: Sequence[redis_server.Command]) -> list[Any]:
        """Run commands sent in one go; an answer may be a `CommandError`."""
        ...

    async def move(self, source: bytes, target: bytes, block: float) -> bytes | None:
        """BLMOVE, LEFT to RIGHT."""
        ...

    def listen(self) -> Listening:
        """One connection for messages."""
        ...


class Listening(Protocol):
    """A connection that is sent messages."""

    async def ask(self, channels: Sequence[bytes], *, wanted: bool) -> None:
        """Subscribe or unsubscribe; a message confirms each."""
        ...

    async def next(self, timeout: float) -> tuple[str, bytes, bytes] | None:
        """The next (kind, channel, data)."""
        ...

    async def close(self) -> None:
        """Let go of it."""
        ...


class SimulatedConnections:
    """Clients of one process, in the place of those made from URLs."""

    location = "simulated stores"

    def __init__(self, transport: Transport, options: BackendOptions) -> None:
        self._transport = transport
        self._options = options

    def open(self) -> Clients:
        """The clients."""
        redis: Any = SimulatedRedis(self._transport)
        database: Any = SimulatedDatabase(self._transport, self._options.timeout)
        return Clients(redis, redis, database)

    def lease_store(self, mongo: MongoGateway) -> OwnConnection:
        """A connection for the lease's thread."""
        timeout = self._options.lease_ttl / 2
        database: Any = LeaseDatabase(self._transport, timeout)
        return OwnConnection(lambda: database, timeout, close_client=False)

    async def close(self) -> None:
        """Nothing is held."""

    def clone(self) -> SimulatedConnections:
        """The same for another event loop."""
        return SimulatedConnections(self._transport, self._options)


def backend_on(transport: Transport, options: BackendOptions) -> RedisMongoBackend:
    """The real backend for Redis and MongoDB, on simulated clients."""
    return RedisMongoBackend._with(SimulatedConnections(transport, options), options)


# -- pymongo


class SimulatedDatabase:
    """An `AsyncDatabase`."""

    name = "simulated"

    def __init__(
        self, transport: Transport, timeout: float, read_level: str = "local"
    ) -> None:
        self._transport = transport
        self._timeout = timeout
        self._read_level = read_level

    def with_options(self, **options: Any) -> SimulatedDatabase:
        level = options["read_concern"].level or "local"
        return SimulatedDatabase(self._transport, self._timeout, level)

    def __getitem__(self, name: str) -> SimulatedCollection:
        return SimulatedCollection(self, name)

    async def command(
        self, command: Document | str, codec_options: Any = None
    ) -> Document:
        if isinstance(command, str):
            command = {command: 1}
        timeout = _csot.get_timeout() or self._timeout
        return _reply(await self._transport.mongo(_encoded(command), timeout))

    async def read(self, command: Document) -> list[Document]:
        """Run a command that answers with a cursor, under this read concern."""
        concern = {"readConcern": {"level": self._read_level}}
        reply = await self.command(command | concern)
        documents: list[Document] = reply["cursor"]["firstBatch"]
        return documents


class SimulatedCollection:
    """An `AsyncCollection`."""

    def __init__(self, database: SimulatedDatabase, name: str) -> None:
        self._database = database
        self._name = name

    def find(
        self,
        query: Document,
        projection: Document | None = None,
        limit: int = 0,
        batch_size: int = 0,
    ) -> SimulatedCursor:
        command = {"find": self._name, "filter": query, "limit": limit}
        if projection:
            command["projection"] = projection
        return SimulatedCursor(self._database, command)

    async def aggregate(
        self, pipeline: Sequence[Document], hint: Any = None, **_: Any
    ) -> SimulatedCursor:
        command: Document = {"aggregate": self._name, "pipeline": list(pipeline)}
        if hint:
            command["hint"] = hint
        return SimulatedCursor(self._database, command)

    async def list_indexes(self) -> SimulatedCursor:
        return SimulatedCursor(self._database, {"listIndexes": self._name})


class SimulatedCursor:
    """An `AsyncCursor`."""

    def __init__(self, database: SimulatedDatabase, command: Document) -> None:
        self._database = database
        self._command = command

    def sort(self, order: Sequence[tuple[str, int]]) -> SimulatedCursor:
        self._command["sort"] = dict(order)
        return self

    def hint(self, index: Any) -> SimulatedCursor:
        self._command["hint"] = index
        return self

    async def to_list(self) -> list[Document]:
        return await self._database.read(self._command)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Nothing is open: the first answer has all."""

    async def __aiter__(self) -> AsyncIterator[Document]:
        for document in await self.to_list():
            yield document


class LeaseDatabase:
    """A `Database`, for threads."""

    def __init__(self, transport: Transport, timeout: float) -> None:
        self._transport = transport
        self._timeout = timeout

    def command(self, command: Document, codec_options: Any = None) -> Document:
        encoded = _encoded(command)
        return _reply(self._transport.mongo_in_thread(encoded, self._timeout))


def _encoded(command: Document) -> Document:
    """A command as the server reads it: what BSON makes of its values."""
    return bson.decode(bson.encode(command, codec_options=CODEC), CODEC)


def _reply(reply: Document) -> Document:
    if not reply.keys() & {"cursor", "value"}:
        return reply
    # The server's documents are its own.
    return bson.decode(bson.encode(reply, codec_options=CODEC), CODEC)


def refusal(error: mongo_server.CommandError) -> OperationFailure:
    """What the driver raises when the server refuses a command."""
    return OperationFailure(error.message, error.code)


# -- redis-py


class SimulatedRedis:
    """A `redis.asyncio.Redis`; its pool gives connections for packed commands."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.connection_pool = self
        self.connection_kwargs: dict[str, Any] = {}

    async def get_connection(self) -> SimulatedConnection:
        return SimulatedConnection(self._transport)

    async def release(self, connection: SimulatedConnection) -> None:
        """Nothing is held."""

    async def execute_command(self, name: str, *arguments: Any, **_: Any) -> Any:
        if name == "BLMOVE":
            source, target, _, _, block = arguments
            return await self._transport.move(
                source.encode(), target.encode(), float(block)
            )
        parts = [a if isinstance(a, bytes) else str(a).encode() for a in arguments]
        (answer,) = await self._transport.redis([[name.encode(), *parts]])
        if isinstance(answer, redis_server.CommandError):
            raise _response_error(answer)
        return answer

    async def ping(self) -> None:
        await self.execute_command("PING")

    async def info(self, section: str) -> dict[str, str]:
        await self.ping()
        return {"redis_version": "7.0.0", "maxmemory_policy": "noeviction"}

    def pubsub(self) -> SimulatedPubSub:
        return SimulatedPubSub(self._transport.listen())


class SimulatedConnection:
    """A connection to which packed commands are written."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._answers: list[Any] = []

    async def send_packed_command(self, packed: bytes) -> None:
        reader = hiredis.Reader()
        reader.feed(packed)
        commands: list[Any] = []
        while (command := reader.gets()) is not False:
            commands.append(command)
        self._answers = await self._transport.redis(commands)

    async def read_response(self, **_: Any) -> Any:
        answer = self._answers.pop(0)
        if isinstance(answer, redis_server.CommandError):
            raise _response_error(answer)
        return answer

    async def disconnect(self, **_: Any) -> None:
        """Nothing is held."""


class SimulatedPubSub:
    """A `PubSub`."""

    def __init__(self, listening: Listening) -> None:
        self._listening = listening

    async def subscribe(self, *channels: str) -> None:
        await self._listening.ask([c.encode() for c in channels], wanted=True)

    async def unsubscribe(self, *channels: str) -> None:
        await self._listening.ask([c.encode() for c in channels], wanted=False)

    async def get_message(self, timeout: float) -> dict[str, Any] | None:
        message = await self._listening.next(timeout)
        if message is None:
            return None
        kind, channel, data = message
        return {"type": kind, "channel": channel, "data": data}

    async def aclose(self) -> None:
        await self._listening.close()


def _response_error(error: redis_server.CommandError) -> ResponseError:
    kinds = {"NOSCRIPT": NoScriptError, "OOM": OutOfMemoryError}
    kind = kinds.get(str(error).split()[0], ResponseError)
    return kind(str(error))


# -- without a network


class Directly:
    """A transport without time and faults: every command answers at once.

    For any number of event loops and threads, each turn of which sees the others'.
    """

    def __init__(
        self, mongo: mongo_server.MongoServer, redis: redis_server.RedisServer
    ) -> None:
        self._mongo = mongo
        self._redis = redis

    async def mongo(self, command: Document, timeout: float) -> Document:
        await asyncio.sleep(0)
        return self.mongo_in_thread(command, timeout)

    def mongo_in_thread(self, command: Document, timeout: float) -> Document:
        try:
            return self._mongo.run(command)
        except mongo_server.CommandError as error:
            raise refusal(error) from error
        finally:
            self._mongo.commit()

    async def redis(self, commands: Sequence[redis_server.Command]) -> list[Any]:
        await asyncio.sleep(0)
        return [answered(self._redis, command) for command in commands]

    async def move(self, source: bytes, target: bytes, block: float) -> bytes | None:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[bytes | None] = loop.create_future()

        def answer(item: bytes | None) -> None:
            loop.call_soon_threadsafe(_resolve, future, item)

        waiting = redis_server.Waiting(source, target, answer)
        try:
            self._redis.wait_to_move(waiting)
        except redis_server.CommandError as error:
            raise _response_error(error) from error
        try:
            return await asyncio.wait_for(future, block)
        except TimeoutError:
            return None
        finally:
            if waiting in self._redis.waiting:
                self._redis.waiting.remove(waiting)

    def listen(self) -> DirectListening:
        return DirectListening(self._redis)


class DirectListening:
    """Messages at once."""

    def __init__(self, redis: redis_server.RedisServer) -> None:
        self._redis = redis
        self._loop = asyncio.get_running_loop()
        self._messages: asyncio.Queue[tuple[str, bytes, bytes]] = asyncio.Queue()
        self._channels: dict[bytes, Callable[[bytes, bytes], None]] = {}

    async def ask(self, channels: Sequence[bytes], *, wanted: bool) -> None:
        for channel in channels:
            if wanted and channel not in self._channels:
                self._channels[channel] = self._hear
                self._redis.subscribers.setdefault(channel, []).append(self._hear)
                self._put("subscribe", channel, b"")
            elif not wanted and channel in self._channels:
                del self._channels[channel]
                self._redis.subscribers[channel].remove(self._hear)

    async def next(self, timeout: float) -> tuple[str, bytes, bytes] | None:
        try:
            return await asyncio.wait_for(self._messages.get(), timeout)
        except TimeoutError:
            return None

    async def close(self) -> None:
        await self.ask(list(self._channels), wanted=False)

    def _hear(self, channel: bytes, data: bytes) -> None:
        self._loop.call_soon_threadsafe(self._put, "message", channel, data)

    def _put(self, kind: str, channel: bytes, data: bytes) -> None:
        self._messages.put_nowait((kind, channel, data))


def answered(server: redis_server.RedisServer, command: redis_server.Command) -> Any:
    """The answer of one command of a pipeline: its error is an answer too."""
    try:
        return server.run(command)
    except redis_server.CommandError as error:
        return error


def _resolve(future: asyncio.Future[Any], value: Any) -> None:
    if not future.done():
        future.set_result(value)
