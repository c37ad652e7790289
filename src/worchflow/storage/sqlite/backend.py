"""The backend on one SQLite file: its parts, opened and closed."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from pathlib import Path

from typing_extensions import override

from ...foundations import forking
from ...foundations.errors import ConfigurationError
from ...foundations.loop_lock import LoopLock
from ...model.options import BackendOptions
from ..contract.backend import Backend
from .children import Children
from .claims import Claims
from .connection import has_file
from .counting import Counting
from .events import Events
from .executions import Executions
from .files import MEMORY
from .leadership import Leadership
from .listing import Listing
from .loop_binding import LoopBinding
from .notices import Notices
from .retention import Retention
from .shared_database import DatabaseConfig, Memory
from .steps import Steps
from .sweeper import Sweeper
from .waits import Waits
from .worker_sql import ping
from .workers import Workers
from .writer import one_by_one

logger = logging.getLogger("worchflow.storage.sqlite")

_ping = one_by_one(ping)


class SQLiteBackend(Backend):
    """Everything in one database file, for several processes of one machine.

    `":memory:"` is a database of this backend and its clones, gone when the last of
    them is closed. Making a backend does no I/O.
    """

    def __init__(self, path: str | Path, options: BackendOptions | None = None) -> None:
        self.options = options or BackendOptions()
        in_memory = str(path) == MEMORY
        self._location = (
            MEMORY if in_memory else str(Path(path).expanduser().absolute())
        )
        self._config = DatabaseConfig(
            path=self._location,
            durability=self.options.durability,
            timeout=self.options.timeout,
            runtime=self.options.runtime,
            memory=Memory() if in_memory else None,
        )
        self._binding: LoopBinding | None = None
        self._opened = 0
        self._changing = LoopLock()
        self._executions = Executions(self._ready)
        self._listing = Listing(self._ready)
        self._counting = Counting(self._ready)
        self._retention = Retention(self._ready)
        self._steps = Steps(self._ready)
        self._waits = Waits(self._ready, self.options.runtime)
        self._events = Events(self._ready, self.options.runtime)
        self._children = Children(self._ready)
        self._claims = Claims(self._ready, self._children, self.options.runtime)
        self._workers = Workers(self._ready, self._claims, self.options)
        self._leadership = Leadership(self._ready)
        self._sweeping = Sweeper(self._ready, self._events, self.options.runtime)
        self._notices = Notices(self._ready)
        forking.watch(self)

    def after_fork(self) -> None:
        """Be closed in the child, where the threads of the database are not."""
        self._binding, self._opened = None, 0
        self._claims.forget_all()
        self._workers.forget_all()

    @property
    @override
    def location(self) -> str:
        """The path of the file."""
        return self._location

    @override
    def clone(self) -> SQLiteBackend:
        """A second backend on the same database, for another event loop."""
        clone = SQLiteBackend(self._location, self.options)
        clone._config = self._config
        return clone

    @override
    def make_nothing(self) -> bool:
        """Be an empty database in memory if the file is not there."""
        if self._config.in_memory or has_file(Path(self._location)):
            return False
        self._config = replace(self._config, path=MEMORY, memory=Memory())
        return True

    @override
    async def open(self, *, migrate: bool = False) -> None:
        """Open the file, making folders, file and tables if need be."""
        async with self._changing.here():
            if self._binding is not None and self._binding.dispatcher.loop.is_closed():
                await self._release()
            if self._binding is None:
                self._binding = await LoopBinding.open(
                    self._config, self.options.queue_prefix, migrate=migrate
                )
                logger.info("data is kept in %s", self.location)
            elif self._binding.dispatcher.loop is not asyncio.get_running_loop():
                raise self._wrong_loop()
            self._opened += 1

    @override
    async def close(self) -> None:
        """Undo one `open`; the last closes the file once everything is written."""
        async with self._changing.here():
            if self._binding is None:
                return
            self._opened -= 1
            if self._opened:
                return
            await self._release()

    async def _release(self) -> None:
        binding, self._binding, self._opened = self._binding, None, 0
        if binding is None:
            return
        await binding.close()
        self._claims.forget_all()
        await self._workers.end_all(binding)

    @override
    async def check(self) -> None:
        """Take the write lock once."""
        await self._ready().write(_ping, None)

    @property
    @override
    def executions(self) -> Executions:
        return self._executions

    @property
    @override
    def listing(self) -> Listing:
        return self._listing

    @property
    @override
    def counting(self) -> Counting:
        return self._counting

    @property
    @override
    def retention(self) -> Retention:
        return self._retention

    @property
    @override
    def steps(self) -> Steps:
        return self._steps

    @property
    @override
    def waits(self) -> Waits:
        return self._waits

    @property
    @override
    def events(self) -> Events:
        return self._events

    @property
    @override
    def children(self) -> Children:
        return self._children

    @property
    @override
    def claims(self) -> Claims:
        return self._claims

    @property
    @override
    def workers(self) -> Workers:
        return self._workers

    @property
    @override
    def leadership(self) -> Leadership:
        return self._leadership

    @property
    @override
    def sweeping(self) -> Sweeper:
        return self._sweeping

    @property
    @override
    def notices(self) -> Notices:
        return self._notices

    def _ready(self) -> LoopBinding:
        binding = self._binding
        if binding is None:
            raise ConfigurationError(
                f"the backend on {self.location} is not open: call open() first"
            )
        return binding

    def _wrong_loop(self) -> ConfigurationError:
        return ConfigurationError(
            f"the backend on {self.location} belongs to another event loop: use "
            "clone() to get one for this loop"
        )
