"""A Redis in memory: it runs our own Lua scripts in a real Lua 5.1.

Only the commands this library uses: any other is an error, as on a real server.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from lupa.lua51 import LuaRuntime, lua_type

Command = Sequence[bytes]


class CommandError(Exception):
    """Redis answers with an error, as `-ERR ...` does on the wire."""


@dataclass(eq=False)
class Waiting:
    """A client whose BLMOVE waits for an id."""

    source: bytes
    target: bytes
    answer: Callable[[bytes | None], None]


@dataclass
class Content:
    """Everything that a snapshot keeps."""

    values: dict[bytes, Any] = field(default_factory=dict)
    expires: dict[bytes, float] = field(default_factory=dict)


class RedisServer:
    """One server. `now` is its clock in milliseconds."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.content = Content()
        self.waiting: list[Waiting] = []
        self.subscribers: dict[bytes, list[Callable[[bytes, bytes], None]]] = {}
        self.is_full = False
        """Whether it refuses what adds, as at `maxmemory`."""
        self.sorted = 0
        """How many ids were put into ready lists."""
        self._known: dict[bytes, str] = {}
        self._has_written = False

    # -- commands

    def run(self, command: Command) -> Any:
        """Run one command; `CommandError` for what Redis would refuse."""
        self._has_written = False
        try:
            return self._call(command)
        finally:
            self._serve()

    def wait_to_move(self, waiting: Waiting) -> None:
        """BLMOVE: answered at once or once there is something."""
        self._refuse_when_full()
        self.waiting.append(waiting)
        self._serve()

    # -- what happens to servers

    def snapshot(self) -> Content:
        """What a replica would have now."""
        return copy.deepcopy(self.content)

    def restore(self, content: Content) -> None:
        """Be the server that has this content."""
        self.content = copy.deepcopy(content)

    def forget_scripts(self) -> None:
        """SCRIPT FLUSH."""
        self._known.clear()

    # -- inside

    def _call(self, command: Command) -> Any:
        name = command[0].decode().upper()
        handler = _COMMANDS.get(name)
        if handler is None:
            raise CommandError(f"ERR unknown command '{name}'")
        if name in ADDING:
            self._refuse_when_full()
        answer = handler(self, *command[1:])
        self._has_written = self._has_written or name in WRITING
        return answer

    def _refuse_when_full(self) -> None:
        # A script that has written already may go on.
        if self.is_full and not self._has_written:
            raise CommandError("OOM command not allowed when used memory > 'maxmemory'")

    def _serve(self) -> None:
        """Hand ids to the clients that wait for some, first come, first served."""
        for waiting in list(self.waiting):
            if self.content.values.get(waiting.source):
                self.waiting.remove(waiting)
                item = self._lpop(waiting.source)
                self._rpush(waiting.target, item)
                waiting.answer(item)

    def _value(self, key: bytes, kind: type) -> Any:
        """What a key holds, or None; `WRONGTYPE` for something else."""
        due = self.content.expires.get(key)
        if due is not None and due <= self._now():
            self._remove(key)
        value = self.content.values.get(key)
        if value is not None and not isinstance(value, kind):
            raise CommandError(
                "WRONGTYPE Operation against a key holding the wrong kind of value"
            )
        return value

    def _made(self, key: bytes, kind: type) -> Any:
        value = self._value(key, kind)
        if value is None:
            value = self.content.values[key] = kind()
        return value

    def _remove(self, key: bytes) -> None:
        self.content.values.pop(key, None)
        self.content.expires.pop(key, None)

    def _drop_empty(self, key: bytes, value: Any) -> None:
        if not value:
            self._remove(key)

    # strings

    def _set(self, key: bytes, value: bytes, *options: bytes) -> Any:
        if options != (b"NX",):
            raise NotImplementedError(f"SET with {options}")
        if self._value(key, object) is not None:
            return None
        self.content.values[key] = value
        return b"OK"

    def _get(self, key: bytes) -> Any:
        return self._value(key, bytes)

    # lists

    def _rpush(self, key: bytes, *items: bytes) -> int:
        items_of: list[bytes] = self._made(key, list)
        self.sorted += b":ready:" in key
        items_of.extend(items)
        return len(items_of)

    def _lpush(self, key: bytes, *items: bytes) -> int:
        items_of: list[bytes] = self._made(key, list)
        for item in items:
            items_of.insert(0, item)
        return len(items_of)

    def _lpop(self, key: bytes, count: bytes | None = None) -> Any:
        items: list[bytes] | None = self._value(key, list)
        if not items:
            return None
        number = 1 if count is None else int(count)
        taken = items[:number]
        del items[:number]
        self._drop_empty(key, items)
        return taken[0] if count is None else taken

    def _rpop(self, key: bytes) -> Any:
        items: list[bytes] | None = self._value(key, list)
        if not items:
            return None
        item = items.pop()
        self._drop_empty(key, items)
        return item

    def _lrem(self, key: bytes, count: bytes, item: bytes) -> int:
        items: list[bytes] = self._value(key, list) or []
        most, removed = int(count), 0
        while item in items and (most == 0 or removed < most):
            items.remove(item)
            removed += 1
        self._drop_empty(key, items)
        return removed

    def _llen(self, key: bytes) -> int:
        return len(self._value(key, list) or ())

    def _lrange(self, key: bytes, start: bytes, end: bytes) -> Any:
        items: list[bytes] = self._value(key, list) or []
        last = int(end)
        return items[int(start) : None if last == -1 else last + 1]

    # hashes

    def _hset(self, key: bytes, *pairs: bytes) -> int:
        fields: dict[bytes, bytes] = self._made(key, dict)
        before = len(fields)
        fields.update(zip(pairs[::2], pairs[1::2], strict=True))
        return len(fields) - before

    def _hsetnx(self, key: bytes, name: bytes, value: bytes) -> int:
        fields: dict[bytes, bytes] = self._made(key, dict)
        if name in fields:
            return 0
        fields[name] = value
        return 1

    def _hget(self, key: bytes, name: bytes) -> Any:
        return (self._value(key, dict) or {}).get(name)

    def _hmget(self, key: bytes, *names: bytes) -> Any:
        fields = self._value(key, dict) or {}
        return [fields.get(name) for name in names]

    def _hgetall(self, key: bytes) -> Any:
        fields = self._value(key, dict) or {}
        return [part for pair in fields.items() for part in pair]

    def _hdel(self, key: bytes, *names: bytes) -> int:
        fields = self._value(key, dict) or {}
        removed = sum(fields.pop(name, None) is not None for name in names)
        self._drop_empty(key, fields)
        return removed

    # sorted sets

    def _zadd(self, key: bytes, score: bytes, member: bytes) -> int:
        members: ScoredSet = self._made(key, ScoredSet)
        is_new = member not in members
        members[member] = float(score)
        return int(is_new)

    def _zrem(self, key: bytes, member: bytes) -> int:
        members: ScoredSet = self._value(key, ScoredSet) or ScoredSet()
        removed = members.pop(member, None)
        self._drop_empty(key, members)
        return int(removed is not None)

    def _zcard(self, key: bytes) -> int:
        return len(self._value(key, ScoredSet) or ())

    def _zrange_by_score(self, key: bytes, *arguments: bytes) -> Any:
        low, high, _, offset, count = arguments
        if low != b"-inf":
            raise NotImplementedError(f"ZRANGEBYSCORE from {low!r}")
        found = [m for m, score in self._scored(key) if score <= float(high)]
        return found[int(offset) : int(offset) + int(count)]

    def _zrange(self, key: bytes, start: bytes, end: bytes, _: bytes) -> Any:
        found = self._scored(key)[int(start) : int(end) + 1]
        return [part for m, score in found for part in (m, b"%d" % int(score))]

    def _scored(self, key: bytes) -> list[tuple[bytes, float]]:
        members: ScoredSet = self._value(key, ScoredSet) or ScoredSet()
        return sorted(members.items(), key=lambda pair: (pair[1], pair[0]))

    # keys, messages, the server

    def _unlink(self, *keys: bytes) -> int:
        found = [key for key in keys if self._value(key, object) is not None]
        for key in found:
            self._remove(key)
        return len(found)

    def _persist(self, key: bytes) -> int:
        return int(self.content.expires.pop(key, None) is not None)

    def _pexpire(self, key: bytes, milliseconds: bytes) -> int:
        if self._value(key, object) is None:
            return 0
        self.content.expires[key] = self._now() + int(milliseconds)
        return 1

    def _publish(self, channel: bytes, message: bytes) -> int:
        listening = list(self.subscribers.get(channel, ()))
        for hear in listening:
            hear(channel, message)
        return len(listening)

    def _ping(self) -> bytes:
        return b"PONG"

    # scripts

    def _eval(self, source: bytes, count: bytes, *arguments: bytes) -> Any:
        text = source.decode()
        digest = hashlib.sha1(source, usedforsecurity=False).hexdigest()
        self._known[digest.encode()] = text
        return self._run_script(text, int(count), arguments)

    def _evalsha(self, digest: bytes, count: bytes, *arguments: bytes) -> Any:
        source = self._known.get(digest)
        if source is None:
            raise CommandError("NOSCRIPT No matching script. Please use EVAL.")
        return self._run_script(source, int(count), arguments)

    def _run_script(self, source: str, count: int, arguments: Sequence[bytes]) -> Any:
        return Lua.shared().run(
            source, arguments[:count], arguments[count:], self._call
        )


