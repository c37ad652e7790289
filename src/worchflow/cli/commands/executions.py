"""`worchflow executions`: look at executions, retry and cancel them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from ...foundations.errors import WrongState
from ...foundations.runtime import SYSTEM
from ...model.waiting import why_waiting
from ..execution_view import HEADER, Shown, execution_row, print_execution, short_rows
from ..invocation import AppOption, IdArgument, Invocation, OutputOption, run
from ..lookup import find_execution
from ..output import json_text, print_to_stderr
from ..parsing import read_past
from ..results import TimeoutOption, WaitOption, wait_for_result, wait_seconds
from ..schemas import execution_schema, listed_schema, part_schema

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ...client.client import WorchflowClient
    from ...model.records import Execution, Page

T = TypeVar("T")

app = typer.Typer(
    help="Look at executions, retry and cancel them.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

MAX_CHILDREN = 20
"""The newest children that are shown of an execution."""


@app.command("list")
def list_executions(
    context: typer.Context,
    *,
    status: Annotated[
        str | None,
        typer.Option(
            "-s",
            "--status",
            help="queued, processing, retrying, sleeping, waiting, completed, failed "
            "or cancelled; or several, with commas.",
        ),
    ] = None,
    function: Annotated[
        str | None,
        typer.Option("-f", "--function", help="A function's id or an event's name."),
    ] = None,
    tag: Annotated[
        str | None, typer.Option("-t", "--tag", help="Sent with this tag.")
    ] = None,
    parent: Annotated[
        str | None,
        typer.Option("--parent", help="Children of the execution with this id."),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="Created then or later: ISO 8601, or 24h for ago."
        ),
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="TIME", help="Created before then.")
    ] = None,
    id_prefix: Annotated[
        str | None, typer.Option("--id-prefix", help="Ids that begin so.")
    ] = None,
    limit: Annotated[
        int, typer.Option("-l", "--limit", help="At most this many, 1 to 200.")
    ] = 50,
    cursor: Annotated[
        str | None, typer.Option(help="Go on after the page that gave this cursor.")
    ] = None,
    app: AppOption = None,
    output: OutputOption = None,
) -> None:
    """List executions, newest first."""
    invocation = Invocation.of(context, app=app, output=output)
    query: dict[str, Any] = {
        "status": None if status is None else status.split(","),
        "function": function,
        "tag": tag,
        "parent": parent,
        "since": read_past(since, "--since"),
        "until": read_past(until, "--until"),
        "id_prefix": id_prefix,
        "limit": limit,
        "cursor": cursor,
        "payloads": False,
    }

    async def read(client: WorchflowClient[Any]) -> Page[Execution]:
        page = await client.list(**query)
        while page.cursor is not None and not page.items:
            query["cursor"] = page.cursor
            page = await client.list(**query)
        return page

    page = _with_client(invocation, read)
    out = invocation.output
    if out.is_table:
        if page.items and out.is_terminal:
            rows = short_rows(page.items, SYSTEM.now())
            out.table(HEADER, rows, gives_way="EVENT", may_go=("TOOK", "ATTEMPTS"))
        elif page.items:
            out.table(HEADER, [execution_row(each) for each in page.items])
        else:
            where = invocation.location(invocation.load_app())
            filters = (status, function, tag, parent, since, until, id_prefix, cursor)
            filtered = any(filters)
            print_to_stderr(f"no execution{' fits' if filtered else 's'} in {where}")
    else:
        shapes = [listed_schema(each) for each in page.items]
        out.objects("executions", shapes, cursor=page.cursor)
    if page.cursor is not None:
        print_to_stderr(f"there are more: --cursor {page.cursor}")


@app.command()
def show(
    context: typer.Context,
    id: IdArgument,
    *,
    app: AppOption = None,
    output: OutputOption = None,
) -> None:
    """Print an execution: why it waits, its steps, its attempts and its error."""
    invocation = Invocation.of(context, app=app, output=output)

    loaded = invocation.load_app()

    async def read() -> Shown:
        async with invocation.stores(loaded) as (client, backend):
            execution = await find_execution(client, id)
            workers, ttl = await backend.workers.seen(), backend.options.lease_ttl
            children = await client.list(
                parent=execution.id, limit=MAX_CHILDREN, payloads=False
            )
            return Shown(
                execution=execution,
                steps=await client.steps(execution.id),
                waits=await client.waits(execution.id),
                children=children.items,
                has_more_children=children.cursor is not None,
                reason=why_waiting(execution, SYSTEM.now(), workers, ttl),
            )

    shown = run(read())
    out = invocation.output
    if out.is_table:
        print_execution(out, shown)
        return
    out.object(
        {
            **execution_schema(shown.execution),
            "waiting": shown.reason,
            "steps": [part_schema(step) for step in shown.steps],
            "waits": [part_schema(wait) for wait in shown.waits],
            "children": [listed_schema(child) for child in shown.children],
        }
    )


@app.command()
def result(
    context: typer.Context,
    id: IdArgument,
    *,
    wait: WaitOption = False,
    timeout: TimeoutOption = None,
    app: AppOption = None,
    output: OutputOption = None,
) -> None:
    """Print an execution's result; without --wait it must have one already."""
    invocation = Invocation.of(context, app=app, output=output)
    seconds = wait_seconds(wait=wait, timeout=timeout)

    async def read(client: WorchflowClient[Any]) -> dict[str, Any]:
        execution = await find_execution(client, id)
        if seconds is None and not execution.status.is_terminal:
            raise WrongState(
                f"execution {execution.id} is {execution.status} and has no result "
                "yet: wait for it with --wait",
                execution_id=execution.id,
                status=execution.status,
            )
        found = await wait_for_result(client, execution.id, seconds or 10.0)
        return {"id": execution.id, "status": "completed", "result": found}

    shape = _with_client(invocation, read)
    if invocation.output.is_table:
        invocation.output.text(json_text(shape["result"], indent=2))
    else:
        invocation.output.object(shape)


