"""Executions as people look for them: pages by age, along an index, of bounded cost."""

from __future__ import annotations

import base64
import json
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from bson import Decimal128, ObjectId
from bson.errors import InvalidId
from bson.int64 import Int64

from ...clock import to_milliseconds
from ...errors import InvalidInput
from ...records import ExecutionStatus, StoredPage
from .documents import EXECUTIONS, META, UnreadableError
from .indexes import BY_EVENT, LISTING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...records import ExecutionQuery, StoredExecution, WorkerRecord
    from .documents import Document
    from .stores import Stores

logger = logging.getLogger("worchflow.storage.redis_mongo")

SORT = (("createdAt", -1), ("_id", -1))
SCANNED = 10_000
"""So many index entries one page walks past at most, where a filter has no index of
its own. With fewer items found by then, the page is short and its cursor goes on."""
FEW = 1000
"""Up to so many ids with a beginning are looked up; more of them are met anyway."""
FIRST, LAST = Int64(-(2**63)), Int64(2**63 - 1)
MOSTLY = frozenset({None, ExecutionStatus.COMPLETED})
"""Statuses that tell less than an event's name does."""

Position: TypeAlias = tuple[int, Any]
"""Creation time and `_id` of a document in the order of the listing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What an index answers by itself, and what is left to look at."""

    hint: Document
    found: Document
    filtered: Document

    @property
    def walks(self) -> bool:
        """Whether it walks past documents that it does not want."""
        return bool(self.filtered)


class Range(NamedTuple):
    """A part of what is left, and its order."""

    bounds: Document
    sort: tuple[tuple[str, int], ...]


class Listing:
    """Lists executions, newest first."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores
        self._functions_id = f"functions:{stores.options.queue_prefix}"

    async def remember(self, worker: WorkerRecord) -> None:
        """Remember which events its functions serve, for listing by function."""
        pairs = [
            {"function": function, "event": event}
            for event, function in sorted(worker.functions.items())
            if function != event
        ]
        if not pairs:
            return
        change = {"$addToSet": {"pairs": {"$each": pairs}}}
        statement = {"q": {"_id": self._functions_id}, "u": change, "upsert": True}
        await self._stores.mongo.update(META, [statement])

    async def page(self, query: ExecutionQuery) -> StoredPage:
        """One page; what cannot be read is left out and logged.

        The cursor tells whether the listing goes on, not the number of items.
        """
        after = None if query.cursor is None else _read_cursor(query.cursor)
        if query.id_prefix and await self._has_few(query.id_prefix):
            found, following = await self._look_up(query, after)
        else:
            plan = await self._plan(query)
            found, following = await self._walk(query, plan, after)
        documents = self._stores.documents
        items: list[StoredExecution] = []
        for document in found:
            try:
                items.append(documents.execution(document))
            except UnreadableError as error:
                logger.warning(
                    "execution %.200r is left out of the listing: %s",
                    document["_id"],
                    error.message,
                )
        cursor = None if following is None else _make_cursor(following)
        return StoredPage(items=items, cursor=cursor)

    async def _plan(self, query: ExecutionQuery) -> Plan:
        prefix: Document = {"queuePrefix": self._stores.documents.prefix}
        filtered = self._id_range(query.id_prefix) if query.id_prefix else {}
        statuses = [query.status] if query.status is not None else ExecutionStatus
        status = {"status": {"$in": [each.value for each in statuses]}}
        if query.function is None:
            return Plan(hint=LISTING, found=prefix | status, filtered=filtered)
        events = await self._events(query.function)
        name = {"eventName": {"$in": events}}
        if len(events) > 1:
            either = [{"functionId": query.function}, {"eventName": query.function}]
            filtered |= {"$or": either}
        if query.status in MOSTLY:
            if query.status is not None:
                filtered |= status
            return Plan(hint=BY_EVENT, found=prefix | name, filtered=filtered)
        return Plan(hint=LISTING, found=prefix | status, filtered=filtered | name)

    async def _walk(
        self, query: ExecutionQuery, plan: Plan, after: Position | None
    ) -> tuple[list[Document], Position | None]:
        """The page's documents, and where the next page begins, if there is one."""
        found: list[Document] = []
        for bounds, sort in _ranges(query, after):
            within = Range(plan.found | bounds, sort)
            wanted = query.limit + 1 - len(found)
            part = await self._part(plan, within, wanted)
            found += part
            if len(found) > query.limit:
                return found[: query.limit], _position(found[query.limit - 1])
            if plan.walks and (end := await self._last_walked(plan, within)):
                # What is new at the top has moved the end, but not what was found.
                return found, min(end, *map(_position, part[-1:]), key=_order)
        return found, None

    async def _part(self, plan: Plan, within: Range, wanted: int) -> list[Document]:
        mongo = self._stores.mongo
        if not plan.walks:
            return await mongo.find(
                EXECUTIONS,
                within.bounds,
                sort=within.sort,
                limit=wanted,
                hint=plan.hint,
            )
        pipeline: list[Document] = [
            {"$match": within.bounds},
            {"$sort": dict(within.sort)},
            {"$limit": SCANNED},
            {"$match": plan.filtered},
            {"$limit": wanted},
        ]
        return await mongo.aggregate(EXECUTIONS, pipeline, plan.hint)

    async def _last_walked(self, plan: Plan, within: Range) -> Position | None:
        """Where a walk that was cut short has ended."""
        pipeline: list[Document] = [
            {"$match": within.bounds},
            {"$sort": dict(within.sort)},
            {"$project": {"createdAt": 1}},
            {"$skip": SCANNED - 1},
            {"$limit": 1},
        ]
        found = await self._stores.mongo.aggregate(EXECUTIONS, pipeline, plan.hint)
        return _position(found[0]) if found else None

    async def _has_few(self, id_prefix: str) -> bool:
        query, hint = self._id_range(id_prefix), {self._stores.documents.id_field: 1}
        count = await self._stores.mongo.count(EXECUTIONS, query, hint=hint, limit=FEW)
        return count < FEW

    async def _look_up(
        self, query: ExecutionQuery, after: Position | None
    ) -> tuple[list[Document], Position | None]:
        """By the beginning of the id: few enough to be sorted afterwards."""
        plan = await self._plan(query)
        found: list[Document] = []
        for bounds, sort in _ranges(query, after):
            conditions = [plan.found, plan.filtered, bounds]
            found += await self._stores.mongo.find(
                EXECUTIONS,
                {"$and": [each for each in conditions if each]},
                sort=sort,
                limit=query.limit + 1 - len(found),
                hint={self._stores.documents.id_field: 1},
            )
            if len(found) > query.limit:
                return found[: query.limit], _position(found[query.limit - 1])
        return found, None

    def _id_range(self, id_prefix: str) -> Document:
        ids = {"$gte": id_prefix, "$lt": id_prefix + "\uffff"}
        return {self._stores.documents.id_field: ids}

    async def _events(self, function: str) -> Sequence[str]:
        """The name as that of an event, and the events that its function serves."""
        kept = await self._stores.mongo.find(META, {"_id": self._functions_id}, limit=1)
        pairs: Sequence[dict[str, str]] = kept[0].get("pairs", ()) if kept else ()
        served = {each["event"] for each in pairs if each["function"] == function}
        return [function, *sorted(served - {function})]


