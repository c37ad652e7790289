"""What MongoDB itself says that it read: its profiler, counted instead of timed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.redis_mongo.conftest import Mongo

RECORDED = (
    *("op", "planSummary", "keysExamined", "docsExamined"),
    *("keysInserted", "keysDeleted"),
)


@dataclass
class Reads:
    """What the operations of a block read, as the profiler recorded them."""

    operations: list[dict[str, Any]] = field(default_factory=list)

    @property
    def keys(self) -> int:
        """Keys of indexes."""
        return sum(each.get("keysExamined", 0) for each in self.operations)

    @property
    def documents(self) -> int:
        """Documents."""
        return sum(each.get("docsExamined", 0) for each in self.operations)

    @property
    def plans(self) -> set[str]:
        """How each collection was read, such as `IXSCAN { _id: 1 }`."""
        return {
            each["planSummary"] for each in self.operations if "planSummary" in each
        }


@contextmanager
def profiled(db: Mongo, collection: str = "executions") -> Iterator[Reads]:
    """Record every operation on a collection until the block ends."""
    reads = Reads()
    db.command("profile", 0)
    db.drop_collection("system.profile")
    db.create_collection("system.profile", capped=True, size=32 * 1024 * 1024)
    db.command("profile", 2)
    try:
        yield reads
    finally:
        db.command("profile", 0)
        reads.operations += db["system.profile"].find(
            {"ns": f"{db.name}.{collection}"},
            dict.fromkeys(RECORDED, 1),
        )