@app.command()
def retry(
    context: typer.Context,
    id: IdArgument,
    *,
    app: AppOption = None,
    output: OutputOption = None,
) -> None:
    """Queue a failed or cancelled execution again; its completed steps are kept."""
    invocation = Invocation.of(context, app=app, output=output)

    async def act(client: WorchflowClient[Any]) -> Execution:
        execution = await find_execution(client, id)
        await client.retry(execution.id)
        return await client.get(execution.id)

    _tell(invocation, _with_client(invocation, act), "is queued again")


@app.command()
def cancel(
    context: typer.Context,
    id: IdArgument,
    *,
    reason: Annotated[
        str | None, typer.Option(help="Why; it is kept with the execution.")
    ] = None,
    app: AppOption = None,
    output: OutputOption = None,
) -> None:
    """Cancel an execution: a waiting one at once, a running one within seconds."""
    invocation = Invocation.of(context, app=app, output=output)

    async def act(client: WorchflowClient[Any]) -> Execution:
        execution = await find_execution(client, id)
        await client.cancel(execution.id, reason=reason)
        return await client.get(execution.id)

    execution = _with_client(invocation, act)
    done = "is cancelled" if execution.status.is_terminal else "will be cancelled"
    _tell(invocation, execution, done)


def _tell(invocation: Invocation, execution: Execution, what: str) -> None:
    out = invocation.output
    if out.is_table:
        out.line(execution.id)
    else:
        out.object({"id": execution.id, "status": execution.status})
    print_to_stderr(f"execution {execution.id} {what}")


def _with_client(
    invocation: Invocation, act: Callable[[WorchflowClient[Any]], Awaitable[T]]
) -> T:
    app = invocation.load_app()

    async def work() -> T:
        async with invocation.client(app) as client:
            return await act(client)

    return run(work())
