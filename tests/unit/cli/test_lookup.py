"""An execution is found by its id or by a beginning that no other id has."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from worchflow import WorchflowClient, open_backend
from worchflow.cli.failures import AmbiguousId
from worchflow.cli.lookup import MAX_CANDIDATES, MIN_PREFIX_LENGTH, find_execution
from worchflow.foundations.errors import ExecutionNotFound

PAY: Any = {"name": "pay", "data": None}


@pytest.fixture
async def client() -> AsyncIterator[WorchflowClient[Any]]:
    async with WorchflowClient(backend=open_backend("sqlite://:memory:")) as client:
        yield client


async def test_an_id_is_found_although_it_is_the_beginning_of_another(
    client: WorchflowClient[Any],
) -> None:
    for id_ in ("order-of-ada", "order-of-ada-2"):
        await client.send(PAY, id=id_)

    assert (await find_execution(client, "order-of-ada")).id == "order-of-ada"
    assert (await find_execution(client, "order-of-ada-")).id == "order-of-ada-2"


async def test_a_beginning_of_several_ids_is_told_with_some_of_them(
    client: WorchflowClient[Any],
) -> None:
    for number in range(MAX_CANDIDATES):
        await client.send(PAY, id=f"order-of-ada-{number}")

    with pytest.raises(AmbiguousId) as caught:
        await find_execution(client, "order-of")
    assert caught.value.message.count("queued  pay") == MAX_CANDIDATES
    assert "…" not in caught.value.message

    await client.send(PAY, id="order-of-eve")
    with pytest.raises(AmbiguousId, match="…") as caught:
        await find_execution(client, "order-of")
    assert caught.value.message.count("queued  pay") == MAX_CANDIDATES


async def test_what_is_not_there_or_too_short_is_not_found(
    client: WorchflowClient[Any],
) -> None:
    await client.send(PAY, id="order-of-ada")

    with pytest.raises(ExecutionNotFound, match="the first 8 characters"):
        await find_execution(client, "order-of-ada"[: MIN_PREFIX_LENGTH - 1])
    with pytest.raises(ExecutionNotFound) as caught:
        await find_execution(client, "order-of-eve")
    assert "characters" not in caught.value.message
