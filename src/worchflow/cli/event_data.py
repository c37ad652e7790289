"""An event's data on the command line: what is left out, and what is wrong with it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer
from pydantic import ValidationError

from ..definitions.event_fields import refuse_unknown_keys, required_keys
from ..foundations.errors import EventValidationError
from ..serialization.plain_json import path_part
from ..serialization.type_adapters import adapter_for
from .output import json_text

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

DataOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "-d",
        "--data",
        metavar="JSON|@FILE|-",
        help="The event's data: JSON, a file with it, or - for stdin.",
        show_default="{} if no field is required, else null",
    ),
]
MAX_NAMED = 5
"""Mistakes that are told at once."""
MAX_VALUE_LENGTH = 80


def default_data(event: str, data_type: Any) -> dict[str, Any] | None:
    """The data of an event for which none was given.

    `EventValidationError` where it has to have some, with the fields that it needs.
    """
    required = required_keys(data_type)
    if required:
        example = json_text(dict.fromkeys(required, "…"))
        raise EventValidationError(
            f'the event "{event}" needs data with the field'
            f"{'s' if len(required) > 1 else ''} {', '.join(required)}: "
            f"give it with -d '{example}'",
            field="data",
        )
    if required is not None:
        return {}
    try:
        adapter_for(data_type).validator.validate_python(None)
    except ValidationError:
        raise EventValidationError(
            f'the event "{event}" needs data: give it with -d, as JSON', field="data"
        ) from None
    return None


def with_values(
    error: EventValidationError, data: Any, data_type: Any
) -> EventValidationError:
    """The error with the values that do not fit, which the library keeps to itself.

    Who typed them may see them.
    """
    try:
        refuse_unknown_keys("", data_type, data)
        adapter_for(data_type).validator.validate_json(
            json.dumps(data), by_alias=False, by_name=True
        )
    except EventValidationError:  # it says so already
        return error
    except ValidationError as found:
        mistakes = found.errors(include_url=False, include_context=False)
    else:
        return error
    told = "; ".join(_mistake(one) for one in mistakes[:MAX_NAMED])
    more = (
        f"; and {len(mistakes) - MAX_NAMED} more" if len(mistakes) > MAX_NAMED else ""
    )
    return EventValidationError(f"--data does not fit: {told}{more}", field="data")


def _mistake(one: ErrorDetails) -> str:
    text = f"${''.join(map(path_part, one['loc']))}: {one['msg']}"
    if one["type"] == "missing":
        return text
    value = json_text(one["input"])
    if len(value) > MAX_VALUE_LENGTH:
        value = f"{value[: MAX_VALUE_LENGTH - 1]}…"
    return f"{text}; it is {value}"
