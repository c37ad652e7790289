"""Single fields of documents, whoever wrote them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bson.int64 import Int64

from ...model.records import (
    AttemptOutcome,
    AttemptRecord,
    ErrorInfo,
    ExecutionStatus,
    Parent,
)
from ...model.settlement import only_attempt
from .outbox import HAS_CHILDREN, HAS_WAITS
from .values import AS_TEXT, moment_of, to_bson, to_text, whole_numbers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from typing_extensions import TypeIs

    from ...foundations.types import Payload

COMPLETED = ExecutionStatus.COMPLETED.value
OUTCOMES = {each.value: each for each in AttemptOutcome}

HIDDEN = "failed:"
"""What a failed step's `stepId` begins with where the original must not meet it."""


def hidden(step_id: str) -> str:
    """The `stepId` of a failure under which the original does not meet it.

    It knows no failed steps: it runs such a step again, and records it. Among ours the
    `_id` is the same as that of any other record of the step: the first write wins.
    """
    return HIDDEN + step_id


def plain_step_id(step_id: str) -> str:
    """The id of the step that a `stepId` is about."""
    return step_id.removeprefix(HIDDEN)


def error_fields(error: ErrorInfo) -> dict[str, Any]:
    """The fields that hold an error."""
    return {
        "error": error.message,
        "errorStack": error.traceback,
        "errorType": error.type,
        "errorStep": error.step,
    }


def error_of(document: Mapping[str, Any]) -> ErrorInfo | None:
    """The error that a document holds."""
    message = document.get("error")
    if message is None:
        return None
    return ErrorInfo(
        type=text_or_none(document.get("errorType")) or "Error",
        message=message if isinstance(message, str) else to_text(message, None),
        traceback=text_or_none(document.get("errorStack")) or "",
        step=text_or_none(document.get("errorStep")),
    )


def keep_result(document: dict[str, Any], result: Payload) -> None:
    """Set the fields that hold a result."""
    document["result"], is_native = to_bson(result)
    if not is_native:
        document["enc"] = AS_TEXT


def result_of(document: Mapping[str, Any], written: str) -> Payload:
    """The result that a document holds; the field `written` says when that was.

    The original writes moments as doubles. It writes whole numbers beyond 32 bits so
    as well, and does not know that a result of ours may be kept as text.
    """
    result = document.get("result")
    if type(document.get(written)) is float:
        return to_text(whole_numbers(result), None)
    return to_text(result, document.get("enc"))


def header_fields(headers: Mapping[str, str]) -> list[dict[str, str]]:
    """Headers as pairs: names may hold what the name of a field may not."""
    return [{"name": name, "value": value} for name, value in headers.items()]


def headers_of(document: Mapping[str, Any]) -> dict[str, str]:
    """The headers that a document holds."""
    if "headers" not in document:
        return {}
    pairs = _documents(document["headers"])
    found = ((each.get("name"), each.get("value")) for each in pairs)
    return {
        name: value
        for name, value in found
        if isinstance(name, str) and isinstance(value, str)
    }


def parent_fields(parent: Parent) -> dict[str, Any]:
    """A parent as the document of its child names it."""
    document: dict[str, Any] = {
        "id": parent.id,
        "nonce": parent.nonce,
        "stepId": parent.step_id,
        "token": Int64(parent.token),
    }
    return document | ({"leaves": True} if parent.leaves else {})


def parent_of(document: Mapping[str, Any]) -> Parent | None:
    """The parent that the document of a child names."""
    match document.get("parent"):
        case {"id": str(id_), "nonce": str(nonce), "stepId": str(step_id), **rest}:
            token = count_of(rest.get("token"))
            # Alone is one that was retried by itself after its parent's end.
            leaves = rest.get("leaves") is True or rest.get("alone") is True
            return Parent(id_, nonce, step_id, token, leaves)
        case _:
            return None


def tags_of(document: Mapping[str, Any]) -> tuple[str, ...]:
    """The tags that a document holds."""
    if "tags" not in document:
        return ()
    tags = _list(document["tags"])
    return tuple(each for each in tags if isinstance(each, str))


def attempt_fields(attempts: Sequence[AttemptRecord]) -> list[dict[str, Any]]:
    """Records of attempts as a document holds them."""
    return [
        {
            "number": each.number,
            "worker": each.worker,
            "startedAt": each.started_at,
            "endedAt": each.ended_at,
            "outcome": each.outcome.value,
        }
        | ({} if each.error is None else error_fields(each.error))
        for each in attempts
    ]


def attempts_of(document: Mapping[str, Any]) -> tuple[AttemptRecord, ...]:
    """The records of attempts that a document holds, without what is not one."""
    if "attempts" not in document:
        if document.get("status") != COMPLETED:
            return ()
        return only_attempt(
            count_of(document.get("token")),
            text_or_none(document.get("doneBy")),
            moment_of(document.get("startedAt")),
            moment_of(document.get("finishedAt")),
        )
    return tuple(
        AttemptRecord(
            number=count_of(each.get("number")),
            worker=text_or_none(each.get("worker")) or "",
            started_at=started_at,
            ended_at=ended_at,
            outcome=OUTCOMES[each["outcome"]],
            error=error_of(each),
        )
        for each in _documents(document.get("attempts"))
        if (started_at := moment_of(each.get("startedAt"))) is not None
        and (ended_at := moment_of(each.get("endedAt"))) is not None
        and each.get("outcome") in OUTCOMES
    )


def _documents(value: object) -> list[dict[str, Any]]:
    return [each for each in _list(value) if isinstance(each, dict)]


def _list(value: object) -> list[Any]:
    return value if _is_list(value) else []


def _is_list(value: object) -> TypeIs[list[Any]]:
    return isinstance(value, list)


def text_or_none(value: object) -> str | None:
    """A text, or None for anything else."""
    return value if isinstance(value, str) else None


def count_of(value: object) -> int:
    """A whole number, or 0 for anything else."""
    return int(value) if isinstance(value, int) and not isinstance(value, bool) else 0


def _deaths_of(value: object) -> int:
    """Below 0 is the mark of a death that is not certain."""
    return max(0, count_of(value))


def _is_true(value: object) -> bool:
    return value is True


OPTIONAL_FIELDS: dict[str, tuple[str, Callable[[object], Any]]] = {
    "acceptedAt": ("accepted_at", moment_of),
    "attemptCount": ("attempt_count", count_of),
    "attemptStartedAt": ("attempt_started_at", moment_of),
    "cancelReason": ("cancel_reason", text_or_none),
    "cancelRequested": ("cancel_requested", _is_true),
    "deadlineAt": ("deadline_at", moment_of),
    "deaths": ("deaths", _deaths_of),
    "depth": ("depth", count_of),
    "eligibleAt": ("eligible_at", moment_of),
    "finishedAt": ("finished_at", moment_of),
    "functionId": ("function_id", text_or_none),
    HAS_CHILDREN: ("has_children", _is_true),
    HAS_WAITS: ("has_waits", _is_true),
    "owner": ("worker", text_or_none),
    "reason": ("reason", text_or_none),
    "recoveries": ("recoveries", count_of),
    "retryToken": ("retry_token", count_of),
    "runAt": ("run_at", moment_of),
    "startedAt": ("started_at", moment_of),
    "token": ("token", count_of),
    "wakeups": ("wakeups", count_of),
}
"""Fields that an execution may lack: the attribute of each, and how it is read.

A field that is missing is what the attribute is by default, and so is another value.
"""
