"""A worker whose step uses a pool of processes: `METHOD LOOP TIMES`."""

from __future__ import annotations

import asyncio
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor

from worchflow import Context, Worchflow

app = Worchflow("pools")
METHOD, LOOP, TIMES = sys.argv[1:]


def square(number: int) -> int:
    return number * number


def in_a_pool(numbers: list[int]) -> list[int]:
    with multiprocessing.get_context(METHOD).Pool(2) as pool:
        return pool.map(square, numbers)


def in_an_executor(numbers: list[int]) -> list[int]:
    context = multiprocessing.get_context(METHOD)
    with ProcessPoolExecutor(2, mp_context=context) as executor:
        return list(executor.map(square, numbers))


@app.function("squares")
async def squares(ctx: Context[list[int]]) -> int:
    pooled = await ctx.step.run("Pool", in_a_pool, ctx.data)
    executed = await ctx.step.run("Executor", in_an_executor, ctx.data)
    return sum(pooled) + sum(executed)


async def main() -> None:
    async with app.client() as client:
        messages = [{"name": "squares", "data": [1, 2, 3]}] * int(TIMES)
        handles = await client.send_many(messages)
        received = await app.worker().run(burst=True)
        print({await handle.result(timeout=10) for handle in handles}, received)


if __name__ == "__main__":
    if LOOP == "uvloop":
        import uvloop

        uvloop.run(main())
    else:
        asyncio.run(main())