class ScoredSet(dict[bytes, float]):
    """A sorted set: members with scores."""


_COMMANDS: dict[str, Callable[..., Any]] = {
    "SET": RedisServer._set,
    "GET": RedisServer._get,
    "RPUSH": RedisServer._rpush,
    "LPUSH": RedisServer._lpush,
    "LPOP": RedisServer._lpop,
    "RPOP": RedisServer._rpop,
    "LREM": RedisServer._lrem,
    "LLEN": RedisServer._llen,
    "LRANGE": RedisServer._lrange,
    "HSET": RedisServer._hset,
    "HSETNX": RedisServer._hsetnx,
    "HGET": RedisServer._hget,
    "HMGET": RedisServer._hmget,
    "HGETALL": RedisServer._hgetall,
    "HDEL": RedisServer._hdel,
    "ZADD": RedisServer._zadd,
    "ZREM": RedisServer._zrem,
    "ZCARD": RedisServer._zcard,
    "ZRANGEBYSCORE": RedisServer._zrange_by_score,
    "ZRANGE": RedisServer._zrange,
    "UNLINK": RedisServer._unlink,
    "PERSIST": RedisServer._persist,
    "PEXPIRE": RedisServer._pexpire,
    "PUBLISH": RedisServer._publish,
    "PING": RedisServer._ping,
    "EVAL": RedisServer._eval,
    "EVALSHA": RedisServer._evalsha,
}
ADDING = frozenset({"SET", "RPUSH", "LPUSH", "HSET", "HSETNX", "ZADD"})
WRITING = ADDING | {
    "LPOP",
    "RPOP",
    "LREM",
    "HDEL",
    "ZREM",
    "PERSIST",
    "PEXPIRE",
    "UNLINK",
}


