"""`worchflow config show`: every setting, where it comes from, secrets masked."""

from __future__ import annotations

import typer

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
    app names in its code win over all of them.
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
    out = invocation.output
    if not out.is_table:
        out.objects("settings", shapes)
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
