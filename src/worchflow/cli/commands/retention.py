"""`worchflow retention`: how long what has ended is kept, and removing it now."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ...client.pruning import checked_ages
from ...foundations.durations import format_duration
from ...foundations.errors import ConfigurationError
from ...model.options import KEEP_EVERYTHING
from ...model.records import TERMINAL
from ..invocation import AppOption, Invocation, OutputOption, run
from ..output import print_to_stderr
from ..parsing import read_duration

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ...client.client import WorchflowClient

app = typer.Typer(
    help="How long ended executions are kept, and removing them now.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

REPORT_EVERY = 1000
"""So many executions are removed between two words about it."""


@app.command()
def show(
    context: typer.Context, *, app: AppOption = None, output: OutputOption = None
) -> None:
    """Print how long executions are kept after they ended, and accepted events."""
    invocation = Invocation.of(context, app=app, output=output)
    loaded = invocation.load_app()

    async def read() -> Mapping[str, float | None]:
        async with invocation.client(loaded) as client:
            ages = checked_ages(client.retention, None, None)
            kept: dict[str, float | None] = {
                each.value: ages.get(each) for each in sorted(TERMINAL)
            }
            return kept | {"events": (client.retention or KEEP_EVERYTHING).event_age}

    ages = run(read())
    shapes = [{"status": each, "seconds": age} for each, age in ages.items()]
    if invocation.output.is_table:
        rows = [
            (each, "forever" if age is None else format_duration(age))
            for each, age in ages.items()
        ]
        invocation.output.table(("STATUS", "KEPT"), rows)
    else:
        invocation.output.objects("retention", shapes)


@app.command("run")
def run_now(
    context: typer.Context,
    *,
    older_than: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION",
            help="What ended longer ago than this, whatever the retention says.",
        ),
    ] = None,
    status: Annotated[
        str | None,
        typer.Option("-s", "--status", help="completed, failed or cancelled only."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option("-l", "--limit", help="At most this many.", min=1)
    ] = None,
    yes: Annotated[
        bool, typer.Option("-y", "--yes", help="Remove without asking.")
    ] = False,
    app: AppOption = None,
    output: OutputOption = None,
) -> None:
    """Remove ended executions with their steps now; workers do it all the time.

    In small batches with pauses, so that nobody is in its way. What is removed is
    gone for good.
    """
    invocation = Invocation.of(context, app=app, output=output)
    age = None if older_than is None else read_duration(older_than, "--older-than")
    loaded = invocation.load_app()

    async def remove() -> int:
        async with invocation.client(loaded) as client:
            _ask(sorted(checked_ages(client.retention, age, status)), age, yes=yes)
            return await _remove(client, age, status, limit)

    removed = run(remove())
    if invocation.output.is_table:
        invocation.output.line(str(removed))
    else:
        invocation.output.object({"removed": removed})
    print_to_stderr(f"removed {removed} execution(s)")


async def _remove(
    client: WorchflowClient[Any],
    age: float | None,
    status: str | None,
    limit: int | None,
) -> int:
    removed = 0
    while limit is None or removed < limit:
        part = REPORT_EVERY if limit is None else min(REPORT_EVERY, limit - removed)
        gone = await client.prune(older_than=age, status=status, limit=part)
        removed += gone
        if gone < part:
            break
        print_to_stderr(f"removed {removed} so far")
    return removed


def _ask(statuses: list[Any], age: float | None, *, yes: bool) -> None:
    """Ask on a terminal; without one, `--yes` has to be there."""
    if yes or not statuses:
        return
    when = (
        "whose retention has ended"
        if age is None
        else f"that ended {format_duration(age)} ago"
    )
    what = f"{' and '.join(statuses)} executions {when}"
    if not sys.stdin.isatty():
        raise ConfigurationError(
            f"this would permanently remove {what}: add --yes to do so"
        )
    typer.confirm(f"Permanently remove {what}?", abort=True, err=True)
