"""Executions as people look for them: pages by age, along an index, of bounded cost."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from bson import Decimal128, ObjectId
from bson.int64 import Int64
from typing_extensions import override

from ...foundations.milliseconds import to_milliseconds
from ...model.records import ExecutionStatus, StoredPage
from ..contract.cursors import make_cursor, not_a_cursor, read_cursor
from ..contract.listing import ListingStore
from ..contract.page_size import PageSize
from .documents import EXECUTIONS, META, UnreadableError
from .indexes import BY_EVENT, BY_PARENT, BY_TAG, LISTING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...model.records import ExecutionQuery, StoredExecution, WorkerRecord
    from .documents import Document, Documents
    from .stores import Stores

logger = logging.getLogger("worchflow.storage.redis_mongo")

SORT = (("createdAt", -1), ("_id", -1))
MAX_SCANNED = 10_000
"""So many index entries one page walks past at most, where a filter has no index of
its own. With fewer items found by then, the page is short and its cursor continues."""
MAX_IDS_LOOKED_UP = 1000
"""Up to so many ids with a beginning are looked up; more of them are met anyway."""
FIRST, LAST = Int64(-(2**63)), Int64(2**63 - 1)
LEFT_OUT = {"eventData": 0, "result": 0, "attempts": 0, "doneBy": 0}
"""What a listing without payloads does not read; `doneBy` tells the only attempt."""
MOSTLY = frozenset({ExecutionStatus.COMPLETED})
"""Statuses that, alone, tell less than an event's name does."""

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


class Filling:
    """A page while it is filled; what cannot be read is left out and logged."""

    def __init__(self, query: ExecutionQuery, documents: Documents) -> None:
        self.items: list[StoredExecution] = []
        self.last: Position | None = None
        """The last document that was taken."""
        self.is_over = False
        """Whether a document was met that has no room any more."""
        self.wanted = query.limit + 1
        self.payloads = query.payloads
        self._size = PageSize(query.limit)
        self._documents = documents

    def take(self, document: Document) -> bool:
        """Take a document into the page, or answer that it has no room."""
        if self._size.is_reached:
            self.is_over = True
            return False
        self.last = _position(document)
        self.wanted -= 1
        execution = self._read(document)
        if execution is not None:
            self.items.append(execution)
        self._size.add(execution)
        return True

    def _read(self, document: Document) -> StoredExecution | None:
        if not self.payloads:
            document |= {"eventData": "null"}
        try:
            execution = self._documents.execution(document)
        except UnreadableError as error:
            logger.warning(
                "execution %.200r is left out of the listing: %s",
                document["_id"],
                error.message,
            )
            return None
        return execution if self.payloads else replace(execution, result=None)


