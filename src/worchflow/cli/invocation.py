"""One run of the command line: its settings, its output, its client."""

from __future__ import annotations

import asyncio
import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from ..client.client import WorchflowClient
from ..foundations.errors import ConfigurationError
from ..storage.choice import open_backend
from .failures import INTERRUPTED
from .loading import load_app
from .output import Output, OutputFormat, print_to_stderr
from .settings import read_settings

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine

    from ..app import Worchflow
    from ..storage.contract.backend import Backend
    from .settings import Settings

T = TypeVar("T")

AppOption = Annotated[
    str | None,
    typer.Option(
        "--app",
        "-A",
        metavar="MODULE:ATTR",
        help="The Worchflow object; without one the stores of the environment.",
    ),
]
OutputOption = Annotated[
    OutputFormat | None,
    typer.Option("--output", "-o", help="How data is printed.", show_default="table"),
]
IdArgument = Annotated[
    str,
    typer.Argument(metavar="ID", help="An execution id, or its first 8 characters."),
]


@dataclass(frozen=True, kw_only=True)
class GlobalOptions:
    """What was given before the command."""

    app: str | None
    output: OutputFormat | None


@dataclass(frozen=True, kw_only=True)
class Invocation:
    """The settings and the output of the command that runs."""

    settings: Settings
    output: Output

    @classmethod
    def of(
        cls,
        context: typer.Context,
        *,
        app: str | None = None,
        output: OutputFormat | None = None,
    ) -> Invocation:
        """From the options before the command and those after it, which win."""
        given: GlobalOptions = context.obj
        settings = read_settings(_working_directory(), os.environ)
        return cls(
            settings=settings.with_flags(app=app or given.app),
            output=Output(output or given.output or OutputFormat.TABLE),
        )

    def load_app(self) -> Worchflow[Any] | None:
        """The app, if one is named; it sees the stores that a file names."""
        self.settings.publish(os.environ)
        target = self.settings["app"]
        return None if target is None else load_app(target)

    def location(self, app: Worchflow[Any] | None) -> str:
        """Where the client's data is, for people."""
        return self.backend(app).location

    @contextlib.asynccontextmanager
    async def client(
        self, app: Worchflow[Any] | None, *, sends: bool = False
    ) -> AsyncGenerator[WorchflowClient[Any]]:
        """A client of the app's stores, or of the environment's.

        Its first call opens it: what is refused before then touches no store. Only
        who `sends` makes a database where there is none.
        """
        async with self.stores(app, sends=sends) as (client, _):
            yield client

    def backend(self, app: Worchflow[Any] | None) -> Backend:
        """The app's backend or that of the environment, not opened yet."""
        return open_backend() if app is None else app.backend()

    @contextlib.asynccontextmanager
    async def stores(
        self, app: Worchflow[Any] | None, *, sends: bool = False
    ) -> AsyncGenerator[tuple[WorchflowClient[Any], Backend]]:
        """The same client, and the backend that its first call opens."""
        backend = self.backend(app)
        if not sends and backend.make_nothing():
            print_to_stderr(
                f"there is no database at {backend.location}: run this where the "
                "worker runs, or set WORCHFLOW_SQLITE_PATH"
            )
        client = (
            WorchflowClient[Any](backend=backend)
            if app is None
            else app.client(backend=backend)
        )
        try:
            yield client, backend
        finally:
            await client.close()


def _working_directory() -> Path:
    try:
        return Path.cwd()
    except FileNotFoundError:
        raise ConfigurationError(
            "the working directory was removed: change into one that is there"
        ) from None


def run(
    work: Coroutine[Any, Any, T],
    *,
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
) -> T:
    """Run a command's work on its own event loop; SIGINT exits with 130."""
    try:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            return runner.run(work)
    except KeyboardInterrupt:
        print_to_stderr("interrupted")
        raise typer.Exit(INTERRUPTED) from None
