"""A MongoDB replica set in memory: commands in, replies out, as its primary does it.

A write changes what the primary has at once and is committed when a majority has it.
Majority reads see what is committed; a primary that steps down rolls back the rest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import islice
from typing import Any

from tests.simulation.mongo_values import (
    Document,
    EvaluationError,
    matches,
    milliseconds,
    rank,
    updated,
)

DUPLICATE_KEY = 11000
Observer = Callable[[str, Any, Document | None, Document | None], None]
"""Told of the collection, the `_id`, the document before and the one after."""


def _ignore(name: str, key: Any, old: Document | None, new: Document | None) -> None:
    """Observe nothing."""


class Collection:
    """Documents by `_id`; a stored one is never changed, only replaced."""

    def __init__(self, name: str, server: MongoServer) -> None:
        self.name = name
        self._server = server
        self.latest: dict[Any, Document] = {}
        self.before: dict[Any, Document | None] = {}
        """What is committed of the documents that have changed since."""
        self.indexes: list[Document] = [{"name": "_id_", "key": {"_id": 1}}]

    def put(self, key: Any, document: Document | None) -> None:
        """Write one document; None removes it."""
        old = self.latest.get(key)
        self.before.setdefault(key, old)
        self._server.observe(self.name, key, old, document)
        if document is None:
            del self.latest[key]
        else:
            self.latest[key] = document

    def committed(self, key: Any) -> Document | None:
        """A document as a majority has it."""
        return self.before[key] if key in self.before else self.latest.get(key)

    def find(self, query: Document, now: datetime, level: str) -> Iterator[Document]:
        """Every document a query finds."""
        keys = _keys(query)
        if keys is None:
            keys = [*self.latest, *(k for k in self.before if k not in self.latest)]
        read = self.committed if level == "majority" else self.latest.get
        for key in keys:
            document = read(key)
            if document is not None and matches(document, query, now):
                yield document


class MongoServer:
    """One database. `now` is its clock.

    `observe` is told of every write before it is committed, `observe_loss` of every
    document that a roll-back brings back to what it was.
    """

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._collections: dict[str, Collection] = {}
        self._waiting: list[Callable[[bool], None]] = []
        self.observe = self.observe_loss = _ignore

    def collection(self, name: str) -> Collection:
        """A collection, made when it is first asked for."""
        if name not in self._collections:
            self._collections[name] = Collection(name, self)
        return self._collections[name]

    def run(self, command: Document) -> Document:
        """Run a command on the primary; its writes are not committed yet."""
        handler = _COMMANDS[next(iter(command))]
        return handler(self, command, self._now()) | {"ok": 1.0}

    def when_committed(self, waiting: Callable[[bool], None]) -> None:
        """Call back once everything up to now is committed (True) or rolled back."""
        self._waiting.append(waiting)

    def commit(self) -> None:
        """Let a majority have everything written so far."""
        for collection in self._collections.values():
            collection.before = {}
        self._tell(committed=True)

    def roll_back(self) -> int:
        """Take back whatever is not committed; how many documents that were."""
        count = 0
        for collection in self._collections.values():
            changed, collection.before = collection.before, {}
            count += len(changed)
            for key, before in changed.items():
                lost = collection.latest.get(key)
                self.observe_loss(collection.name, key, lost, before)
                if before is None:
                    collection.latest.pop(key, None)
                else:
                    collection.latest[key] = before
        self._tell(committed=False)
        return count

    def _tell(self, *, committed: bool) -> None:
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each(committed)

    # -- commands

    def _insert(self, command: Document, now: datetime) -> Document:
        collection = self.collection(command["insert"])
        errors = [
            {"index": index, "code": DUPLICATE_KEY, "errmsg": "E11000 duplicate key"}
            for index, document in enumerate(command["documents"])
            if not self._insert_one(collection, document)
        ]
        count = len(command["documents"]) - len(errors)
        return {"n": count} | ({"writeErrors": errors} if errors else {})

    def _insert_one(self, collection: Collection, document: Document) -> bool:
        if document["_id"] in collection.latest:
            return False
        collection.put(document["_id"], document)
        return True

    def _update(self, command: Document, now: datetime) -> Document:
        collection, count = self.collection(command["update"]), 0
        errors: list[Document] = []
        for index, statement in enumerate(command["updates"]):
            try:
                count += self._update_by(collection, statement, now)
            except EvaluationError as error:
                errors.append({"index": index, "code": 14, "errmsg": str(error)})
        return {"n": count} | ({"writeErrors": errors} if errors else {})

    def _update_by(
        self, collection: Collection, statement: Document, now: datetime
    ) -> int:
        query, change = statement["q"], statement["u"]
        self._check_hint(collection, statement.get("hint"))
        found = list(collection.find(query, now, "local"))
        if not statement.get("multi"):
            found = found[:1]
        for document in found:
            collection.put(document["_id"], updated(document, change, now))
        if not found and statement.get("upsert"):
            collection.put(query["_id"], updated({"_id": query["_id"]}, change, now))
            return 1
        return len(found)

    def _change(self, command: Document, now: datetime) -> Document:
        collection = self.collection(command["findAndModify"])
        statement = {"q": command["query"], "u": command["update"]}
        statement["upsert"] = command.get("upsert", False)
        found = next(collection.find(command["query"], now, "local"), None)
        key = found["_id"] if found else command["query"].get("_id")
        try:
            changed = self._update_by(collection, statement, now)
        except EvaluationError as error:
            raise CommandError(14, str(error)) from error
        return {
            "value": collection.latest[key] if changed else None,
            "lastErrorObject": {"updatedExisting": found is not None},
        }

    def _delete(self, command: Document, now: datetime) -> Document:
        collection, count = self.collection(command["delete"]), 0
        for statement in command["deletes"]:
            for document in list(collection.find(statement["q"], now, "local")):
                collection.put(document["_id"], None)
                count += 1
        return {"n": count}

    def _find(self, command: Document, now: datetime) -> Document:
        collection = self.collection(command["find"])
        self._check_hint(collection, command.get("hint"))
        level = command.get("readConcern", {}).get("level", "local")
        found = collection.find(command.get("filter", {}), now, level)
        documents = list(found)
        for name in ("sort", "limit", "projection"):
            if operand := command.get(name):
                documents = _PIPELINE[_AS_STAGE[name]](documents, operand, now)
        return {"cursor": {"firstBatch": documents, "id": 0}}

    def _count(self, command: Document, now: datetime) -> Document:
        collection = self.collection(command["count"])
        self._check_hint(collection, command["hint"])
        level = command["readConcern"]["level"]
        found = collection.find(command["query"], now, level)
        return {"n": len(list(islice(found, command["limit"] or None)))}

    def _aggregate(self, command: Document, now: datetime) -> Document:
        collection = self.collection(command["aggregate"])
        self._check_hint(collection, command.get("hint"))
        level = command["readConcern"]["level"]
        documents = list(collection.find({}, now, level))
        for stage in command["pipeline"]:
            ((name, operand),) = stage.items()
            documents = _PIPELINE[name](documents, operand, now)
        return {"cursor": {"firstBatch": documents, "id": 0}}

    def _list_indexes(self, command: Document, now: datetime) -> Document:
        indexes = self.collection(command["listIndexes"]).indexes
        return {"cursor": {"firstBatch": indexes, "id": 0}}

    def _create_indexes(self, command: Document, now: datetime) -> Document:
        collection = self.collection(command["createIndexes"])
        names = {index["name"] for index in collection.indexes}
        for index in command["indexes"]:
            if index.get("unique"):
                raise NotImplementedError("unique indexes")
            if index["name"] not in names:
                collection.indexes.append(index)
        return {}

    def _hello(self, command: Document, now: datetime) -> Document:
        return {"localTime": now, "isWritablePrimary": True}

    def _check_hint(self, collection: Collection, hint: Document | str | None) -> None:
        known = [
            index[name] for index in collection.indexes for name in ("key", "name")
        ]
        if hint and hint not in known:
            raise CommandError(2, f"hint {hint} names no index")


class CommandError(Exception):
    """The server refuses a whole command."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


