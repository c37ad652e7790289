"""Executions and steps as MongoDB documents and Redis hashes, and back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeAlias

from bson.datetime_ms import DatetimeMS
from bson.int64 import Int64

from ...foundations.errors import WorchflowError
from ...foundations.json_text import json_text
from ...foundations.milliseconds import from_milliseconds, to_milliseconds
from ...model.records import ExecutionStatus, StepStatus, StoredExecution, StoredStep
from ...model.settlement import claim_mark
from ...model.step_kind import StepKind
from ...model.transitions import CLAIMABLE
from .fields import (
    OPTIONAL_FIELDS,
    attempts_of,
    count_of,
    error_fields,
    error_of,
    header_fields,
    headers_of,
    hidden,
    keep_result,
    parent_fields,
    parent_of,
    plain_step_id,
    result_of,
    tags_of,
    text_or_none,
)
from .outbox import is_published, to_be_published
from .values import check_safe_integers, due_time, is_json, moment_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ...foundations.types import Payload
    from ...model.options import BackendOptions
    from ...model.records import Claim, NewExecution
    from .scripts import Argument

Document: TypeAlias = dict[str, Any]

EXECUTIONS = "executions"
STEPS = "steps"
WAITS = "waits"
EVENTS = "events"
TAKEN_EVENTS = "takenEvents"
WORKERS = "workers"
META = "worchflow_meta"

WRAPPED = '{"cached":true,"value":'
"""How the TypeScript original begins a step's result in Redis; `}` ends it."""

FAST = "fast"
"""Set once a worker with `durability="fast"` has claimed an execution."""

LIFE = "nonce"
"""The field that tells executions of one id apart: of a document, and of the hashes."""

STEP_LIFE = "executionNonce"
"""The field of a step, or of a wait, that says whose it is: the `LIFE` of its
execution."""

FATE = (LIFE, "retryToken", "attemptCount")
"""What of an execution says which of the steps under its id are void."""

COMPLETED, FAILED = StepStatus.COMPLETED.value, StepStatus.FAILED.value
LIVE = [status.value for status in ExecutionStatus if not status.is_terminal]
ENDED_STATUSES = [status.value for status in ExecutionStatus if status.is_terminal]
# Looking a value up by name in an enumeration is slow, and so is calling one.
_STATUSES = {status.value: status for status in ExecutionStatus}

_EPOCH = from_milliseconds(0)


class UnreadableError(WorchflowError):
    """A document or hash does not hold what an execution or step needs."""


