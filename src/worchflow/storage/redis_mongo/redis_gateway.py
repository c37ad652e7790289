"""The only place that talks to Redis; everything it raises is `StoreUnavailable`."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

import hiredis
from redis.asyncio import Redis, RedisCluster
from redis.exceptions import (
    ClusterDownError,
    MasterDownError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)

from ...foundations.errors import StoreUnavailable
from .errors import RedisFull, describe
from .tasks import heeding_cancellation

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence
    from types import TracebackType

    from .scripts import ScriptCall

RedisClient: TypeAlias = Redis | RedisCluster

Answer: TypeAlias = list[Any] | Exception
"""All scripts of ours return lists."""

OUTAGES = (ReadOnlyError, ClusterDownError, MasterDownError, TryAgainError)
OUTAGE_WORDS = ("READONLY", "MISCONF", "NOREPLICAS", "NOAUTH", "NOPERM", "BUSY ")
"""Refusals that say nothing about the command: the server is not itself."""

_hiredis: Any = hiredis
_pack: Callable[[tuple[Any, ...]], bytes] = _hiredis.pack_command

RAW: Final = {"NEVER_DECODE": True}
"""Asks redis-py for bytes, whatever `decode_responses` says."""


class RedisGateway:
    """Redis as this library needs it.

    Every method but `pop` and `listen` answers or raises within `timeout` seconds.
    """

    def __init__(
        self,
        client: RedisClient,
        blocking: RedisClient,
        timeout: float,
        longest_block: float,
    ) -> None:
        self._client: Any = client
        self._blocking: Any = blocking
        self._timeout = timeout
        self._longest_block = longest_block
        self._sent: set[str] = set()
        """The hashes of the scripts that the server was sent."""
        self.is_cluster = isinstance(client, RedisCluster)

    async def run(self, calls: Sequence[ScriptCall]) -> list[Answer]:
        """Run scripts one after another in one round trip.

        Answers what each returned, or the error that Redis gave for it.
        """
        # One that the server does not know is sent again, behind the others. So where
        # there are several, each is sent whole the first time: they run in order.
        commands = [
            self._command(
                call, whole=len(calls) > 1 and call.script.sha not in self._sent
            )
            for call in calls
        ]
        async with _Bounded(self._timeout):
            answers = await self._send(commands)
            unknown = [
                index
                for index, answer in enumerate(answers)
                if isinstance(answer, NoScriptError)
            ]
            if unknown:
                sources = [
                    ("EVAL", calls[i].script.source, *commands[i][2:]) for i in unknown
                ]
                for index, answer in zip(
                    unknown, await self._send(sources), strict=True
                ):
                    answers[index] = answer
        self._sent.update(call.script.sha for call in calls)
        return [_read_error(answer) for answer in answers]

    @staticmethod
    def _command(call: ScriptCall, *, whole: bool) -> tuple[Any, ...]:
        script = call.script
        how = ("EVAL", script.source) if whole else ("EVALSHA", script.sha)
        return (*how, len(call.keys), *call.keys, *call.args)

    async def pop(self, source: str, target: str, block: float) -> bytes | None:
        """Move the first id from one list to another, waiting up to `block` seconds.

        Less where the client itself would not wait that long for the answer.
        """
        block = max(0.01, min(block, self._longest_block))
        async with _Bounded(block + self._timeout):
            answer: bytes | None = await self._blocking.execute_command(
                "BLMOVE", source, target, "LEFT", "RIGHT", block, **RAW
            )
            return answer

    async def items(self, key: str, count: int) -> list[bytes]:
        """The first items of a list."""
        async with _Bounded(self._timeout):
            answer: list[bytes] = await self._client.execute_command(
                "LRANGE", key, 0, count - 1, **RAW
            )
            return answer

    async def heads(self, keys: Sequence[str], count: int) -> list[list[bytes]]:
        """The first items of several lists; none of what is not a list."""
        async with _Bounded(self._timeout):
            answers = await self._send([("LRANGE", key, 0, count - 1) for key in keys])
            found = [_read_error(answer) for answer in answers]
        return [each if isinstance(each, list) else [] for each in found]

    async def lengths(self, items: Sequence[str], ordered: str) -> int:
        """How many members some lists and a sorted set have together."""
        async with _Bounded(self._timeout):
            commands = [("LLEN", key) for key in items]
            answers = await self._send([*commands, ("ZCARD", ordered)])
            for answer in answers:
                if isinstance(answer, Exception):
                    raise answer
            return sum(map(int, answers))

    async def remove(self, key: str, item: bytes) -> None:
        """Remove every such item from a list."""
        async with _Bounded(self._timeout):
            await self._client.execute_command("LREM", key, 0, item)

    async def remove_first(self, key: str, items: Sequence[bytes]) -> None:
        """Remove each item from a list once, where it comes first."""
        async with _Bounded(self._timeout):
            await self._send([("LREM", key, 1, item) for item in items])

    async def remove_keys(self, keys: Sequence[str]) -> None:
        """Remove keys, in one round trip."""
        async with _Bounded(self._timeout):
            for answer in await self._send([("UNLINK", key) for key in keys]):
                if isinstance(answer, Exception):
                    raise answer

    async def first_value(self, key: str, value: str) -> bytes | None:
        """What a key holds: `value` from now on if it held nothing.

        None where a full Redis does not take the value.
        """
        async with _Bounded(self._timeout):
            _, answer = await self._send([("SET", key, value, "NX"), ("GET", key)])
            return answer if isinstance(answer, bytes) else None

    async def hashes(self, keys: Sequence[str]) -> list[dict[str, str] | None]:
        """Several hashes in one round trip; None for what is not a hash of text."""
        async with _Bounded(self._timeout):
            answers = await self._send([("HGETALL", key) for key in keys])
        return [_read_hash(answer) for answer in answers]

    async def ping(self) -> None:
        """Raise unless Redis answers."""
        async with _Bounded(self._timeout):
            await self._client.ping()

    async def info(self, section: str) -> dict[str, Any]:
        """A section of INFO; empty where the user may not ask."""
        async with _Bounded(self._timeout):
            try:
                answer = await self._client.info(section)
            except ResponseError:
                return {}
        return dict(answer)

    def listen(self) -> RedisListener:
        """A connection for messages; it is not connected yet."""
        return RedisListener(self._client.pubsub(), self._timeout)

    async def _send(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        # Nothing spans two of the commands, so there is no MULTI.
        if not self.is_cluster:
            return await self._send_packed(commands)
        pipeline = self._client.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command, **RAW)
        answers: list[Any] = await pipeline.execute(raise_on_error=False)
        for answer in answers:
            if isinstance(answer, RedisError) and not isinstance(answer, ResponseError):
                raise answer
        return answers

    async def _send_packed(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """A pipeline of redis-py's connections, without what it does in Python."""
        pool = self._client.connection_pool
        connection = await pool.get_connection()
        answers: list[Any] = []
        try:
            await connection.send_packed_command(b"".join(map(_pack, commands)))
            for _ in commands:
                try:
                    answer = await connection.read_response(disable_decoding=True)
                except ResponseError as error:
                    answer = error
                answers.append(answer)
            if any(isinstance(answer, OUTAGES) for answer in answers):
                # After a failover the same address leads to another server.
                await connection.disconnect()
        except BaseException:
            # Answers that nobody read must not be taken for another command's.
            await connection.disconnect(nowait=True)
            raise
        finally:
            await pool.release(connection)
        return answers


