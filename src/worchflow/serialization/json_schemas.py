"""JSON Schemas of types, and whether a value fits one."""

from __future__ import annotations

import asyncio
import re
from datetime import date, datetime, time, timedelta
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any
from uuid import UUID

from pydantic_core import from_json

from ..foundations.errors import ConfigurationError, SerializationError
from ..foundations.json_text import json_text
from .plain_json import path_part, shape
from .type_adapters import adapter_for, type_name
from .value_places import shortened

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_SCHEMA_BYTES = 64 * 1024
MAX_RULE = 80
"""Characters of a schema's rule in a message."""
ANYTHING = "{}"
"""The schema that every value fits."""
FORMATS: dict[str, Any] = {
    "date": date,
    "date-time": datetime,
    "time": time,
    "duration": timedelta,
    "uuid": UUID,
}
"""Formats of text, and the types that read it as whoever gets the value does."""


def schema_of(data_type: Any, *, closed: bool = False) -> str:
    """The JSON Schema of a type, as text.

    `closed`: an object has no fields but those of the type; what is inside it may.
    Raises `ConfigurationError` for a type that has none, or one above 64 KiB.
    """
    name = type_name(data_type)
    try:
        schema = adapter_for(data_type).json_schema(by_alias=False)
    except SerializationError as error:
        raise ConfigurationError(error.message) from error
    except Exception as error:  # users' hooks run in here
        raise ConfigurationError(
            f"the type {name} has no JSON Schema ({str(error).splitlines()[0]}): use a "
            "pydantic model, a dataclass, a TypedDict or built-in types, or give the "
            "class a __get_pydantic_json_schema__"
        ) from error
    if closed and "properties" in schema:
        schema.setdefault("additionalProperties", False)
    text = json_text(schema)
    if (size := len(text.encode())) > MAX_SCHEMA_BYTES:
        raise ConfigurationError(
            f"the JSON Schema of the type {name} has {size:,} bytes, and at most "
            f"{MAX_SCHEMA_BYTES:,} are stored: name a smaller type"
        )
    return text


async def ready() -> None:
    """Have what `find_misfit` needs imported, which reads files, by a thread."""
    if not _check.cache_info().currsize:
        await asyncio.to_thread(_check)


def find_misfit(value: Any, schema: str) -> str | None:
    """Where and why a plain JSON value does not fit a schema; never its content."""
    error = _check()(value, from_json(schema))
    if error is None:
        return None
    path = shortened("$" + "".join(map(path_part, error.absolute_path)))
    if error.validator == "required":
        missing = [each for each in error.validator_value if each not in error.instance]
        return f"{path} lacks {', '.join(missing)}"
    if error.validator == "additionalProperties":
        known = ", ".join(error.schema.get("properties", ())) or "none"
        return f"{path} has a field that is not known; there are: {known}"
    what, rule = shape(json_text(error.instance)), json_text(error.validator_value)
    return f"{path} is {what}, and has to be of {error.validator} {rule[:MAX_RULE]}"


@cache
def _check() -> Callable[[Any, Any], Any]:
    """Finds the most telling error of a value under a schema, if there is one."""
    # Only who completes tokens needs these, and they take a while.
    jsonschema: Any = import_module("jsonschema")
    registry = import_module("referencing").Registry()
    plain = jsonschema.Draft202012Validator
    known = plain.VALIDATORS["pattern"]

    def pattern(validator: Any, regex: Any, instance: Any, schema: Any) -> Any:
        # Pydantic's regular expressions are not all Python's.
        try:
            re.compile(regex)
        except re.error:
            return
        yield from known(validator, regex, instance, schema)

    make = jsonschema.validators.extend(plain, {"pattern": pattern})
    formats = jsonschema.FormatChecker(formats=())
    for name, data_type in FORMATS.items():
        formats.checks(name, raises=ValueError)(_reader(data_type))

    def check(value: Any, schema: Any) -> Any:
        # References within a schema only: by itself jsonschema would fetch others.
        validator = make(schema, format_checker=formats, registry=registry)
        return jsonschema.exceptions.best_match(validator.iter_errors(value))

    return check


def _reader(data_type: Any) -> Any:
    validator = adapter_for(data_type).validator

    def reads(text: object) -> bool:
        if isinstance(text, str):
            validator.validate_python(text)  # A ValueError if it cannot.
        return True

    return reads
