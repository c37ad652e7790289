"""`worchflow config show`: every setting, where it comes from, secrets masked."""

from __future__ import annotations

import typer

from ...foundations.errors import ConfigurationError
from ..failures import report
from ..invocation import AppOption, Invocation, OutputOption
from ..settings import masked, variable

app = typer.Typer(
    help="The settings of the command line.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.callback()
def config() -> None:
    """The settings of the command line."""


@app.command()
def show(
    context: typer.Context, *, app: AppOption = None, output: OutputOption = None
) -> None:
    """Print each setting's value and origin; secrets in URLs are masked.

    A flag wins over the environment, the environment over worchflow.toml (or
    [tool.worchflow] in pyproject.toml), the file over the default. Stores that the
    app names in its code win over all of them: the store in use is told last.
    """
    invocation = Invocation.of(context, app=app, output=output)
    shapes = [
        {
            "name": name,
            "value": masked(name, each.value),
            "origin": each.origin,
            "source": each.source,
            "variable": variable(name),
        }
        for name, each in invocation.settings.values.items()
    ]
    out, store = invocation.output, _store(invocation)
    if not out.is_table:
        out.objects("settings", shapes, store=store)
        return
    values = invocation.settings.values
    out.table(
        ("NAME", "VALUE", "ORIGIN"),
        [
            (
                name,
                "" if each.value is None else str(masked(name, each.value)),
                each.place,
            )
            for name, each in values.items()
        ],
    )
    if store is not None:
        out.line("")
        out.line(f"The store in use: {store}")


def _store(invocation: Invocation) -> str | None:
    """Where the data is; None, and told why, when the settings do not say."""
    try:
        return invocation.location(invocation.load_app())
    except ConfigurationError as error:
        report(error)
        return None
