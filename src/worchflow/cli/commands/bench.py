"""`worchflow bench`: measures Worchflow on the user's own stores."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ...foundations.errors import ConfigurationError
from ...model.options import BackendOptions
from ..failures import INTERRUPTED, report
from ..invocation import Invocation, OutputOption
from ..output import print_to_stderr
from ..parsing import read_names

if TYPE_CHECKING:
    from ...bench.places import Store
    from ...bench.sizes import Sizes
    from ...bench.workloads import Bench
    from ..output import Output
    from ..settings import Settings

FAILED = 1
CONCURRENCY = 1_000
MAX_EXECUTIONS = 1_000_000


def bench(
    context: typer.Context,
    *,
    only: Annotated[
        str | None,
        typer.Option(
            metavar="W1,W2", help="Only these workloads.", show_default="W1 to W7"
        ),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Little of everything, in a minute.")
    ] = False,
    runs: Annotated[
        int | None,
        typer.Option(
            help="Times each thing is measured; the figures are medians.",
            show_default="5, quick 1",
        ),
    ] = None,
    executions: Annotated[
        int | None,
        typer.Option(
            help="Executions in a run of W1 and W6.", show_default="10000, quick 500"
        ),
    ] = None,
    workers: Annotated[int, typer.Option(help="Worker processes.")] = 1,
    concurrency: Annotated[
        int,
        typer.Option("-c", "--concurrency", help="Executions at once in each worker."),
    ] = CONCURRENCY,
    durability: Annotated[
        str, typer.Option(metavar="strict|fast", help="What the workers wait for.")
    ] = "strict",
    output: OutputOption = None,
) -> None:
    """Measure Worchflow on the stores of the environment.

    Beside it stand the store's own limits: the same durable writes, by a bare program
    in ideal batches. It works in databases, files and queue prefixes that nothing else
    uses, and removes them at the end. Progress goes to stderr.
    """
    invocation = Invocation.of(context, output=output)
    workloads = _workloads(only)
    sizes = _sizes(quick=quick, runs=runs, executions=executions)
    _check_whole("--workers", workers, 64)
    _check_whole("--concurrency", concurrency, 10_000)
    store = _store(invocation.settings, durability)
    from ...bench.interruption import signals_noted

    try:
        with signals_noted():
            _measure(
                store,
                sizes,
                workloads,
                workers=workers,
                concurrency=concurrency,
                out=invocation.output,
            )
    except KeyboardInterrupt:
        print_to_stderr("interrupted")
        raise typer.Exit(INTERRUPTED) from None


def _workloads(only: str | None) -> list[str]:
    from ...bench.sizes import WORKLOADS

    names = read_names(only, "--only")
    if names is None:
        return list(WORKLOADS)
    for name in names:
        if name.upper() not in WORKLOADS:
            known = "; ".join(f"{each} {what}" for each, what in WORKLOADS.items())
            raise ConfigurationError(
                f'--only names no workload "{name}"; there are: {known}'
            )
    return list(dict.fromkeys(name.upper() for name in names))


def _sizes(*, quick: bool, runs: int | None, executions: int | None) -> Sizes:
    from ...bench.sizes import FULL, QUICK

    sizes = QUICK if quick else FULL
    if runs is not None:
        sizes = replace(sizes, runs=_check_whole("--runs", runs, 1_000))
    if executions is not None:
        count = _check_whole("--executions", executions, MAX_EXECUTIONS)
        sizes = replace(sizes, executions=count)
    return sizes


def _check_whole(option: str, number: int, most: int) -> int:
    if not 1 <= number <= most:
        raise ConfigurationError(
            f"{option}={number} must be a whole number from 1 to {most}"
        )
    return number


def _store(settings: Settings, durability: str) -> Store:
    from ...bench.places import SQLiteStore

    options = BackendOptions(durability=durability)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType] - it checks
    redis_url, mongo_url = settings["redis_url"], settings["mongo_url"]
    if redis_url is None and mongo_url is None:
        return SQLiteStore(Path(settings["sqlite_path"]), options.durability)
    if redis_url is None or mongo_url is None:
        missing = "WORCHFLOW_MONGO_URL" if mongo_url is None else "WORCHFLOW_REDIS_URL"
        raise ConfigurationError(
            f"{missing} is not set: Redis and MongoDB are measured together; set both, "
            "or neither to measure SQLite"
        )
    from ...bench.redis_mongo_place import RedisMongoStore

    return RedisMongoStore(redis_url, mongo_url, options.durability)


def _measure(
    store: Store,
    sizes: Sizes,
    workloads: list[str],
    *,
    workers: int,
    concurrency: int,
    out: Output,
) -> None:
    from ...bench.driver import ProgramFailed
    from ...bench.interruption import check
    from ...bench.machine import describe_machine, machine_line
    from ...bench.places import nearest_folder
    from ...bench.systems import bare, worchflow
    from ...bench.workloads import Bench

    asyncio.run(_check(store))
    check()
    machine = describe_machine(nearest_folder(Path.cwd()))
    print_to_stderr(machine_line(machine))
    print_to_stderr(f"{store.name}, {store.durability}: {store.location}")
    ours = worchflow(store, workers=workers, concurrency=concurrency)
    measured = Bench([ours, bare(store, ours.name)], sizes, print_to_stderr)
    try:
        measured.run(workloads)
    except ProgramFailed as error:
        report(error)
        raise typer.Exit(FAILED) from None
    _print(out, measured, machine, store)


async def _check(store: Store) -> None:
    """Open the store as the measured programs will: what is wrong is told at once."""
    from ...bench.programs.worchflow_program import make_app

    with store.place() as place:
        backend = make_app(place).backend()
        await backend.open()
        await backend.close()


def _print(out: Output, measured: Bench, machine: dict[str, Any], store: Store) -> None:
    from ...bench.measurements import summarize
    from ...bench.report import HEADER, LEGEND, summary_shape, table_rows

    compared = {each.name: each.compared_to for each in measured.systems}
    summaries = summarize(measured.measurements, compared)
    if out.is_table:
        out.table(HEADER, table_rows(summaries))
        print_to_stderr(LEGEND)
        return
    out.objects(
        "results",
        [summary_shape(each) for each in summaries],
        machine=machine,
        store={"name": store.name, "durability": store.durability},
    )