def _ranges(query: ExecutionQuery, after: Position | None) -> list[Range]:
    """What is left after a position: the same moment first, then what is older."""
    # Only numbers: with anything else nobody could go on behind it.
    created: Document = {"$gte": FIRST, "$lte": LAST}
    if query.since is not None:
        created["$gte"] = to_milliseconds(query.since)
    if query.until is not None:
        created["$lt"] = to_milliseconds(query.until)
    if after is None:
        return [Range({"createdAt": created}, SORT)]
    at, last = after
    before = {"createdAt": created | {"$lt": min(at, created.get("$lt", at))}}
    older = Range(before, SORT)
    if not created["$gte"] <= at < created.get("$lt", at + 1):
        return [older]
    same: list[Document] = [{"_id": {"$lt": last}}]
    if isinstance(last, ObjectId):
        # A comparison finds values of one type only, and text comes after ObjectIds.
        same.append({"_id": {"$type": "string"}})
    # In the full order MongoDB would read all of one moment and sort it.
    moment = [{"createdAt": at, "$and": [each]} for each in same]
    return [*(Range(bounds, SORT[1:]) for bounds in moment), older]


def _position(document: Document) -> Position:
    # Numbers of JavaScript may be stored as floating ones.
    created = document["createdAt"]
    if isinstance(created, Decimal128):
        created = created.to_decimal()
    return int(created), document["_id"]


def _order(position: Position) -> tuple[int, bool, str]:
    """As MongoDB orders them: text before ObjectIds."""
    created_at, last = position
    return created_at, isinstance(last, ObjectId), str(last)


def _make_cursor(position: Position) -> str:
    created_at, last = position
    where = [created_at, str(last)]
    if isinstance(last, ObjectId):
        where.append("ObjectId")
    return base64.urlsafe_b64encode(json.dumps(where).encode()).decode()


def _read_cursor(cursor: str) -> Position:
    try:
        created_at, last, *kind = json.loads(base64.urlsafe_b64decode(cursor.encode()))
        if type(created_at) is int and type(last) is str:
            return created_at, ObjectId(last) if kind == ["ObjectId"] else last
    except (ValueError, TypeError, RecursionError, InvalidId):
        pass
    raise InvalidInput(
        "cursor= was not made by this store: pass on what an earlier page gave",
        field="cursor",
    )