class Documents:
    """Reads and writes the formats under one set of options."""

    def __init__(self, options: BackendOptions) -> None:
        self._options = options
        self.queue_prefix = options.queue_prefix
        self.is_shared = options.ts_compat
        """Whether the original reads and writes them as well."""
        self.id_field = "id" if options.ts_compat else "_id"
        """Documents of the original have an ObjectId as `_id`."""
        self.prefix: Any = options.queue_prefix
        """What `queuePrefix` is compared with."""
        self.live: Document = {}
        self.waiting: Document = {}
        """What else is asked of what has an owner, or a due time.

        Nothing, or with the original around, who leaves these as they are, the status.
        """
        if options.ts_compat:
            self.prefix = {"$in": [options.queue_prefix, None]}
            self.live = {"status": {"$in": LIVE}}
            self.waiting = {"status": {"$in": list(CLAIMABLE)}}

    # -- finding

    def by_id(self, execution_id: str) -> Document:
        """A query for one execution of this prefix."""
        return {self.id_field: execution_id, "queuePrefix": self.prefix}

    def by_ids(self, execution_ids: Sequence[str]) -> Document:
        """A query for executions whatever their prefix is."""
        return {self.id_field: {"$in": list(execution_ids)}}

    def steps_of(self, execution_ids: Sequence[str]) -> Document:
        """A query for everything recorded for some executions."""
        if self.is_shared:
            return {"executionId": {"$in": list(execution_ids)}}
        # A range of `_id` needs no index of its own; ids may contain ":" themselves,
        # so the range alone could hold another execution's steps.
        ranges = [_range(each) for each in execution_ids]
        return ranges[0] if len(ranges) == 1 else {"$or": ranges}

    def own_waits(self, execution: Document) -> Document:
        """A query for the waits of this execution, and no other of its id."""
        return _range(execution["id"]) | {STEP_LIFE: life_of(execution)}

    def own_steps(self, execution: Document) -> Document:
        """A query for what is recorded for this execution, and no other of its id."""
        own = life_of(execution)
        query = self.steps_of([execution["id"]])
        return query | {STEP_LIFE: {"$in": [own, None]}}

    def is_ours(self, document: Document) -> bool:
        """Whether a document belongs to this queue prefix."""
        prefix = document.get("queuePrefix")
        return prefix == self._options.queue_prefix or (
            self.is_shared and prefix is None
        )

    # -- executions

    def new_execution(self, new: NewExecution, now: int) -> Document:
        """The document of an accepted execution; `now` is the store's."""
        if self.is_shared:
            check_safe_integers(new.event_data, "data")
        created = to_milliseconds(new.created_at)
        document: Document = {
            "_id": new.id,
            "id": new.id,
            "queuePrefix": self._options.queue_prefix,
            "eventName": new.event_name,
            "eventData": new.event_data,
            "status": "queued",
            "attemptCount": 0,
            "createdAt": Int64(created),
            "updatedAt": Int64(created),
            "token": Int64(0),
            "recoveries": 0,
            "acceptedAt": DatetimeMS(now),
            LIFE: new.nonce,
        }
        if new.headers:
            document["headers"] = header_fields(new.headers)
        if new.tags:
            document["tags"] = list(new.tags)
        if new.event_key is not None:
            document |= to_be_published(new.event_key)
        if new.parent is not None:
            document |= {"parent": parent_fields(new.parent), "depth": new.depth}
        due = now
        if new.delay is not None or new.run_at is not None:
            due = due_time(now, new.delay, new.run_at)
            document["runAt"] = document["eligibleAt"] = DatetimeMS(due)
        document["enqueuedAt"] = document["dueAt"] = DatetimeMS(due)
        return document

    def execution(self, document: Document) -> StoredExecution:
        """The execution in a document; `UnreadableError` for half of one.

        Only what an execution cannot be without has to be there and of its type:
        half of the writers of these collections are not ours.
        """
        try:
            status = _STATUSES.get(document["status"])
            execution_id, event_name = document["id"], document["eventName"]
            event_data = self.event_data(document)
        except (KeyError, TypeError) as error:
            raise UnreadableError(f"its document lacks {error}") from None
        if status is None:
            raise UnreadableError(f"its status is {document['status']!r:.50}")
        if not (type(execution_id) is type(event_name) is type(event_data) is str):
            raise UnreadableError("id, eventName and eventData of it must be text")
        # Most fields are not there of most executions, and each claim reads them.
        optional = {
            name: read(document[field])
            for field, (name, read) in OPTIONAL_FIELDS.items()
            if field in document
        }
        is_completed = status is ExecutionStatus.COMPLETED
        return StoredExecution(
            id=execution_id,
            event_name=event_name,
            event_data=event_data,
            status=status,
            created_at=moment_of(document.get("createdAt")) or _EPOCH,
            updated_at=moment_of(document.get("updatedAt")) or _EPOCH,
            result=result_of(document, "updatedAt") if is_completed else None,
            error=error_of(document),
            nonce=life_of(document) or "",
            headers=headers_of(document),
            tags=tags_of(document),
            attempts=attempts_of(document),
            is_published=is_published(document),
            parent=parent_of(document) if "parent" in document else None,
            **optional,
        )

    def event_data(self, fields: Mapping[str, Any]) -> Any:
        """The data in a document or hash; what is undefined is null."""
        if self.is_shared and not fields.get("eventData"):
            return "null"  # What was sent is undefined, which JSON has no text for.
        return fields["eventData"]

    def set_result(self, document: Document, result: Payload) -> None:
        """Set the fields that hold a result."""
        if self.is_shared:
            check_safe_integers(result, "result")
        keep_result(document, result)

    # -- steps

    def new_step(
        self, claim: Claim, step: StoredStep, now: Callable[[], int]
    ) -> Document:
        """The document of a step recorded under a claim."""
        execution_id = claim.execution.id
        finished = (
            now() if step.finished_at is None else to_milliseconds(step.finished_at)
        )
        document: Document = {
            "_id": f"{execution_id}:{step.step_id}",
            "executionId": execution_id,
            "stepId": self._step_id(step),
            "name": step.title,
            "status": COMPLETED if step.status is StepStatus.COMPLETED else FAILED,
            "timestamp": Int64(finished),
            "attempts": step.attempts,
            "token": Int64(claim.token),
            "nonce": claim_mark(claim),
        }
        if claim.execution.nonce:
            document[STEP_LIFE] = claim.execution.nonce
        if step.started_at is not None:
            document["startedAt"] = step.started_at
        if step.key is not None:
            document["key"] = step.key
        if step.kind is not StepKind.RUN:
            document["kind"] = step.kind.value
        if step.attempt is not None:
            document["attempt"] = step.attempt
        if step.error_class is not None:
            document["errorClass"] = step.error_class
        if step.result is not None:
            self.set_result(document, step.result)
        if step.error is not None:
            document |= error_fields(step.error)
        return document

    def _step_id(self, step: StoredStep) -> str:
        if self.is_shared and step.status is StepStatus.FAILED:
            return hidden(step.step_id)
        return step.step_id

    def cached_step(
        self, execution: Document, step_id: str, value: Payload
    ) -> Document:
        """The document of a step of which only the result was found, in Redis."""
        execution_id = execution["id"]
        document: Document = {
            "_id": f"{execution_id}:{step_id}",
            "executionId": execution_id,
            "stepId": step_id,
            "name": step_id,
            "status": COMPLETED,
        }
        if life := life_of(execution):
            document[STEP_LIFE] = life
        # Whatever numbers are in it, they are recorded already.
        keep_result(document, value)
        return document

    def step(self, document: Document) -> StoredStep:
        """The step in a document; `UnreadableError` for half of one."""
        try:
            status = StepStatus(document["status"])
            step_id = document["stepId"]
        except (KeyError, ValueError, TypeError) as error:
            raise UnreadableError(f"a step's document lacks {error}") from None
        if type(step_id) is not str:
            raise UnreadableError("the stepId of a step's document must be text")
        result: Payload | None = None
        if status is StepStatus.COMPLETED:
            result = result_of(document, "timestamp")
        else:
            step_id = plain_step_id(step_id)
        return StoredStep(
            step_id=step_id,
            title=text_or_none(document.get("name")) or step_id,
            status=status,
            result=result,
            error=error_of(document),
            attempts=count_of(document.get("attempts")) or 1,
            started_at=moment_of(document.get("startedAt")),
            finished_at=moment_of(document.get("timestamp")),
            key=text_or_none(document.get("key")),
            kind=StepKind.of(document.get("kind")),
            attempt=count_of(document.get("attempt")) or None,
            error_class=text_or_none(document.get("errorClass")),
        )

    # -- hashes

    def hash_fields(self, execution: StoredExecution) -> dict[str, Argument]:
        """The whole hash of an execution; its writer's token guards it."""
        fields: dict[str, Argument] = {
            "id": execution.id,
            "eventName": execution.event_name,
            "eventData": execution.event_data,
            "createdAt": to_milliseconds(execution.created_at),
        }
        return fields | self.status_fields(execution)

    def status_fields(self, execution: StoredExecution) -> dict[str, Argument]:
        """What changes in an execution's hash."""
        fields: dict[str, Argument] = {
            "status": execution.status.value,
            "attemptCount": execution.attempt_count,
            "updatedAt": to_milliseconds(execution.updated_at),
            "token": execution.token,
        }
        if execution.nonce:
            fields[LIFE] = execution.nonce
        if execution.result is not None:
            fields["result"] = execution.result
        if execution.error is not None:
            fields["error"] = execution.error.message
        return fields

    def cached_value(self, result: Payload) -> str:
        """A step's result as Redis keeps it."""
        return f"{WRAPPED}{result}}}" if self.is_shared else result

    def read_cached(self, text: str) -> Payload | None:
        """The step's result in what Redis keeps; None for what is none."""
        if not is_json(text):
            return None
        if not self.is_shared:
            return text
        if text.startswith(WRAPPED):
            return text[len(WRAPPED) : -1]
        value = json.loads(text)
        if isinstance(value, dict) and value.keys() == {"cached", "value"}:
            return json_text(value["value"])
        return text


def _range(execution_id: str) -> Document:
    span = {"$gte": f"{execution_id}:", "$lt": f"{execution_id};"}
    return {"_id": span, "executionId": execution_id}


def life_of(execution: Document) -> str | None:
    """What marks the steps of an execution; None for one that was not sent to us."""
    return text_or_none(execution.get(LIFE)) or None
