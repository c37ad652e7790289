"""`worchflow verify-ledger`: proves from a ledger that the promises held."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ...foundations.errors import ConfigurationError, ExecutionNotFound
from ...ledger import Kind, Line, Plan, check, read
from ..invocation import AppOption, Invocation, OutputOption, run
from ..output import print_to_stderr
from ..parsing import read_counts, read_duration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...ledger import Report

BROKEN = 1
SHOWS_NOTHING = 5


def verify_ledger(
    context: typer.Context,
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="The ledger; several files of one run."),
    ],
    *,
    stores: Annotated[
        bool, typer.Option("--stores", help="Ask the stores how each execution ended.")
    ] = False,
    executions: Annotated[
        int | None,
        typer.Option(min=1, help="At least so many must have been accepted."),
    ] = None,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=N", help="At least N such faults must have hit; repeatable."
        ),
    ] = None,
    mid_step: Annotated[
        int | None,
        typer.Option(min=0, help="So many processes must have been hit in a step."),
    ] = None,
    slots: Annotated[
        int | None,
        typer.Option(min=1, help="The executions that a worker runs at once."),
    ] = None,
    width: Annotated[
        int | None,
        typer.Option(min=1, help="The steps that an execution runs at once."),
    ] = None,
    drained_within: Annotated[
        str | None,
        typer.Option(metavar="DURATION", help="From the calm to the last end."),
    ] = None,
    app: AppOption = None,
    output: OutputOption = None,
) -> None:
    """Prove from a ledger that nothing was lost and nothing recorded ran again.

    Exit code 1: a promise was broken. Exit code 5: too little happened to show
    anything, such as fewer faults than planned.
    """
    invocation = Invocation.of(context, app=app, output=output)
    seconds = drained_within and read_duration(drained_within, "--drained-within")
    given = {
        "executions": executions,
        "faults": read_counts(fault, "--fault") if fault else None,
        "mid_step": mid_step,
        "slots": slots,
        "width": width,
        "drained_within": seconds,
    }
    lines, torn = read(*files)
    plan = _plan(lines, {name: v for name, v in given.items() if v is not None})
    if stores:
        lines += _ask_the_stores(invocation, lines)
    report = check(lines, torn, plan=plan)
    _tell(invocation, report)
    if not report.passed:
        raise typer.Exit(BROKEN if report.violations else SHOWS_NOTHING)


def _plan(lines: Sequence[Line], given: dict[str, Any]) -> Plan | None:
    """The plan of the ledger, changed by what was given; None to leave it as it is."""
    if not given:
        return None
    plans = [Plan(**line.value) for line in lines if line.kind is Kind.PLAN]
    if len(plans) > 1:
        raise ConfigurationError(
            f"the ledger has {len(plans)} plans, so no option can change the one that "
            "counts: give the files of one run"
        )
    plan = plans[0] if plans else Plan(executions=1, drained_within=None)
    return replace(plan, **given)


def _ask_the_stores(invocation: Invocation, lines: Sequence[Line]) -> list[Line]:
    """How everything that was accepted stands now."""
    ended = {line.execution for line in lines if line.kind is Kind.ENDED}
    accepted = {line.execution for line in lines if line.kind is Kind.ACCEPTED}
    app = invocation.load_app()

    async def ask() -> list[Line]:
        found: list[Line] = []
        async with invocation.client(app) as client:
            for id_ in sorted(accepted - ended):
                try:
                    status = str((await client.get(id_)).status)
                except ExecutionNotFound:
                    status = "missing"
                now = time.monotonic()
                found.append(
                    Line(kind=Kind.ENDED, time=now, pid=0, execution=id_, status=status)
                )
        return found

    return run(ask())


def _tell(invocation: Invocation, report: Report) -> None:
    out = invocation.output
    if not out.is_table:
        violations = [
            {"kind": each.kind, "execution": each.execution, "seen": each.seen}
            for each in report.violations
        ]
        out.object(
            {
                "passed": report.passed,
                "violations": violations,
                "doubts": list(report.doubts),
                "figures": dict(report.figures),
            }
        )
        return
    out.text(str(report))
    if report.violations:
        print_to_stderr("a promise was broken: please report it with the ledger")
    elif report.doubts:
        print_to_stderr(
            "no promise was broken, but too little happened to show anything"
        )