_COMMANDS: dict[str, Callable[[MongoServer, Document, datetime], Document]] = {
    "insert": MongoServer._insert,
    "update": MongoServer._update,
    "findAndModify": MongoServer._change,
    "delete": MongoServer._delete,
    "find": MongoServer._find,
    "count": MongoServer._count,
    "aggregate": MongoServer._aggregate,
    "listIndexes": MongoServer._list_indexes,
    "createIndexes": MongoServer._create_indexes,
    "hello": MongoServer._hello,
}

WRITES = frozenset({"insert", "update", "findAndModify", "delete"})


def _keys(query: Document) -> list[Any] | None:
    """The ids a query names, if it does: then no other document is looked at."""
    wanted = query.get("_id")
    if isinstance(wanted, str):
        return [wanted]
    if isinstance(wanted, dict) and wanted.keys() == {"$in"}:
        return list(dict.fromkeys(wanted["$in"]))
    return None


# -- stages

Stage = Callable[[list[Document], Any, datetime], list[Document]]


def _sort(found: list[Document], order: Document, now: datetime) -> list[Document]:
    documents = list(found)
    for field, direction in reversed(list(order.items())):
        documents.sort(
            key=lambda each, field=field: rank(each.get(field)),  # type: ignore[misc]
            reverse=direction < 0,
        )
    return documents


