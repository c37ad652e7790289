"""The Redis user that the documentation describes may do all that is needed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
import redis

from tests.docs.pages import ROOT, snippets
from worchflow import Context, Event, Worchflow

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.servers import RedisServer

PAGE = ROOT / "docs" / "stores-and-configuration.md"


class Double(Event[int], name="double"):
    n: int


def documented_command(server: redis.Redis) -> list[str]:
    """The ACL line, without what this version of Redis does not know."""
    texts = (snippet.text for snippet in snippets(PAGE, "text"))
    words = next(text for text in texts if text.startswith("ACL SETUSER")).split()
    version = str(server.info("server")["redis_version"]).split(".")
    if [int(part) for part in version[:2]] < [7, 2]:
        words.remove("+client|setinfo")
    return words


async def use_everything(app: Worchflow, other: Worchflow) -> int:
    @app.function(Double, retries=2, retry_delay="20ms")
    async def double(ctx: Context[Double]) -> int:
        doubled = await ctx.step.run("Double", lambda: ctx.data.n * 2)
        if ctx.attempt == 1:
            raise ConnectionError("once")
        return doubled

    @other.function("other")
    async def elsewhere(ctx: Context[None]) -> int:
        return 1

    async with app.client() as client, app.worker(concurrency=4):
        waits = [
            await client.send({"name": "other", "data": None}, id=f"other-{number}")
            for number in range(3)
        ]
        late = await client.send(Double(n=1), delay="1h")
        soon = await client.send(Double(n=2), delay="50ms")
        handles = await client.send_many(Double(n=n) for n in range(10))
        results = [await handle.result(timeout=20) for handle in (soon, *handles)]
        await client.cancel(late.id)
        await client.retry(late.id)
        await client.prune(older_than=0, limit=1)
        async with other.worker(concurrency=4):
            results += [await handle.result(timeout=20) for handle in waits]
        return sum(results) + await late.result(timeout=20)


@pytest.mark.redis_mongo
@pytest.mark.timeout(60)
def test_the_documented_redis_user_may_do_all_that_is_needed(
    start_redis: Callable[..., RedisServer], mongo_url: str
) -> None:
    server = start_redis()
    with redis.Redis.from_url(server.url) as admin:
        admin.execute_command(*documented_command(admin))
        app, other = (
            Worchflow(
                name,
                redis_url=f"redis://shop:secret@127.0.0.1:{server.port}/0",
                mongo_url=mongo_url,
                queue_prefix="shop",
            )
            for name in ("rights", "others")
        )

        assert asyncio.run(use_everything(app, other)) == 4 + 90 + 3 + 2

        assert admin.acl_log() == []
        # The user sees nothing of others.
        with (
            redis.Redis.from_url(
                f"redis://shop:secret@127.0.0.1:{server.port}/0"
            ) as user,
            pytest.raises(redis.exceptions.NoPermissionError),
        ):
            user.get(f"other:{uuid4().hex}")
