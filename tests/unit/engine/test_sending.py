"""From a message to an execution: what is refused is so before it is written."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tests.runtimes import ManualRuntime
from worchflow import (
    ConfigurationError,
    Event,
    EventValidationError,
    ExecutionConflict,
    InvalidInput,
)
from worchflow.engine.sending import CURRENT_HEADERS, Prepared, Sender
from worchflow.model.options import BackendOptions
from worchflow.model.records import ExecutionQuery
from worchflow.serialization.payloads import Payloads
from worchflow.storage.sqlite.backend import SQLiteBackend


class Pay(Event[int], name="pay"):
    amount: int


@pytest.fixture
async def sender() -> AsyncIterator[Sender]:
    options = BackendOptions(runtime=ManualRuntime())
    backend = SQLiteBackend(":memory:", options)
    await backend.open()
    yield Sender(store=backend, payloads=Payloads(), data_types={"pay": Pay})
    await backend.close()


async def stored(sender: Sender) -> list[Any]:
    return list((await sender.store.listing.page(ExecutionQuery())).items)


async def test_a_message_becomes_an_execution(sender: Sender) -> None:
    prepared = sender.prepare(Pay(amount=7), id="p-1", tags=["blue", "blue"])
    (accepted,) = await sender.insert([prepared])

    (found,) = await stored(sender)
    assert (accepted.id, accepted.duplicate, accepted.result_type) == (
        "p-1",
        False,
        int,
    )
    assert (found.event_name, found.event_data) == ("pay", '{"amount":7}')
    assert (found.tags, found.created_at) == (
        ("blue",),
        sender.store.options.runtime.now(),
    )


@pytest.mark.parametrize(
    ("message", "options", "error", "field"),
    [
        (Pay(amount=1), {"id": "a b"}, InvalidInput, "id"),
        (Pay(amount=1), {"tags": "blue"}, InvalidInput, "tags"),
        (Pay(amount=1), {"headers": {"a": 1}}, InvalidInput, "headers"),
        (Pay(amount=1), {"delay": 1, "at": None, "idd": 1}, ConfigurationError, None),
        ({"name": "pay", "data": {"amount": "x"}}, {}, EventValidationError, "data"),
        ({"name": "pay", "data": {"amout": 1}}, {}, EventValidationError, "data"),
    ],
)
async def test_bad_input_is_refused_before_anything_is_written(
    sender: Sender, message: Any, options: Any, error: Any, field: str | None
) -> None:
    with pytest.raises(error) as caught:
        sender.prepare(message, **options)

    assert getattr(caught.value, "field", None) == field
    assert await stored(sender) == []


async def test_a_delay_and_a_moment_are_two_words_for_one(sender: Sender) -> None:
    now = sender.store.options.runtime.now()
    with pytest.raises(ConfigurationError, match="say when once"):
        sender.prepare(Pay(amount=1), delay=5, at=now)
    await sender.insert(
        [
            sender.prepare(Pay(amount=1), delay="5s", id="delayed"),
            sender.prepare(Pay(amount=1), at=now + timedelta(seconds=5), id="at"),
        ]
    )

    assert [each.run_at for each in await stored(sender)] == [
        now + timedelta(seconds=5)
    ] * 2


async def test_headers_of_the_execution_that_sends_are_inherited(
    sender: Sender,
) -> None:
    token = CURRENT_HEADERS.set({"trace": "t-1", "tenant": "a"})
    try:
        own = sender.prepare(Pay(amount=1), headers={"tenant": "b"})
        none = sender.prepare(Pay(amount=1))
    finally:
        CURRENT_HEADERS.reset(token)

    assert own.execution.headers == {"trace": "t-1", "tenant": "b"}
    assert none.execution.headers == {"trace": "t-1", "tenant": "a"}


def prepared(sender: Sender, amount: int) -> Prepared:
    return sender.prepare(Pay(amount=amount), id="p-1")


async def test_an_id_names_one_piece_of_work(sender: Sender) -> None:
    await sender.insert([prepared(sender, 7)])

    (again,) = await sender.insert([prepared(sender, 7)])
    assert again.duplicate
    other = sender.prepare(Pay(amount=1), id="p-2")
    with pytest.raises(ExecutionConflict, match="other data") as caught:
        await sender.insert([prepared(sender, 8), other])

    assert (caught.value.execution_id, caught.value.accepted) == ("p-1", ("p-2",))
    assert {each.id for each in await stored(sender)} == {"p-1", "p-2"}


class Moved(Event[None], name="moved", key="number"):
    number: int


def knowing_moved(sender: Sender) -> Sender:
    """Make the same sender, of a process that has a function for `Moved`."""
    types: dict[str, Any] = {"moved": Moved}
    return replace(sender, data_types=types, event_keys={"moved": "number"})


@pytest.mark.parametrize(
    ("message", "given", "key"),
    [
        (Moved(number=5), None, "5"),
        (Moved(number=5), 5, "5"),
        ({"name": "moved", "data": {"number": 5}}, None, "5"),
        ({"name": "moved", "data": {"number": 5}, "key": 5}, None, "5"),
        ({"name": "other", "data": 1, "key": ("a", 1)}, None, '["a","1"]'),
        ({"name": "other", "data": 1, "key": "a"}, "b", "b"),
        ({"name": "other", "data": 1}, None, None),
    ],
)
def test_the_key_of_a_message(
    message: Any, given: Any, key: str | None, sender: Sender
) -> None:
    sender = knowing_moved(sender)

    assert sender.key_of(sender.encode(message), given) == key


@pytest.mark.parametrize(
    ("message", "given"),
    [
        (Moved(number=5), 6),
        ({"name": "moved", "data": {"number": 5}, "key": 6}, None),
    ],
)
def test_a_key_that_is_not_that_of_the_data_is_refused(
    message: Any, given: Any, sender: Sender
) -> None:
    sender = knowing_moved(sender)

    with pytest.raises(EventValidationError, match="leave it out") as refused:
        sender.key_of(sender.encode(message), given)
    assert refused.value.field == "key"


@pytest.mark.parametrize(
    ("message", "key"),
    [
        (Moved(number=5), "5"),
        ({"name": "moved", "data": {"number": 5}}, "5"),
        ({"name": "pay", "data": {"amount": 1}, "key": "x"}, "x"),
        ({"name": "pay", "data": {"amount": 1}}, None),
    ],
)
def test_what_has_a_key_is_told_to_those_who_wait_for_it(
    message: Any, key: str | None, sender: Sender
) -> None:
    prepared = knowing_moved(sender).prepare(message)

    assert prepared.execution.event_key == key
