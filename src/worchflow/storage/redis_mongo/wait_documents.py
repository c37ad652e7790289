"""Waits as documents, and how they are read."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from bson.datetime_ms import DatetimeMS
from bson.int64 import Int64

from ...foundations.milliseconds import to_milliseconds
from ...model.records import ExecutionStatus
from ...model.step_kind import StepKind
from ...model.tokens import StoredToken
from ...model.waits import AwaitedEvent, StoredWait
from .documents import STEP_LIFE, WAITS, UnreadableError
from .fields import count_of, text_or_none
from .values import due_time, milliseconds_of, moment_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...model.records import Claim
    from ...model.waits import NewWait
    from .documents import Document
    from .stores import Stores

logger = logging.getLogger("worchflow.storage.redis_mongo")

ANSWER_SCHEMA = "answerSchema"
"""The field of a wait for an answer to a token."""
TRIES = "tries"
"""The field of a wait of a step for its next try: how often it was tried."""


async def waits_by_id(
    stores: Stores, executions: Sequence[Document]
) -> dict[str, dict[str, StoredWait]]:
    """The waits of executions, by their ids and those of the steps.

    One that cannot be read is left out: it must not keep the others from being claimed.
    """
    found: dict[str, dict[str, StoredWait]] = {each["id"]: {} for each in executions}
    if not executions:
        return found
    queries = [stores.documents.own_waits(each) for each in executions]
    documents = await stores.mongo.find(WAITS, {"$or": queries})
    now = stores.clock.now()
    for document in documents:
        try:
            wait = read_wait(document, now)
        except UnreadableError as error:
            logger.warning("wait %s is left out: %s", document["_id"], error.message)
        else:
            found[document["executionId"]][wait.step_id] = wait
    return found


def read_wait(document: Document, now: int) -> StoredWait:
    """The wait in a document; `UnreadableError` for half of one.

    `now` is the store's.
    """
    step_id, title = document.get("stepId"), document.get("title")
    deadline = milliseconds_of(document.get("deadline"))
    is_damaged = "deadline" in document and deadline is None
    if not (isinstance(step_id, str) and isinstance(title, str)) or is_damaged:
        raise UnreadableError("its stepId, title or deadline is not one")
    return StoredWait(
        step_id=step_id,
        kind=StepKind.of(document.get("kind")),
        title=title,
        token=count_of(document.get("token")),
        deadline=moment_of(document.get("deadline")),
        left=None if deadline is None else max(0, deadline - now) / 1000,
        event=_awaited(document),
        tries=count_of(document.get(TRIES)),
    )


def _awaited(document: Document) -> AwaitedEvent | None:
    name, key = document.get("eventName"), document.get("eventKey")
    if name is None:
        return None
    since = moment_of(document.get("since"))
    if not isinstance(name, str) or not isinstance(key, str | None) or since is None:
        raise UnreadableError("its eventName, eventKey or since is not one")
    return AwaitedEvent(name=name, key=key, since=since)


def wait_document(claim: Claim, wait: NewWait, prefix: str, now: int) -> Document:
    """The document of a wait that is stored under a claim at the store's `now`."""
    document: Document = {
        "_id": wait_id(claim, wait.step_id),
        "executionId": claim.execution.id,
        "stepId": wait.step_id,
        "kind": wait.kind.value,
        "title": wait.title,
        "token": Int64(claim.token),
    }
    if (event := wait.event) is not None:
        since = now if event.since is None else to_milliseconds(event.since)
        document |= {
            "queuePrefix": prefix,
            "eventName": event.name,
            "eventKey": event.key,
            "since": DatetimeMS(since),
        }
    if wait.tries:
        document[TRIES] = wait.tries
    if wait.answer_schema is not None:
        document[ANSWER_SCHEMA] = wait.answer_schema
    if claim.execution.nonce:
        document[STEP_LIFE] = claim.execution.nonce
    if wait.until is not None or wait.timeout is not None:
        document["deadline"] = DatetimeMS(due_time(now, wait.timeout, wait.until))
    return document


def read_token(document: Document, execution: Document, now: int) -> StoredToken:
    """The token whose wait and execution these documents are of.

    `UnreadableError` for half of one.
    """
    status = execution.get("status")
    if status not in set(ExecutionStatus):
        raise UnreadableError(f"its execution has the status {status!r}")
    return StoredToken(
        execution_id=document["executionId"],
        status=ExecutionStatus(status),
        wait=read_wait(document, now),
        answer_schema=text_or_none(document.get(ANSWER_SCHEMA)) or "{}",
    )


def wait_id(claim: Claim, step_id: str) -> str:
    """The `_id` of the wait of a step."""
    return f"{claim.execution.id}:{step_id}"
