"""The command line's entry: global options, the commands, exit codes."""

from __future__ import annotations

from importlib import metadata
from typing import Annotated

import typer

from .commands import (
    bench,
    complete,
    config,
    emit,
    executions,
    migrate,
    retention,
    send,
    verify_ledger,
    worker,
)
from .failures import exit_on_errors
from .invocation import AppOption, GlobalOptions, OutputOption
from .logs import tell_warnings
from .output import OutputFormat
from .streams import prepare_streams

app = typer.Typer(
    name="worchflow",
    help="Durable, step-based workflows: run workers, send events, look at executions.",
    epilog=(
        "Exit codes: 0 ok, 1 the execution failed or was cancelled, or migrate --check "
        "found something to do, 2 usage, "
        "3 a store is unreachable, 4 not found, 5 wrong state, 74 stdout takes no "
        "output, 124 a wait timed out, 130 interrupted."
    ),
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("worker")(worker.worker)
app.command("send")(send.send)
app.command("emit")(emit.emit)
app.command("complete")(complete.complete)
app.command("verify-ledger")(verify_ledger.verify_ledger)
app.add_typer(executions.app, name="executions")
app.add_typer(retention.app, name="retention")
app.add_typer(config.app, name="config")
app.command("migrate")(migrate.migrate)
app.command("bench")(bench.bench)


def _version(wanted: bool) -> None:  # noqa: FBT001 - typer calls it so
    if wanted:
        typer.echo(f"worchflow {metadata.version('worchflow')}")
        raise typer.Exit


@app.callback()
def global_options(
    context: typer.Context,
    *,
    app: AppOption = None,
    output: OutputOption = None,
    version: Annotated[  # noqa: ARG001 - its callback acts
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Show the version."
        ),
    ] = False,
) -> None:
    """Options before the command; --app and --output may stand behind it too."""
    context.obj = GlobalOptions(app=app, output=output or OutputFormat.TABLE)


def main() -> None:
    """Run the command line; never returns normally, the exit code says how it went."""
    prepare_streams()
    tell_warnings()
    exit_on_errors(lambda: app(prog_name="worchflow", standalone_mode=False))