class Lua:
    """One Lua interpreter.

    A script sees `redis.call`, `redis.pcall`, KEYS and ARGV as in Redis.
    """

    _shared: ClassVar[Lua | None] = None

    def __init__(self) -> None:
        self._runtime = LuaRuntime(encoding=None, unpack_returned_tuples=True)
        self._compiled: dict[str, Any] = {}
        self._call: Callable[[Command], Any] | None = None
        install = self._runtime.eval(
            b"function(call) redis = {call = function(...) "
            b"local ok, answer = call(...) "
            b"if not ok then error(answer, 0) end return answer end, "
            b"pcall = function(...) local ok, answer = call(...) "
            b"if not ok then return {err = answer} end return answer end} end"
        )
        install(self._redis_call)
        self._failure: Exception | None = None

    @classmethod
    def shared(cls) -> Lua:
        """The interpreter of this process: making one takes its time."""
        if cls._shared is None:
            cls._shared = cls()
        return cls._shared

    def run(
        self,
        source: str,
        keys: Sequence[bytes],
        arguments: Sequence[bytes],
        call: Callable[[Command], Any],
    ) -> Any:
        """Run a script; what it returns, as Redis would answer it."""
        script = self._compiled.get(source)
        if script is None:
            text = "local KEYS, ARGV = ...\n" + source
            script = self._compiled[source] = self._runtime.compile(text.encode())
        self._call, self._failure = call, None
        table = self._runtime.table_from
        try:
            return _answer(script(table(keys), table(arguments)))
        except Exception:
            if self._failure is not None:
                raise self._failure from None
            raise

    def _redis_call(self, *command: Any) -> Any:
        assert self._call is not None
        try:
            return True, self._lua(self._call([_text(part) for part in command]))
        except Exception as error:  # noqa: BLE001 - raised again behind the script
            self._failure = error
            return False, str(error).encode()

    def _lua(self, answer: Any) -> Any:
        if answer is None:
            return False
        if isinstance(answer, list):
            items = [False if item is None else item for item in answer]
            return self._runtime.table_from(items)
        return answer


def _text(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, float):
        return b"%d" % int(value) if value.is_integer() else repr(value).encode()
    return str(value).encode()


def _answer(value: Any) -> Any:
    if lua_type(value) == "table":
        return [_answer(value[index]) for index in range(1, len(value) + 1)]
    if value is False:
        return None
    return int(value) if isinstance(value, int | float) else value
