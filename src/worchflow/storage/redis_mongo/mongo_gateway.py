"""The only place that talks to MongoDB; everything it raises is `StoreUnavailable`."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeAlias

import pymongo
from bson.codec_options import CodecOptions, DatetimeConversion
from pymongo import ReadPreference
from pymongo.errors import OperationFailure, PyMongoError
from pymongo.read_concern import ReadConcern

from ...foundations.errors import ConfigurationError, StoreUnavailable
from .errors import describe
from .tasks import heeding_cancellation

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence

    from pymongo.asynchronous.database import AsyncDatabase

Document: TypeAlias = dict[str, Any]

CODEC: CodecOptions[Document] = CodecOptions(
    # Naive dates are UTC: making them aware is much cheaper here than in the driver.
    tz_aware=False,
    # A date or a text that nobody can read must not hide the documents beside it.
    datetime_conversion=DatetimeConversion.DATETIME_AUTO,
    unicode_decode_error_handler="surrogateescape",
)
MAX_FETCHED = 10_000
"""Documents per round trip of a query; MongoDB sends no more than 16 MB in one."""
DUPLICATE_KEY = 11000
CONFLICTS = frozenset({85, 86, DUPLICATE_KEY})
"""IndexOptionsConflict, IndexKeySpecsConflict."""
UNAUTHORIZED = 13
BAD_NAME = frozenset({73, 13297})
"""InvalidNamespace, DatabaseDifferCase."""
NOT_AUTHENTICATED = frozenset({18, 8000})
"""AuthenticationFailed, and what Atlas says instead."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why MongoDB did not apply one write of a batch."""

    code: int
    message: str


@dataclass(frozen=True, slots=True)
class Written:
    """What became of a batch: how many were applied, and the refusals by index."""

    count: int
    refused: Mapping[int, Refusal]


class MongoGateway:
    """MongoDB as this library needs it.

    Every write is acknowledged by a majority's journals and every read is of the
    primary's majority, whatever the client's defaults are; no write is repeated by
    the driver. Every method answers or raises within `timeout` seconds.
    """

    def __init__(self, db: AsyncDatabase[Document], timeout: float) -> None:
        self._timeout = timeout
        self._db = db.with_options(
            codec_options=CODEC,
            read_preference=ReadPreference.PRIMARY,
            read_concern=ReadConcern("majority"),
        )
        self.write_concern = write_concern(timeout)

    async def insert(
        self, collection: str, documents: Sequence[Any], timeout: float | None = None
    ) -> Written:
        """Insert each document that is not there yet."""
        command = {"insert": collection, "documents": documents, "ordered": False}
        return _written(await self._write(command, timeout))

    async def update(
        self, collection: str, statements: Sequence[Any], timeout: float | None = None
    ) -> Written:
        """Run update statements; `count` is how many documents they matched."""
        command = {"update": collection, "updates": statements, "ordered": False}
        return _written(await self._write(command, timeout))

    async def delete(self, collection: str, *queries: Document) -> int:
        """Delete every document that one of the queries finds; how many."""
        statements = [{"q": query, "limit": 0} for query in queries]
        command = {"delete": collection, "deletes": statements, "ordered": False}
        return _written(await self._write(command)).count

    async def change(
        self, collection: str, query: Document, change: Any
    ) -> Document | None:
        """Change one document and return it as it stands afterwards."""
        command = {
            "findAndModify": collection,
            "query": query,
            "update": change,
            "new": True,
        }
        value: Document | None = (await self._write(command)).get("value")
        return value

    async def change_or_make(
        self, collection: str, query: Document, change: Any
    ) -> tuple[Document, bool]:
        """The same, and made if it was not there; whether it was made."""
        command = {
            "findAndModify": collection,
            "query": query,
            "update": change,
            "new": True,
            "upsert": True,
        }
        reply = await self._write(command)
        return reply["value"], not reply["lastErrorObject"]["updatedExisting"]

    async def find(
        self,
        collection: str,
        query: Document,
        *,
        fields: Sequence[str] = (),
        sort: Sequence[tuple[str, int]] = (),
        limit: int = 0,
        hint: Any = None,
    ) -> list[Document]:
        """Every document the query finds, or the first `limit`."""
        cursor = self._db[collection].find(
            query,
            dict.fromkeys(fields, 1) if fields else None,
            limit=limit,
            batch_size=MAX_FETCHED,
        )
        if sort:
            cursor = cursor.sort(list(sort))
        if hint is not None:
            cursor = cursor.hint(hint)
        with _mapped(self._timeout):
            return await cursor.to_list()

    async def aggregate(
        self, collection: str, pipeline: Sequence[Document], hint: Any
    ) -> list[Document]:
        """Every document an aggregation gives."""
        with _mapped(self._timeout):
            cursor = await self._db[collection].aggregate(pipeline, hint=hint)
            return await cursor.to_list()

    async def aggregate_while(
        self,
        collection: str,
        pipeline: Sequence[Document],
        hint: Any,
        take: Callable[[Document], bool],
    ) -> None:
        """Give the documents of an aggregation to `take` until it answers False."""
        with _mapped(self._timeout):
            cursor = await self._db[collection].aggregate(
                pipeline, hint=hint, batchSize=MAX_FETCHED
            )
            async with cursor:
                async for document in cursor:
                    if not take(document):
                        return

    async def count(
        self, collection: str, query: Document, *, hint: Any, limit: int = 0
    ) -> int:
        """How many documents the query finds, counted up to `limit`."""
        command = {
            "count": collection,
            "query": query,
            "hint": hint,
            "limit": limit,
            "readConcern": {"level": "majority"},
        }
        return int((await self._command(command))["n"])

    async def now(self) -> datetime:
        """The primary's clock."""
        with _mapped(self._timeout):
            reply = await self._db.command("hello", codec_options=CODEC)
        local: datetime = reply["localTime"]
        return local.replace(tzinfo=UTC)

    async def indexes(self, collection: str) -> list[Document]:
        """The indexes of a collection; none when it does not exist."""
        with _mapped(self._timeout):
            cursor = await self._db[collection].list_indexes()
            return [dict(index) for index in await cursor.to_list()]

    async def make_indexes(
        self, collection: str, indexes: Sequence[Document], timeout: float
    ) -> None:
        """Make the indexes that are not there.

        `ConfigurationError` where what is there stands against them.
        """
        command = {"createIndexes": collection, "indexes": list(indexes)}
        try:
            await self._command(command, timeout)
        except StoreUnavailable as error:
            cause = error.__cause__
            if not isinstance(cause, OperationFailure) or cause.code not in CONFLICTS:
                raise
            raise ConfigurationError(
                f'the indexes of the collection "{collection}" cannot be made '
                f"({describe(cause)}): look for another index on the same fields, or "
                "for documents with one id"
            ) from cause

    async def command(self, command: Document) -> Document:
        """Run a read command that is not a query."""
        return await self._command(command)

    async def _write(self, command: Document, timeout: float | None = None) -> Document:
        reply = await self._command(
            command | {"writeConcern": self.write_concern}, timeout
        )
        if problem := reply.get("writeConcernError"):
            raise StoreUnavailable(
                f"MongoDB wrote without a majority (code {problem.get('code')}: "
                f"{problem.get('errmsg')})"
            )
        return reply

    async def _command(
        self, command: Document, timeout: float | None = None
    ) -> Document:
        with _mapped(self._timeout if timeout is None else timeout):
            return await self._db.command(command, codec_options=CODEC)