def _project(found: list[Document], fields: Document, now: datetime) -> list[Document]:
    if not any(fields.values()):
        return [{key: each[key] for key in each if key not in fields} for each in found]
    kept = {"_id", *fields}
    return [{key: each[key] for key in each if key in kept} for each in found]


def _group(found: list[Document], operand: Document, now: datetime) -> list[Document]:
    """Only: how many there are of each value of one field, or a field of the first.

    Or the smallest moment of each pair of values.
    """
    if isinstance(operand["_id"], dict):
        return _smallest(found, operand)
    field = operand["_id"].removeprefix("$")
    if operand.keys() == {"_id", "dueAt"} and operand["dueAt"].keys() == {"$first"}:
        first = operand["dueAt"]["$first"].removeprefix("$")
        firsts = {each.get(field): each.get(first) for each in reversed(found)}
        return [{"_id": value, "dueAt": due} for value, due in firsts.items()]
    if operand.keys() != {"_id", "count"}:
        raise NotImplementedError(operand)
    counts = Counter(document.get(field) for document in found)
    return [{"_id": value, "count": count} for value, count in counts.items()]


def _smallest(found: list[Document], operand: Document) -> list[Document]:
    (smallest,) = (each for each in operand if each != "_id")
    field = operand[smallest]["$min"].removeprefix("$")
    groups: list[Document] = []
    for document in found:
        value = {
            name: document[of.removeprefix("$")] for name, of in operand["_id"].items()
        }
        group = next((each for each in groups if each["_id"] == value), None)
        if group is None:
            groups.append({"_id": value, smallest: document[field]})
        else:
            group[smallest] = min(group[smallest], document[field], key=milliseconds)
    return groups


_PIPELINE: dict[str, Stage] = {
    "$match": lambda found, query, now: [d for d in found if matches(d, query, now)],
    "$sort": _sort,
    "$skip": lambda found, count, now: found[count:],
    "$limit": lambda found, count, now: found[:count],
    "$project": _project,
    "$group": _group,
}
_AS_STAGE = {"sort": "$sort", "limit": "$limit", "projection": "$project"}
