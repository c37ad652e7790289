"""`worchflow send`: accepts an event, and waits for its result when asked to."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ...engine.served_events import unserved_warning
from ...foundations.errors import (
    ConfigurationError,
    EventValidationError,
    StoreUnavailable,
    UnknownEvent,
)
from ...foundations.suggestions import did_you_mean
from ..event_data import DataOption, default_data, with_values
from ..invocation import AppOption, Invocation, OutputOption, run
from ..output import Output, json_text, print_to_stderr
from ..parsing import read_data, read_duration, read_headers, read_moment
from ..results import TimeoutOption, WaitOption, wait_for_result, wait_seconds
from ..streams import NotWritten

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from ...app import Worchflow
    from ...engine.sending import SendOptions
    from ...storage.contract.backend import Backend


def send(
    context: typer.Context,
    event: Annotated[str, typer.Argument(help="The event's name.")],
    *,
    data: DataOption = None,
    id: Annotated[
        str | None,
        typer.Option(
            "--id",
            metavar="KEY",
            help="The execution's id: sending it again gives the same execution.",
            show_default="random",
        ),
    ] = None,
    delay: Annotated[
        str | None,
        typer.Option(metavar="DURATION", help="Start after this long, such as 5m."),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(metavar="MOMENT", help="Start at an ISO 8601 time with a zone."),
    ] = None,
    header: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE", help="A header of the execution; may be repeated."
        ),
    ] = None,
    tag: Annotated[
        list[str] | None,
        typer.Option(
            "-t", "--tag", help="A tag to list the execution by; may be repeated."
        ),
    ] = None,
    wait: WaitOption = False,
    timeout: TimeoutOption = None,
    app: AppOption = None,
    output: OutputOption = None,
) -> None:
    """Send an event.

    Prints the id of its execution or, with --wait, its result. With an app the data
    is checked against the event's type; without one it goes to the stores of the
    environment as it is.
    """
    invocation = Invocation.of(context, app=app, output=output)
    seconds = wait_seconds(wait=wait, timeout=timeout)
    if delay is not None and at is not None:
        raise ConfigurationError("--delay and --at were both given: say when once")
    options: SendOptions = {
        "id": id,
        "delay": None if delay is None else read_duration(delay, "--delay"),
        "at": read_moment(at, "--at"),
        "headers": read_headers(header or []),
        "tags": tag,
    }
    worchflow = invocation.load_app()
    types = None if worchflow is None else _types(worchflow, event)
    if data is None and types is not None:
        message = {"name": event, "data": default_data(event, types[event])}
    else:
        if data is None:
            print_to_stderr("no data was given, so null is sent; --app would check it")
        message = {"name": event, "data": read_data(data)}
    out = invocation.output

    async def accept() -> dict[str, Any]:
        async with invocation.stores(worchflow, sends=True) as (client, backend):
            with _values_in_errors(message["data"], types and types[event]):
                handle = await client.send(message, **options)
            shape = {"id": handle.id, "duplicate": handle.duplicate}
            if handle.duplicate:
                print_to_stderr(
                    "there is an equal execution under this id already: this is it"
                )
            if seconds is None:
                if worchflow is None:
                    await _warn_if_unserved(event, backend)
                return shape
            print_to_stderr(f"accepted as {handle.id}, waiting for its result")
            result = await wait_for_result(client, handle.id, seconds)
            return {**shape, "status": "completed", "result": result}

    shape = run(accept())
    try:
        _print(shape, out)
    except NotWritten as error:
        raise NotWritten(f"{error}; accepted as {shape['id']}") from None
    if out.is_table and seconds is None:
        print_to_stderr(f"accepted in {invocation.location(worchflow)}")


def _print(shape: Mapping[str, Any], out: Output) -> None:
    if not out.is_table:
        out.object(shape)
    elif "result" in shape:
        out.text(json_text(shape["result"], indent=2))
    else:
        out.line(shape["id"])


@contextlib.contextmanager
def _values_in_errors(data: Any, data_type: Any) -> Generator[None]:
    try:
        yield
    except EventValidationError as error:
        if data_type is None:
            raise
        raise with_values(error, data, data_type) from None


async def _warn_if_unserved(event: str, backend: Backend) -> None:
    # It is accepted already: a store that is gone now changes nothing about that.
    with contextlib.suppress(StoreUnavailable):
        warning = unserved_warning(event, await backend.workers.seen())
        if warning is not None:
            print_to_stderr(warning, label="warning: ")


def _types(app: Worchflow[Any], event: str) -> Mapping[str, Any]:
    """The app's events with their types.

    A name that is not among them is a typing mistake more often than not.
    """
    types = app.event_types
    if event in types:
        return types
    known = f"It has: {', '.join(sorted(types))}"
    if not types:
        known = "It has none: register functions with @app.function(...)"
    raise UnknownEvent(
        f'the app "{app.name}" has no event "{event}"'
        f"{did_you_mean(event, types) or '.'} {known}. What executions "
        "wait for is told with worchflow emit; without --app any name can be sent",
        field="event",
    )
