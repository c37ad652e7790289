"""`worchflow emit`: tells whoever waits for an event, and starts nothing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import ValidationError

from ...definitions.event_fields import refuse_unknown_keys
from ...definitions.events import as_ref, event_classes
from ...foundations.errors import ConfigurationError, EventValidationError
from ...foundations.suggestions import did_you_mean
from ...serialization.type_adapters import adapter_for
from ..event_data import DataOption, default_data, with_values
from ..invocation import AppOption, Invocation, OutputOption, run
from ..output import print_to_stderr
from ..parsing import read_data

if TYPE_CHECKING:
    from ...app import Worchflow


def emit(
    context: typer.Context,
    event: Annotated[str, typer.Argument(help="The event's name.")],
    *,
    data: DataOption = None,
    key: Annotated[
        str | None,
        typer.Option(
            help="Its key, where the event's type does not say what of the data it is."
        ),
    ] = None,
    id: Annotated[
        str | None,
        typer.Option(
            "--id",
            metavar="KEY",
            help="The event's id: emitting it again delivers the same event.",
            show_default="random",
        ),
    ] = None,
    app: AppOption = None,
    output: OutputOption = None,
) -> None:
    """Emit an event to the executions that wait for it; it starts none.

    Prints the event's id. With an app the data is checked against the event's type,
    which also says what its key is; without one it goes to the stores of the
    environment as it is.
    """
    invocation = Invocation.of(context, app=app, output=output)
    worchflow = invocation.load_app()
    message = _message(worchflow, event, data, key)
    out = invocation.output

    async def accept() -> str:
        async with invocation.client(worchflow, sends=True) as client:
            return await client.emit(message, id=id, key=key)

    event_id = run(accept())
    if out.is_table:
        out.line(event_id)
        print_to_stderr(f"accepted in {invocation.location(worchflow)}")
    else:
        out.object({"id": event_id})


def _message(
    app: Worchflow[Any] | None, event: str, data: str | None, key: str | None
) -> Any:
    """The message, of the event's type where that is known."""
    if app is None:
        if key is None:
            print_to_stderr(
                f'without --app and --key the event has no key: a wait for "{event}" '
                "with a key is not ended by it"
            )
        if data is None:
            print_to_stderr("no data was given, so null is sent; --app would check it")
        return {"name": event, "data": read_data(data)}
    types, classes = app.event_types, event_classes()
    found = classes.get(event, [])
    if len(found) > 1:
        names = ", ".join(each.__qualname__ for each in found)
        raise ConfigurationError(
            f'the event "{event}" has several classes, {names}: give each its own name'
        )
    data_type = found[0] if found else types.get(event)
    if data is None and data_type is not None:
        value: Any = default_data(event, data_type)
    else:
        value = read_data(data)
    if not found:
        if data_type is None:
            hint = did_you_mean(event, {*types, *classes}) or ";"
            print_to_stderr(
                f'the app has no type for the event "{event}"{hint} it is sent as it is'
            )
        return {"name": event, "data": value}
    return as_ref(found[0])(_checked(event, found[0], value))


def _checked(event: str, data_type: Any, value: Any) -> Any:
    try:
        refuse_unknown_keys(event, data_type, value)
        return adapter_for(data_type).validator.validate_json(
            json.dumps(value), by_alias=False, by_name=True
        )
    except ValidationError:
        unfit = EventValidationError("--data does not fit", field="data")
        raise with_values(unfit, value, data_type) from None