class RedisListener:
    """One Pub/Sub connection."""

    def __init__(self, pubsub: Any, timeout: float) -> None:
        self._pubsub = pubsub
        self._timeout = timeout

    async def subscribe(self, *channels: str) -> None:
        """Ask for messages; `next` returns a confirmation for each channel."""
        async with _Bounded(self._timeout):
            await self._pubsub.subscribe(*channels)

    async def unsubscribe(self, *channels: str) -> None:
        """Ask for no more messages of these channels."""
        async with _Bounded(self._timeout):
            await self._pubsub.unsubscribe(*channels)

    async def next(self, timeout: float) -> tuple[str, str, str | bytes] | None:
        """The next (kind, channel, data), kind "message" or "subscribe"; or None."""
        with _mapped():
            message = await self._pubsub.get_message(timeout=timeout)
        if message is None:
            return None
        return message["type"], _text(message["channel"]), message["data"]

    async def close(self) -> None:
        """Give the connection back; never raises."""
        with suppress(RedisError, OSError, TimeoutError):
            async with asyncio.timeout(self._timeout):
                await self._pubsub.aclose()


class _Bounded:
    """Ends after some seconds, and maps what Redis and its driver raise.

    No generator: a client that is closed with its event loop comes here when that lets
    no asynchronous generator begin any more.
    """

    def __init__(self, seconds: float) -> None:
        self._mapped = _mapped()
        self._limit = asyncio.timeout(seconds)

    async def __aenter__(self) -> None:
        self._mapped.__enter__()
        await self._limit.__aenter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None:
        try:
            await self._limit.__aexit__(kind, error, traceback)
        except TimeoutError as late:
            self._mapped.__exit__(type(late), late, late.__traceback__)
        else:
            self._mapped.__exit__(kind, error, traceback)


@contextmanager
def _mapped() -> Generator[None]:
    with heeding_cancellation():
        try:
            yield
        except (RedisError, OSError, TimeoutError, UnicodeDecodeError) as error:
            raise _unavailable(error) from error


def _read_error(answer: Any) -> Any:
    """An outage raises, a full Redis is `RedisFull`, another refusal stays itself."""
    if not isinstance(answer, ResponseError):
        return cast("list[Any]", answer)
    error = _unavailable(answer)
    if isinstance(error, RedisFull):
        return error
    text = str(answer)
    if isinstance(answer, OUTAGES) or any(word in text for word in OUTAGE_WORDS):
        raise error from answer
    return answer


def _unavailable(error: BaseException) -> StoreUnavailable:
    # Redis 6.2 wraps a script's error in its own text.
    if isinstance(error, OutOfMemoryError) or "OOM command not allowed" in str(error):
        return RedisFull(f"Redis is full ({describe(error)})")
    return StoreUnavailable(f"Redis did not answer ({describe(error)})")


def _read_hash(answer: Any) -> dict[str, str] | None:
    try:
        # redis-py makes a dict of RESP2's list too, but only where it may decode it.
        pairs: Iterable[tuple[Any, Any]] = (
            answer.items()
            if hasattr(answer, "items")
            else zip(answer[::2], answer[1::2], strict=True)
        )
        return {_text(field): _text(value) for field, value in pairs}
    except (TypeError, ValueError):
        return None


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
