"""A hash that another program left becomes a document, or nothing at all."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from worchflow.model.options import BackendOptions
from worchflow.storage.redis_mongo.adopted_executions import adopted_execution
from worchflow.storage.redis_mongo.documents import Documents, UnreadableError

NOW = 1_800_000_000_000
MOMENT = datetime(2026, 5, 6, 7, 8, 9, 123000, tzinfo=UTC)

documents = Documents(BackendOptions(queue_prefix="shop"))
HASH = {
    "id": "e1",
    "eventName": "payment",
    "eventData": '{"amount":1}',
    "status": "queued",
    "attemptCount": "0",
    "createdAt": "1778051289123",
    "updatedAt": "1778051289123",
}


def test_a_whole_hash_becomes_a_document() -> None:
    stored = documents.execution(adopted_execution(documents, "e1", HASH, NOW))
    assert stored.event_data == '{"amount":1}'
    assert stored.created_at == MOMENT


@pytest.mark.parametrize(
    "fields",
    [
        None,
        {},
        HASH | {"id": "e2"},
        HASH | {"eventData": "no json"},
        HASH | {"eventName": ""},
        HASH | {"status": "completed"},
        {k: v for k, v in HASH.items() if k != "eventData"},
        {k: v for k, v in HASH.items() if k != "status"},
    ],
)
def test_half_a_hash_becomes_nothing(fields: dict[str, str] | None) -> None:
    with pytest.raises(UnreadableError):
        adopted_execution(documents, "e1", fields, NOW)


def test_a_strange_creation_time_does_not_matter() -> None:
    document = adopted_execution(documents, "e1", HASH | {"createdAt": "٣"}, NOW)
    assert document["createdAt"] == NOW