class Listing(ListingStore):
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

    @override
    async def page(self, query: ExecutionQuery) -> StoredPage:
        """One page; what cannot be read is left out and logged.

        The cursor tells whether the listing continues, not the number of items.
        """
        after = None if query.cursor is None else _position_of(query.cursor)
        filling = Filling(query, self._stores.documents)
        if query.id_prefix and await self._has_few(query.id_prefix):
            following = await self._look_up(query, after, filling)
        else:
            plan = await self._plan(query)
            following = await self._walk(query, plan, after, filling)
        cursor = None if following is None else _cursor_of(following)
        return StoredPage(items=filling.items, cursor=cursor)

    async def _plan(self, query: ExecutionQuery) -> Plan:
        prefix: Document = {"queuePrefix": self._stores.documents.prefix}
        filtered = self._id_range(query.id_prefix) if query.id_prefix else {}
        statuses = query.statuses or ExecutionStatus
        status = {"status": {"$in": sorted(each.value for each in statuses)}}
        if query.parent is not None:
            if query.tag is not None:
                filtered |= {"tags": query.tag}
            children = {"parent.id": query.parent}
            return await self._plan_along(BY_PARENT, prefix | children, query, filtered)
        if query.tag is not None:
            tagged = {"tags": query.tag}
            return await self._plan_along(BY_TAG, prefix | tagged, query, filtered)
        if query.function is None:
            return Plan(hint=LISTING, found=prefix | status, filtered=filtered)
        events = await self._events(query.function)
        name = {"eventName": {"$in": events}}
        if len(events) > 1:
            either = [{"functionId": query.function}, {"eventName": query.function}]
            filtered |= {"$or": either}
        if query.statuses <= MOSTLY:
            if query.statuses:
                filtered |= status
            return Plan(hint=BY_EVENT, found=prefix | name, filtered=filtered)
        return Plan(hint=LISTING, found=prefix | status, filtered=filtered | name)

    async def _plan_along(
        self, hint: Document, found: Document, query: ExecutionQuery, filtered: Document
    ) -> Plan:
        """Those that an index finds; everything else is looked at on the way."""
        if query.statuses:
            words = sorted(each.value for each in query.statuses)
            filtered |= {"status": {"$in": words}}
        if query.function is not None:
            filtered |= self._name(query.function, await self._events(query.function))
        return Plan(hint=hint, found=found, filtered=filtered)

    @staticmethod
    def _name(function: str, events: Sequence[str]) -> Document:
        """A query for what a function of this name runs."""
        name: Document = {"eventName": {"$in": events}}
        if len(events) > 1:
            name["$or"] = [{"functionId": function}, {"eventName": function}]
        return name

    async def _walk(
        self,
        query: ExecutionQuery,
        plan: Plan,
        after: Position | None,
        filling: Filling,
    ) -> Position | None:
        """Fill the page; where the next one begins, if there is one."""
        for bounds, sort in _ranges(query, after):
            within = Range(plan.found | bounds, sort)
            before = filling.last
            await self._fill(filling, plan.hint, within, plan.filtered)
            if filling.is_over:
                return filling.last
            if plan.walks and (end := await self._last_walked(plan, within)):
                # What is new at the top has moved the end, but not what was found.
                last = filling.last
                is_new = last is not None and last is not before
                return min(end, last, key=_order) if is_new and last else end
        return None

    async def _fill(
        self, filling: Filling, hint: Document, within: Range, filtered: Document
    ) -> None:
        pipeline: list[Document] = [
            {"$match": within.bounds},
            {"$sort": dict(within.sort)},
            {"$limit": filling.wanted},
        ]
        if filtered:
            pipeline[-1:-1] = [{"$limit": MAX_SCANNED}, {"$match": filtered}]
        if not filling.payloads:
            pipeline.append({"$project": LEFT_OUT})
        await self._stores.mongo.aggregate_while(
            EXECUTIONS, pipeline, hint, filling.take
        )

    async def _last_walked(self, plan: Plan, within: Range) -> Position | None:
        """Where a walk that was cut short has ended."""
        pipeline: list[Document] = [
            {"$match": within.bounds},
            {"$sort": dict(within.sort)},
            {"$project": {"createdAt": 1}},
            {"$skip": MAX_SCANNED - 1},
            {"$limit": 1},
        ]
        found = await self._stores.mongo.aggregate(EXECUTIONS, pipeline, plan.hint)
        return _position(found[0]) if found else None

    async def _has_few(self, id_prefix: str) -> bool:
        query, hint = self._id_range(id_prefix), {self._stores.documents.id_field: 1}
        count = await self._stores.mongo.count(
            EXECUTIONS, query, hint=hint, limit=MAX_IDS_LOOKED_UP
        )
        return count < MAX_IDS_LOOKED_UP

    async def _look_up(
        self, query: ExecutionQuery, after: Position | None, filling: Filling
    ) -> Position | None:
        """By the beginning of the id: few enough to be sorted afterwards."""
        plan = await self._plan(query)
        hint: Document = {self._stores.documents.id_field: 1}
        for bounds, sort in _ranges(query, after):
            conditions = [plan.found, plan.filtered, bounds]
            both = {"$and": [each for each in conditions if each]}
            await self._fill(filling, hint, Range(both, sort), {})
            if filling.is_over:
                return filling.last
        return None

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


def _cursor_of(position: Position) -> str:
    created_at, last = position
    kind = ["ObjectId"] if isinstance(last, ObjectId) else []
    return make_cursor([created_at, str(last), *kind])


def _position_of(cursor: str) -> Position:
    match read_cursor(cursor):
        case [created_at, str(last)] if type(created_at) is int:
            return created_at, last
        case [created_at, last, "ObjectId"] if type(
            created_at
        ) is int and ObjectId.is_valid(last):
            return created_at, ObjectId(last)
        case _:
            raise not_a_cursor(cursor)
