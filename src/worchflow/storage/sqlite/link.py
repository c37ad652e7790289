"""The way from one event loop to the core: ask, wait, be told."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any, TypeVar, cast

from .core import CORES
from .mailbox import Mailbox
from .wakeup import Wakeup
from .writer import Operation

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

    from .core import Core, Place
    from .mailbox import Call
    from .writer import Act

A = TypeVar("A")
R = TypeVar("R")


class Link:
    """An event loop's use of a core, under one queue prefix."""

    def __init__(self, core: Core, prefix: str) -> None:
        self.core = core
        self.wakeup = Wakeup(prefix)
        self.mailbox = Mailbox(core.place.timeout, core.place.path)
        self.prefix = prefix
        core.add(self.wakeup)

    @classmethod
    async def open(cls, place: Place, prefix: str) -> Link:
        """Open the core, or share the one that is open."""
        opening = asyncio.get_running_loop().run_in_executor(None, CORES.acquire, place)
        try:
            core = await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_give_back)
            raise
        return cls(core, prefix)

    async def close(self) -> None:
        """Wait for the calls under way, then give the core back.

        Of a loop that is closed nobody waits for any call.
        """
        if not self.mailbox.loop.is_closed():
            await self.mailbox.drain()
        self.core.remove(self.wakeup)
        await asyncio.shield(asyncio.to_thread(CORES.release, self.core))
        self.mailbox.close()

    async def write(
        self,
        act: Act[A, R],
        argument: A,
        *,
        size: int = 0,
        unwanted: Callable[[R], None] | None = None,
    ) -> R:
        """Have the writer do it and return what came of it once it is durable."""
        core = self.core

        def send(call: Call) -> None:
            core.submit(Operation(act, self.prefix, argument, call, size))

        return cast("R", await self.mailbox.call(send, unwanted))

    async def read(
        self, act: Callable[[sqlite3.Connection, str, A], R], argument: A
    ) -> R:
        """Look something up, past everything that waits to be written."""
        core = self.core

        def send(call: Call) -> None:
            core.read(act, self.prefix, argument, call)

        return cast("R", await self.mailbox.call(send))


def _give_back(opening: asyncio.Future[Core]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        threading.Thread(target=CORES.release, args=(opening.result(),)).start()


def read_all(
    act: Callable[[sqlite3.Connection, str], R],
) -> Callable[[sqlite3.Connection, str, Any], R]:
    """A question about all of a prefix, as one with an argument."""
    return lambda connection, prefix, _: act(connection, prefix)
