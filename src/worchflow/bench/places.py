"""Where a measurement keeps its executions: made for it alone, removed afterwards."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from ..foundations.errors import StoreUnavailable
from ..storage.sqlite.peers import folder_of

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from ..model.options import Durability


class Store(ABC):
    """A store that is measured.

    `servers` are the processes of its servers by name, where they run on this
    machine and their CPU time is to be told.
    """

    name: str
    """As the tables name it."""
    bare: str
    """The module of the program that makes the same writes and nothing else."""
    bare_note: str
    """How it makes them, for people."""

    def __init__(
        self, durability: Durability, servers: Mapping[str, int] | None = None
    ) -> None:
        self.durability: Durability = durability
        self.servers = dict(servers or {})

    @abstractmethod
    def place(self) -> contextlib.AbstractContextManager[dict[str, Any]]:
        """The settings of a new, empty place, removed with all it holds at the end."""

    @property
    def bare_durability(self) -> Durability:
        """What the bare writes wait for."""
        return self.durability

    @property
    @abstractmethod
    def location(self) -> str:
        """Where it is, for people; without passwords."""


class SQLiteStore(Store):
    """A file for each measurement, in its own folder.

    The folder is made below `parent`: whether a commit is dear depends on the disk.
    """

    name = "SQLite"
    bare = "worchflow.bench.programs.bare_sqlite"
    bare_note = "one connection, transactions of up to 1,000"

    def __init__(self, parent: Path, durability: Durability) -> None:
        super().__init__(durability)
        self._parent = nearest_folder(parent)

    @property
    @override
    def location(self) -> str:
        """The folder below which the files are made."""
        return str(self._parent)

    @contextlib.contextmanager
    @override
    def place(self) -> Generator[dict[str, Any]]:
        """A database file that is not there yet."""
        try:
            folder = tempfile.mkdtemp(prefix=".worchflow-bench-", dir=self._parent)
        except OSError as error:
            raise StoreUnavailable(
                f"no folder for the measurement can be made in {self._parent}: "
                f"{error.strerror}"
            ) from error
        database = Path(folder, "bench.db")
        try:
            yield {"sqlite": str(database), "durability": self.durability}
        finally:
            # Workers that are killed leave their sockets.
            shutil.rmtree(folder_of(database), ignore_errors=True)
            shutil.rmtree(folder, ignore_errors=True)


def nearest_folder(path: Path) -> Path:
    """The path itself if it is a folder, else the nearest one above it."""
    path = path.absolute()
    return next(each for each in (path, *path.parents) if each.is_dir())
