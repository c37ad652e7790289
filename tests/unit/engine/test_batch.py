"""Several messages: sent together, or as a stream in batches."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from worchflow import InvalidInput
from worchflow.engine.batch import (
    check_stream,
    in_batches,
    refuse_one_message,
    send_batches,
)


@pytest.mark.parametrize("message", ["text", {"name": "pay"}, 7])
def test_one_message_is_refused_where_several_are_taken(message: Any) -> None:
    with pytest.raises(InvalidInput, match="use send, or a list") as caught:
        refuse_one_message(message)

    assert caught.value.field == "messages"


def test_any_iterable_is_taken() -> None:
    refuse_one_message([{"name": "pay"}])
    refuse_one_message(iter(()))


@pytest.mark.parametrize("batch", [0, 1001, True, 1.0, "5"])
def test_a_batch_is_from_one_to_a_thousand(batch: Any) -> None:
    with pytest.raises(InvalidInput, match="from 1 to 1000") as caught:
        check_stream([], batch)

    assert caught.value.field == "batch"


@pytest.mark.parametrize(
    ("count", "sizes"), [(0, []), (1, [1]), (4, [2, 2]), (5, [2, 2, 1])]
)
async def test_a_stream_is_sent_so_many_at_a_time(count: int, sizes: list[int]) -> None:
    sent: list[list[int]] = []

    async def send(batch: list[int]) -> list[str]:
        sent.append(batch)
        return [f"accepted {each}" for each in batch]

    async def stream() -> AsyncIterator[int]:
        for number in range(count):
            yield number

    for messages in (range(count), stream()):
        sent.clear()
        accepted = [each async for each in send_batches(messages, 2, send)]
        assert [len(batch) for batch in sent] == sizes
        assert accepted == [f"accepted {number}" for number in range(count)]


async def test_a_stream_is_read_no_further_than_the_batch_that_fails() -> None:
    taken: list[int] = []

    def stream() -> Any:
        for number in range(10):
            taken.append(number)
            yield number

    async def refuse(batch: list[int]) -> list[str]:
        raise InvalidInput("no", field="data")

    with pytest.raises(InvalidInput):
        async for _ in send_batches(stream(), 3, refuse):
            pass

    assert taken == [0, 1, 2]


def test_batches_hold_everything_once() -> None:
    assert list(in_batches(range(5), 2)) == [[0, 1], [2, 3], [4]]
