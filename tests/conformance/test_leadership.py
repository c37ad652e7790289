"""Leadership: of all workers one does what one does for all."""

from __future__ import annotations

import asyncio

from tests.stores import MakeBackend, joined


async def test_of_all_workers_one_is_elected(make_backend: MakeBackend) -> None:
    backends = [await make_backend(), await make_backend()]
    workers = [await joined(backends[number % 2]) for number in range(4)]

    async def elect() -> list[bool]:
        return await asyncio.gather(
            *(
                backends[n % 2].leadership.holds(each.id)
                for n, each in enumerate(workers)
            )
        )

    first = await elect()
    assert sum(first) == 1
    assert await elect() == first
