"""A sender waits for a result as long as it wants to, and not longer."""

from __future__ import annotations

from typing import Any

import pytest

from worchflow import Context, ExecutionNotFound, Worchflow


async def test_no_wait_at_all_still_gives_a_result_that_is_there(
    app: Worchflow[Any],
) -> None:
    @app.function("answer")
    async def answer(ctx: Context[None]) -> int:
        return 42

    async with app.client() as client:
        handle = await client.send(answer())
        with pytest.raises(TimeoutError, match="gave no result within 0"):
            await handle.result(timeout=0)

        async with app.worker():
            assert await handle.result(timeout=10) == 42

        assert await handle.result(timeout=0) == 42


async def test_a_wait_that_is_over_says_how_to_go_on(app: Worchflow[Any]) -> None:
    async with app.client() as client:
        handle = await client.send({"name": "nobody-serves-this", "data": None})

        with pytest.raises(TimeoutError, match="it goes on"):
            await handle.result(timeout="50ms")


async def test_an_unknown_id_is_told_at_once(app: Worchflow[Any]) -> None:
    async with app.client() as client:
        with pytest.raises(ExecutionNotFound, match="nowhere") as missing:
            await client.handle("nowhere").result(timeout=10)

    assert missing.value.execution_id == "nowhere"
