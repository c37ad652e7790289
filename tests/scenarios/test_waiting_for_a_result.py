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
        with pytest.raises(TimeoutError, match="has no result yet: it is queued"):
            await handle.result(timeout=0)

        async with app.worker():
            assert await handle.result(timeout=10) == 42

        assert await handle.result(timeout=0) == 42


async def test_a_wait_that_is_over_says_what_the_execution_waits_for(
    app: Worchflow[Any],
) -> None:
    async with app.client() as client:
        handle = await client.send({"name": "nobody-serves-this", "data": None})

        with pytest.raises(TimeoutError) as over:
            await handle.result(timeout="800ms")

    assert str(over.value).startswith(
        f"execution {handle.id} has no result after 800 ms: it is queued. It has been "
    )
    assert str(over.value).endswith(
        'a worker that serves "nobody-serves-this": none is running.'
    )


async def test_an_unknown_id_is_told_at_once(app: Worchflow[Any]) -> None:
    async with app.client() as client:
        with pytest.raises(ExecutionNotFound, match="nowhere") as missing:
            await client.handle("nowhere").result(timeout=10)

    assert missing.value.execution_id == "nowhere"