def write_concern(timeout: float) -> Document:
    """What every write asks for: a majority's journals, or an error in time."""
    return {"w": "majority", "j": True, "wtimeout": max(1, int(timeout * 1000))}


@contextmanager
def _mapped(seconds: float) -> Generator[None]:
    try:
        with heeding_cancellation(), pymongo.timeout(seconds):
            yield
    except OperationFailure as error:
        if error.code in NOT_AUTHENTICATED:
            raise ConfigurationError(
                f"MongoDB refuses the user or the password ({describe(error)}): check "
                "both; a user that was made in another database than the one in "
                "mongo_url needs ?authSource=admin, or whichever that is, behind it"
            ) from error
        if error.code == UNAUTHORIZED:
            raise ConfigurationError(
                f"MongoDB does not let this user do what is needed ({describe(error)})"
                ": give it the role readWrite on the database"
            ) from error
        if error.code in BAD_NAME:
            raise ConfigurationError(
                f"MongoDB refuses the name of the database ({describe(error)}): it has "
                "at most 63 bytes, and no other differs from it in upper and lower case"
                " only"
            ) from error
        raise unavailable(error) from error
    except (TimeoutError, PyMongoError, OSError) as error:
        raise unavailable(error) from error


def unavailable(error: BaseException) -> StoreUnavailable:
    """A driver's error as ours."""
    return StoreUnavailable(f"MongoDB did not answer ({describe(error)})")


def is_refusal(error: StoreUnavailable) -> bool:
    """Whether MongoDB did answer, and would not do it."""
    return isinstance(error.__cause__, OperationFailure)


def _written(reply: Document) -> Written:
    refused = {
        int(problem["index"]): Refusal(
            int(problem.get("code", 0)), str(problem.get("errmsg", ""))
        )
        for problem in reply.get("writeErrors", ())
    }
    return Written(int(reply.get("n", 0)), refused)
