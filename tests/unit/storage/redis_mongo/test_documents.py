"""Documents and hashes have the original's fields and types, junk is recognised."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bson.datetime_ms import DatetimeMS
from bson.int64 import Int64

from tests.stores import ERROR, new_execution, new_step
from worchflow.foundations.errors import SerializationError
from worchflow.model.options import BackendOptions
from worchflow.model.records import Claim, ExecutionStatus, StepStatus, StoredExecution
from worchflow.storage.redis_mongo.documents import (
    Documents,
    UnreadableError,
    due_time,
)
from worchflow.storage.redis_mongo.values import milliseconds_of

NOW = 1_800_000_000_000
MOMENT = datetime(2026, 5, 6, 7, 8, 9, 123000, tzinfo=UTC)

documents = Documents(BackendOptions(queue_prefix="shop"))
compat = Documents(BackendOptions(queue_prefix="shop", ts_compat=True))


def clock() -> int:
    return NOW


def claim(**fields: Any) -> Claim:
    execution = StoredExecution(
        id="e:1",
        event_name="payment",
        event_data="{}",
        status=ExecutionStatus.PROCESSING,
        created_at=MOMENT,
        updated_at=MOMENT,
        token=3,
        **fields,
    )
    return Claim(execution=execution, worker_id="w", token=3)


def test_a_new_execution_has_the_originals_fields_and_types() -> None:
    new = new_execution("e1", created_at=MOMENT)
    document = documents.new_execution(new, NOW)
    original = {
        "id": "e1",
        "eventName": "payment",
        "eventData": '{"amount":100}',
        "status": "queued",
        "attemptCount": 0,
        "createdAt": int(MOMENT.timestamp() * 1000),
        "updatedAt": int(MOMENT.timestamp() * 1000),
    }
    assert document.items() >= original.items()
    assert type(document["token"]) is Int64
    assert document["queuePrefix"] == "shop"
    assert document["dueAt"] == document["enqueuedAt"] == DatetimeMS(NOW)
    assert "runAt" not in document


@pytest.mark.parametrize(
    ("fields", "due"),
    [
        ({"delay": 1.5}, NOW + 1500),
        ({"delay": 0.0001}, NOW + 1),
        ({"run_at": MOMENT}, 1778051289123),
        ({"run_at": MOMENT + timedelta(microseconds=1)}, 1778051289124),
    ],
)
def test_a_due_time_is_never_earlier_than_asked(
    fields: dict[str, Any], due: int
) -> None:
    document = documents.new_execution(new_execution("e1", **fields), NOW)
    assert int(document["runAt"]) == int(document["dueAt"]) == due


def test_a_due_time_counts_from_the_stores_now() -> None:
    assert due_time(NOW, None) == NOW
    assert due_time(NOW, 0.0) == NOW
    assert due_time(NOW, 2.0) == NOW + 2000


def test_what_was_written_is_read_back() -> None:
    document = documents.new_execution(new_execution("e1", created_at=MOMENT), NOW)
    stored = documents.execution(document)
    assert (stored.id, stored.event_name) == ("e1", "payment")
    assert stored.event_data == '{"amount":100}'
    assert stored.status is ExecutionStatus.QUEUED
    assert stored.created_at == MOMENT
    assert stored.token == 0
    assert stored.result is stored.error is stored.worker is stored.run_at is None


def test_a_document_of_the_original_is_read() -> None:
    stored = compat.execution(
        {
            "_id": object(),
            "id": "e1",
            "eventName": "payment",
            "eventData": "{}",
            "status": "completed",
            "attemptCount": 2.0,
            "createdAt": 1778051289123.0,
            "updatedAt": Int64(1778051289123),
            "result": {"paid": True, "at": MOMENT},
            "error": "first try",
        }
    )
    assert stored.result == '{"paid":true,"at":"2026-05-06T07:08:09.123Z"}'
    assert stored.created_at == stored.updated_at == MOMENT
    assert stored.error is not None
    assert stored.error.message == "first try"


@pytest.mark.parametrize(
    "change",
    [
        {"status": "unheard-of"},
        {"status": 7},
        {"status": []},
        {"eventData": {"native": 1}},
        {"eventName": None},
        {"id": 5},
    ],
)
def test_half_a_document_is_unreadable(change: dict[str, Any]) -> None:
    document = documents.new_execution(new_execution("e1"), NOW) | change
    with pytest.raises(UnreadableError):
        documents.execution(document)
    for field in change:
        with pytest.raises(UnreadableError):
            documents.execution({k: v for k, v in document.items() if k != field})


def test_wrong_types_in_what_can_be_done_without_are_ignored() -> None:
    document = documents.new_execution(new_execution("e1"), NOW)
    stored = documents.execution(
        document
        | {
            "attemptCount": "many",
            "recoveries": None,
            "createdAt": "yesterday",
            "updatedAt": 10**30,
            "runAt": DatetimeMS(2**62),
            "owner": 7,
            "reason": {},
            "cancelRequested": "yes",
            "token": "1",
        }
    )
    assert stored.attempt_count == stored.recoveries == stored.token == 0
    assert stored.created_at == stored.updated_at == datetime(1970, 1, 1, tzinfo=UTC)
    assert stored.run_at is stored.worker is stored.reason is None
    assert not stored.cancel_requested


def test_a_step_has_the_originals_fields_and_types() -> None:
    step = new_step(1, result='{"ok":true}', finished_at=MOMENT)
    document = documents.new_step(claim(), step, clock)
    original = {
        "executionId": "e:1",
        "stepId": step.step_id,
        "name": "step 1",
        "status": "completed",
        "result": {"ok": True},
        "timestamp": int(MOMENT.timestamp() * 1000),
    }
    assert document.items() >= original.items()
    assert document["_id"] == f"e:1:{step.step_id}"
    assert documents.step(document) == step


def test_a_failed_step_is_read_back() -> None:
    step = new_step(1, status=StepStatus.FAILED, result=None, error=ERROR, attempts=4)
    assert documents.step(documents.new_step(claim(), step, clock)) == step


@pytest.mark.parametrize("missing", ["status", "stepId"])
def test_half_a_step_is_unreadable(missing: str) -> None:
    document = documents.new_step(claim(), new_step(), clock)
    with pytest.raises(UnreadableError):
        documents.step({k: v for k, v in document.items() if k != missing})


def test_the_steps_of_an_id_with_a_colon_are_not_its_parents() -> None:
    query = documents.steps_of(["a"])
    assert query == {"_id": {"$gte": "a:", "$lt": "a;"}, "executionId": "a"}
    # The range alone would hold the steps of "a:b".
    assert query["_id"]["$gte"] < "a:b:0" < query["_id"]["$lt"]


def test_a_hash_is_text_integers_and_json() -> None:
    execution = replace(
        claim().execution, status=ExecutionStatus.COMPLETED, result="[1]"
    )
    assert documents.hash_fields(execution) == {
        "id": "e:1",
        "eventName": "payment",
        "eventData": "{}",
        "status": "completed",
        "attemptCount": 0,
        "createdAt": 1778051289123,
        "updatedAt": 1778051289123,
        "token": 3,
        "result": "[1]",
    }


def test_the_original_gets_its_wrapper_and_both_forms_are_read() -> None:
    assert compat.cached_value('{"a":1}') == '{"cached":true,"value":{"a":1}}'
    assert compat.read_cached('{"cached":true,"value":{"a":1}}') == '{"a":1}'
    assert compat.read_cached('{ "value": [2], "cached": true }') == "[2]"
    assert compat.read_cached('{"a":1}') == '{"a":1}'
    assert compat.read_cached("broken{") is None


def test_without_it_a_value_that_looks_like_the_wrapper_is_a_value() -> None:
    text = '{"cached":true,"value":1}'
    assert documents.cached_value(text) == documents.read_cached(text) == text


def test_the_original_is_spared_large_integers() -> None:
    large = f'{{"n":{2**60}}}'
    with pytest.raises(SerializationError):
        compat.new_execution(new_execution("e1", event_data=large), NOW)
    with pytest.raises(SerializationError):
        compat.new_step(claim(), new_step(result=large), clock)
    documents.new_execution(new_execution("e1", event_data=large), NOW)


def test_moments_of_any_writer_are_milliseconds() -> None:
    assert milliseconds_of(MOMENT.replace(tzinfo=None)) == 1778051289123
    assert milliseconds_of(1778051289123.9) == 1778051289123
    assert milliseconds_of(True) is None
    assert milliseconds_of("now") is None
