"""A worker with nothing but its writes: what the main job costs before it is safe.

For every execution one coroutine that awaits its writes in turn: claimed in rounds
from a Redis list, a checkpoint for each of three steps, a settlement, all of them in
group commits of up to 1,000 with three in flight, MongoDB and Redis side by side.
The same documents, hashes, indexes and write concern as the library, by plain driver
commands: an update statement for each settlement, and redis-py's own connections.
No lease, guard, retry, timeout, limit, notice or round trip of a value.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import defaultdict
from typing import Any
from uuid import uuid4

import hiredis
from pymongo import AsyncMongoClient
from redis.asyncio import Redis

from worchflow.bench.programs.bare_mongo import (
    BATCH,
    IN_FLIGHT,
    TITLES,
    Database,
    claim_statement,
    insert,
    prepare,
    settle_statement,
    step_document,
    update,
)
from worchflow.bench.programs.speech import Line, read_settings, serve
from worchflow.worker.process import loop_factory, tune_garbage_collector

BATCHED = """
local answer, at = 0, 1
while at <= #ARGV do
  local count = tonumber(ARGV[at])
  answer = redis.call(unpack(ARGV, at + 1, at + count))
  at = at + count + 1
end
return answer
"""
"""Runs many commands and gives the answer of the last: an answer for each would cost
this process more than making it costs Redis."""
QUEUE, INFLIGHT = "bare:queue", "bare:inflight"
FINISHED_TTL = 24 * 3600 * 1000


class BareWorker:
    """Runs what is queued, `concurrency` at a time."""

    def __init__(
        self, database: Database, redis: Redis, concurrency: int, value: Any
    ) -> None:
        self._database = database
        self._value, self._text = value, json.dumps(value)
        self._redis = redis
        self._concurrency = concurrency
        self._free = concurrency
        self._freed = asyncio.Event()
        self._waiting: list[tuple[str, Any, asyncio.Future[None]]] = []
        self._commands: list[tuple[Any, ...]] = []
        self._in_flight = 0
        self._scheduled = False
        self._left = 0
        self._done = asyncio.Event()

    async def prepare(self, ids: list[str]) -> None:
        """Queue what MongoDB holds, with its hashes."""
        for start in range(0, len(ids), BATCH):
            batch = ids[start:][:BATCH]
            commands: list[tuple[Any, ...]] = [("RPUSH", QUEUE, *batch)]
            for each in batch:
                fields = (
                    "id",
                    each,
                    "eventName",
                    "three-steps",
                    "eventData",
                    self._text,
                )
                state = ("status", "queued", "attemptCount", 0, "token", 0)
                commands.append(("HSET", _execution(each), *fields, *state))
            await self._send(commands)

    async def run(self, count: int) -> float:
        """Seconds until `count` executions are settled."""
        self._left = count
        began = time.perf_counter()
        claiming = asyncio.create_task(self._claim())
        await self._done.wait()
        seconds = time.perf_counter() - began
        await claiming
        return seconds

    async def _claim(self) -> None:
        tasks: set[asyncio.Task[None]] = set()
        while True:
            # A round for a few slots is not worth its round trips.
            while self._free < self._concurrency // 8:
                self._freed.clear()
                await self._freed.wait()
            ids = await self._send([("LPOP", QUEUE, self._free)])
            if not ids:
                return
            nonce, ids = uuid4().hex, [each.decode() for each in ids]
            self._free -= len(ids)
            self._commands.append(("RPUSH", INFLIGHT, *ids))
            await update(self._database, [claim_statement(ids, nonce)])
            query = {"_id": {"$in": ids}, "claim": nonce}
            for document in await self._database.executions.find(query).to_list():
                task = asyncio.create_task(self._execute(document))
                tasks.add(task)
                task.add_done_callback(tasks.discard)

    async def _execute(self, document: dict[str, Any]) -> None:
        id_ = document["_id"]
        key, steps = _execution(id_), f"bare:steps:{id_}"
        self._commands.append(("HSET", key, "status", "processing", "token", 1))
        for title in TITLES:
            await _no_op()
            step = step_document(id_, title, self._value)
            self._commands.append(("HSETNX", steps, step["stepId"], self._text))
            await self._save("steps", step)
        self._commands += [
            ("LREM", INFLIGHT, 1, id_),
            ("HSET", key, "status", "completed", "result", self._text),
            ("PEXPIRE", key, FINISHED_TTL),
            ("PEXPIRE", steps, FINISHED_TTL),
        ]
        await self._save("executions", settle_statement(id_, self._value))
        self._free += 1
        self._freed.set()
        self._left -= 1
        if not self._left:
            self._done.set()

    def _save(self, collection: str, write: Any) -> asyncio.Future[None]:
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((collection, write, future))
        if not self._scheduled and self._in_flight < IN_FLIGHT:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._flush)
        return future

    def _flush(self) -> None:
        self._scheduled = False
        if not self._waiting or self._in_flight >= IN_FLIGHT:
            return
        batch, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
        commands, self._commands = self._commands, []
        self._in_flight += 1
        task = asyncio.create_task(self._commit(batch, commands))
        task.add_done_callback(self._landed)

    async def _commit(
        self,
        batch: list[tuple[str, Any, asyncio.Future[None]]],
        commands: list[tuple[Any, ...]],
    ) -> None:
        kinds: dict[str, list[Any]] = defaultdict(list)
        for collection, write, _ in batch:
            kinds[collection].append(write)
        sends: list[Any] = [self._send(commands)] if commands else []
        if kinds["steps"]:
            sends.append(insert(self._database, kinds["steps"], "steps"))
        if kinds["executions"]:
            sends.append(update(self._database, kinds["executions"]))
        await asyncio.gather(*sends)
        for _, _, future in batch:
            future.set_result(None)

    def _landed(self, task: asyncio.Task[None]) -> None:
        self._in_flight -= 1
        task.result()
        self._flush()

    async def _send(self, commands: list[tuple[Any, ...]]) -> Any:
        arguments: list[Any] = []
        for command in commands:
            arguments.append(len(command))
            arguments += command
        pool = self._redis.connection_pool
        connection = await pool.get_connection()
        try:
            packed: Any = hiredis
            command = packed.pack_command(("EVAL", BATCHED, 0, *arguments))
            await connection.send_packed_command(command)
            return await connection.read_response(disable_decoding=True)
        finally:
            await pool.release(connection)


async def _no_op() -> None:
    """A step's function."""


def _execution(id_: str) -> str:
    return f"bare:execution:{id_}"


async def measure(settings: Line) -> None:
    """Serve the driver of a benchmark."""
    value: Any = "x" * settings["payload"] if settings.get("payload") else 1
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(settings["mongo_url"])
    async with client, Redis.from_url(settings["redis_url"]) as redis:
        database = client.get_default_database()
        worker = BareWorker(database, redis, settings["concurrency"], value)
        sent = 0

        async def answer(line: Line) -> Line:
            nonlocal sent
            if "send" in line:
                sent = line["send"]
                await worker.prepare(await prepare(database, sent, value))
                return {"sent": sent}
            return {"seconds": await worker.run(sent)}

        tune_garbage_collector()
        await serve(answer)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(measure(read_settings()))
