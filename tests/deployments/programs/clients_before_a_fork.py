"""Clients that were used before a fork are used again in the child and the parent."""

from __future__ import annotations

import asyncio
import os
import threading

from worchflow import ConfigurationError, Worchflow

app = Worchflow("shop")
client = app.client()
sync = app.client().sync
busy = threading.Event()


def use() -> list[str]:
    """Send and look in this process, without and with an event loop."""
    ids = [sync.send({"name": "order", "data": os.getpid()}).id]

    async def send() -> str:
        handle = await client.send({"name": "order", "data": os.getpid()})
        await client.close()
        return handle.id

    ids.append(asyncio.run(send()))
    assert sync.get(ids[1]).data == os.getpid()
    return ids


def in_the_child() -> None:
    """All of it again, with what the parent has open; ends the child."""
    try:
        handle.status()
    except ConfigurationError as error:
        print("refused:", error)
    use()
    print("child", flush=True)
    os._exit(0)


async def open_then_fork() -> None:
    """Fork while the client is open on a loop that runs."""
    await client.send({"name": "order", "data": 0})
    child = os.fork()
    if child == 0:
        in_the_child()
    os.waitpid(child, 0)
    await client.counts()
    await client.close()


def keep_busy() -> None:
    """Hold the locks of `sync` most of the time."""
    while not busy.is_set():
        sync.counts()


handle = sync.send({"name": "order", "data": 0})
thread = threading.Thread(target=keep_busy)
thread.start()
asyncio.run(open_then_fork())
busy.set()
thread.join()
print("parent", len(sync.list().items))
sync.close()
