"""`worchflow migrate`: brings the stores of an earlier release up to date."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ...foundations.errors import SchemaTooOld
from ..invocation import AppOption, Invocation, OutputOption, run
from ..output import print_to_stderr

if TYPE_CHECKING:
    from ...storage.contract.backend import Backend

OUT_OF_DATE = 1
"""The exit code of `--check` where something is to be done."""


def migrate(
    context: typer.Context,
    *,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Change nothing; exit code 1 if there is something to do."
        ),
    ] = False,
    app: AppOption = None,
    output: OutputOption = None,
) -> None:
    """Update the stores to this release, as workers do when they start.

    What is in them is kept, and the release before can still use them.
    """
    invocation = Invocation.of(context, app=app, output=output)
    backend = invocation.backend(invocation.load_app())
    old = run(_check(backend) if check else _migrate(backend))
    if not invocation.output.is_table:
        invocation.output.object(
            {
                "location": backend.location,
                "found": None if old is None else old.found,
                "needed": None if old is None else old.needed,
                "migrated": old is not None and not check,
            }
        )
    elif old is None:
        print_to_stderr(f"up to date: {backend.location}")
    elif check:
        print_to_stderr(f"{old.message} ({backend.location})")
    else:
        print_to_stderr(
            f"updated from schema {old.found} to {old.needed}: {backend.location}"
        )
    if check and old is not None:
        raise typer.Exit(OUT_OF_DATE)


async def _check(backend: Backend) -> SchemaTooOld | None:
    if backend.make_nothing():
        print_to_stderr(f"there is no database at {backend.location} yet")
    try:
        await backend.open()
    except SchemaTooOld as error:
        return error
    await backend.close()
    return None


async def _migrate(backend: Backend) -> SchemaTooOld | None:
    found: SchemaTooOld | None = None
    try:
        await backend.open()
    except SchemaTooOld as error:
        found = error
        await backend.open(migrate=True)
    await backend.close()
    return found
