"""What the TypeScript original writes, command by command and type by type.

Numbers are what the Node driver makes of them: a whole one is a 32-bit integer, or a
double where that is too small. So every moment is a double. `undefined` is null in
MongoDB, and an empty text in Redis.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

import redis
from bson import ObjectId

from tests.redis_mongo.conftest import Mongo
from worchflow.foundations.ids import step_id

UNDEFINED = object()


def as_node_writes(value: Any) -> Any:
    """Give whole numbers beyond 32 bits the type that the Node driver gives them."""
    if isinstance(value, dict):
        return {key: as_node_writes(item) for key, item in value.items()}
    if isinstance(value, list):
        return [as_node_writes(item) for item in value]
    if type(value) is int and not -(2**31) <= value < 2**31:
        return float(value)
    return None if value is UNDEFINED else value


@dataclass(frozen=True)
class Original:
    """A client and a worker of the original; its clock is some seconds behind."""

    redis: redis.Redis
    mongo: Mongo
    prefix: str
    ago: float = 120.0

    def send(
        self, id: str, *, event: str = "payment", data: Any = 7, **fields: Any
    ) -> None:
        """Send as its client does."""
        now = self._now()
        values = {
            "id": id,
            "eventName": event,
            "eventData": UNDEFINED if data is UNDEFINED else json.dumps(data),
            "status": "queued",
            "attemptCount": 0,
            "createdAt": now,
            "updatedAt": now,
        } | fields
        self._show(id, values)
        self.mongo.executions.insert_one(
            {"_id": ObjectId(), **as_node_writes(values)}  # type: ignore[dict-item]
        )
        self._push(id)

    def retry(self, id: str) -> None:
        """Retry as its client does, whatever the status is."""
        self._update(
            id,
            {"attemptCount": 0, "status": "queued"},
            unset=("error", "errorStack"),
        )
        self._push(id)

    def recover(self) -> None:
        """Queue again what runs or is to be retried, as its worker does first."""
        found = self.mongo.executions.find(
            {"status": {"$in": ["processing", "retrying"]}}
        )
        names = ["id", "eventName", "eventData", "attemptCount", "createdAt"]
        for each in list(found):
            values = {name: each[name] for name in names}
            values |= {"status": "queued", "updatedAt": self._now()}
            self._show(each["id"], values)
            self._update(each["id"], {"status": "queued"}, hash_too=False)
            self._push(each["id"])

    def take(self) -> str | None:
        """Take the next id from the queue and begin to run it."""
        id_ = self.redis.lpop(f"{self.prefix}:queue")
        if id_ is not None:
            assert isinstance(id_, str)
            self._update(id_, {"status": "processing"})
        return id_

    def step(self, id: str, title: str, result: Any) -> Any:
        """Run a step: what Redis has of it, or else `result`, recorded."""
        key, field = f"{self.prefix}:steps:{id}", step_id(title)
        cached = self.redis.hget(key, field)
        if cached:
            wrapped = json.loads(cached)  # type: ignore[arg-type]
            if wrapped["cached"] is True:
                return wrapped["value"]
        value = None if result is UNDEFINED else result
        wrapped = {"cached": True, "value": value}
        self.redis.hset(key, field, json.dumps(wrapped, separators=(",", ":")))
        self.mongo.steps.insert_one(
            {
                "executionId": id,
                "stepId": field,
                "name": title,
                "status": "completed",
                "result": as_node_writes(result),
                "timestamp": as_node_writes(self._now()),
            }
        )
        return result

    def complete(self, id: str, result: Any = None) -> None:
        """End it well."""
        self._update(id, {"status": "completed", "result": result, **self._attempt(id)})

    def fail(self, id: str, *, retries: bool = False) -> None:
        """Fail an attempt; with `retries` it is queued again."""
        self._update(
            id,
            {
                "status": "retrying" if retries else "failed",
                "error": "no funds",
                "attemptCount": self._attempt(id)["attemptCount"] + 1,
            },
            errorStack="Error: no funds\n    at pay",
        )
        if retries:
            self._push(id)

    def _attempt(self, id: str) -> dict[str, int]:
        kept = self.redis.hget(f"{self.prefix}:execution:{id}", "attemptCount")
        return {"attemptCount": int(kept or 0)}  # type: ignore[arg-type]

    def _now(self) -> int:
        return int((time.time() - self.ago) * 1000)

    def _push(self, id: str) -> None:
        self.redis.rpush(f"{self.prefix}:queue", id)

    def _show(self, id: str, values: dict[str, Any]) -> None:
        shown = {
            name: ""
            if value is UNDEFINED or value is None
            else str(int(value) if isinstance(value, float) else value)
            for name, value in values.items()
        }
        self.redis.hset(f"{self.prefix}:execution:{id}", mapping=shown)

    def _update(
        self,
        id: str,
        values: dict[str, Any],
        *,
        unset: tuple[str, ...] = (),
        hash_too: bool = True,
        **only_in_mongo: Any,
    ) -> None:
        values = values | {"updatedAt": self._now()}
        if hash_too:
            shown = dict(values)
            if "result" in shown:
                shown["result"] = json.dumps(shown["result"], separators=(",", ":"))
            self._show(id, shown)
        change: dict[str, Any] = {"$set": as_node_writes(values | only_in_mongo)}
        if unset:
            change["$unset"] = dict.fromkeys(unset, "")
        self.mongo.executions.update_one({"id": id}, change)
