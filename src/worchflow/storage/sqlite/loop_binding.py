"""Binds one event loop to a shared database: ask, wait, be told."""

from __future__ import annotations

import asyncio
import threading
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

from .call_dispatcher import CallDispatcher
from .hints import Happening
from .shared_database import SHARED_DATABASES
from .wakeup import Wakeup
from .writer import Operation

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

    from ...model.notices import Notice
    from .call_dispatcher import Call
    from .shared_database import DatabaseConfig, SharedDatabase
    from .writer import Act

LINGER_SECONDS = 0.01
"""How long what is told waits for a commit to go with."""

A = TypeVar("A")
R = TypeVar("R")


class LoopBinding:
    """An event loop's use of a shared database, under one queue prefix."""

    def __init__(self, shared: SharedDatabase, prefix: str) -> None:
        self.shared = shared
        self.wakeup = Wakeup(prefix)
        self.dispatcher = CallDispatcher(shared.config.timeout, shared.config.path)
        self.prefix = prefix
        self._telling: asyncio.TimerHandle | None = None
        shared.add(self.wakeup)

    @classmethod
    async def open(
        cls, config: DatabaseConfig, prefix: str, *, migrate: bool
    ) -> LoopBinding:
        """Open the database, or share the one that is open."""
        opening = asyncio.get_running_loop().run_in_executor(
            None, partial(SHARED_DATABASES.acquire, config, migrate=migrate)
        )
        try:
            shared = await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_give_back)
            raise
        return cls(shared, prefix)

    async def close(self) -> None:
        """Wait for the calls under way, then give the database back.

        Of a loop that is closed nobody waits for any call.
        """
        if self._telling is not None:
            self._telling.cancel()
        if not self.dispatcher.loop.is_closed():
            await self.dispatcher.drain()
        self.shared.remove(self.wakeup)
        await asyncio.shield(asyncio.to_thread(SHARED_DATABASES.release, self.shared))
        self.dispatcher.close()

    def tell(self, notice: Callable[[], Notice]) -> None:
        """Tell those who follow an execution what no transaction does.

        With the next commit, which mostly comes soon: a separate commit costs more
        than all the rest of it.
        """
        self.shared.tell(Happening(self.prefix, is_progress=True, make=notice))
        if self._telling is None:
            loop = self.dispatcher.loop
            self._telling = loop.call_later(LINGER_SECONDS, self._publish_told)

    def _publish_told(self) -> None:
        self._telling = None
        self.shared.publish_told()

    async def write(
        self,
        act: Act[A, R],
        argument: A,
        *,
        size: int = 0,
        on_orphaned: Callable[[R], None] | None = None,
    ) -> R:
        """Have the writer do it and return what came of it once it is durable."""
        shared = self.shared

        def send(call: Call) -> None:
            shared.submit(Operation(act, self.prefix, argument, call, size))

        return cast("R", await self.dispatcher.call(send, on_orphaned))

    async def read(
        self, act: Callable[[sqlite3.Connection, str, A], R], argument: A
    ) -> R:
        """Look something up, past everything that waits to be written."""
        shared = self.shared

        def send(call: Call) -> None:
            shared.read(act, self.prefix, argument, call)

        return cast("R", await self.dispatcher.call(send))


def _give_back(opening: asyncio.Future[SharedDatabase]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        threading.Thread(
            target=SHARED_DATABASES.release, args=(opening.result(),)
        ).start()


def read_all(
    act: Callable[[sqlite3.Connection, str], R],
) -> Callable[[sqlite3.Connection, str, Any], R]:
    """A question about all of a prefix, as one with an argument."""
    return lambda connection, prefix, _: act(connection, prefix)


Opened: TypeAlias = "Callable[[], LoopBinding]"
"""Gives the binding of a backend; `ConfigurationError` while that is not open."""
