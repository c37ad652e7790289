"""Restate: three durable steps, kept by its server, which calls the worker."""

from __future__ import annotations

import asyncio
import json
import urllib.request

import aiohttp
import hypercorn
import hypercorn.asyncio
import restate
import uvloop
from speech import (
    Completions,
    gather_in_flight,
    on_lines,
    read_settings,
    say,
    serve_sender,
)

SETTINGS = read_settings()
completions = Completions()
service = restate.Service("Bench")


async def no_op() -> int:
    return 1


@service.handler()
async def three_steps(ctx: restate.Context, _: int) -> int:
    completions.begin()
    total = 0
    for title in ("first", "second", "third"):
        total += await ctx.run_typed(title, no_op)
    completions.add()
    return total


def register(port: int) -> None:
    body = {"uri": f"http://127.0.0.1:{port}", "force": True, "breaking": True}
    request = urllib.request.Request(
        f"{SETTINGS['admin_url']}/deployments",
        json.dumps(body).encode(),
        {"content-type": "application/json"},
    )
    urllib.request.urlopen(request, timeout=30).read()


async def worker() -> None:
    """Ready once its server knows it; there is no queue it could leave alone."""
    on_lines(lambda _: None)
    config = hypercorn.Config()
    config.bind = [f"127.0.0.1:{SETTINGS['port']}"]
    # Its server calls on one connection, which by default ends after 1,000 requests.
    config.h2_max_concurrent_streams = 1_000
    config.keep_alive_max_requests = 10**9
    serving = asyncio.ensure_future(
        hypercorn.asyncio.serve(restate.app([service]), config)
    )
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", SETTINGS["port"])
            writer.close()
            break
        except OSError:
            await asyncio.sleep(0.02)
    await asyncio.to_thread(register, SETTINGS["port"])
    say(ready=True)
    await serving


async def sender() -> None:
    # Lighter than the client of the SDK, which would share the machine.
    url = f"{SETTINGS['ingress_url']}/Bench/three_steps"
    connector = aiohttp.TCPConnector(limit=SETTINGS["in_flight"])
    async with aiohttp.ClientSession(connector=connector) as session:

        async def post(path: str) -> None:
            async with session.post(url + path, json=1) as response:
                await response.read()
                response.raise_for_status()

        async def send(count: int) -> None:
            await gather_in_flight(count, SETTINGS["in_flight"], lambda: post("/send"))

        await serve_sender(send, lambda: post(""))


if __name__ == "__main__":
    uvloop.run({"worker": worker, "sender": sender}[SETTINGS["role"]]())
