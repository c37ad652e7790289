"""The correlation key of an event: what tells a wait which event it waits for."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Mapping
from enum import Enum
from functools import cached_property
from typing import Any, TypeAlias, cast
from uuid import UUID

from ..foundations.errors import (
    ConfigurationError,
    EventValidationError,
    InvalidInput,
)
from ..foundations.json_text import json_text
from ..foundations.limits import check_name, short
from ..foundations.suggestions import did_you_mean
from .event_fields import names_of

Key: TypeAlias = str | int | UUID
Keys: TypeAlias = Key | tuple[Key, ...]
KeyNames: TypeAlias = str | tuple[str, ...]
"""A field or property of an event's data, or several."""
KeySource: TypeAlias = KeyNames | Callable[[Any], Keys]


def check_key_names(names: object, data_type: Any, what: str) -> KeyNames:
    """What an event declares as its key; `ConfigurationError` if it has no such part.

    `what` is the event, for the message.
    """
    given = _parts_of(names)
    if not given or not all(isinstance(each, str) for each in given):
        raise ConfigurationError(
            f"{what}: key={short(names)} must name a field or a property, or be a "
            "tuple of such names"
        )
    known = names_of(data_type)
    for each in map(str, given):
        if known is None or each in known or _is_property(data_type, each):
            continue
        hint = did_you_mean(each, known) or ";"
        raise ConfigurationError(
            f'{what}: key="{each}" is neither a field nor a property of '
            f"{getattr(data_type, '__name__', data_type)}{hint} its fields are: "
            f"{', '.join(sorted(known)) or 'none'}"
        )
    return cast("KeyNames", names)


def names_in(source: KeySource) -> tuple[str, ...]:
    """The names in a key's source; none for a function."""
    if callable(source):
        return ()
    return (source,) if isinstance(source, str) else source


def key_of(source: KeySource, data: object, event_name: str) -> str:
    """The key of an event's data, as text.

    Raises `EventValidationError` where a part of it is missing, None, or no key.
    """
    if callable(source):
        what = f"{getattr(source, '__name__', 'a function')}(data)"
        try:
            value: Any = source(data)
        except Exception as error:
            raise EventValidationError(
                f'the key of event "{event_name}" cannot be told: {what} raised '
                f"{type(error).__name__}: {error}",
                field="key",
            ) from error
    else:
        names = names_in(source)
        what = ", ".join(names)
        parts = tuple(_part(data, each, event_name) for each in names)
        value = parts if isinstance(source, tuple) else parts[0]
    try:
        return key_text(value)
    except InvalidInput as error:
        raise EventValidationError(
            f'the key of event "{event_name}", {what}, is none: {error.message}',
            field="key",
        ) from None


def key_text(value: object, field: str = "key") -> str:
    """A key as the text that is compared: 5, "5" and a UUID's text are themselves.

    A tuple becomes a JSON array of such texts. `InvalidInput` for anything else, and
    for more than 200 characters.
    """
    if not isinstance(value, tuple):
        return check_name(_text(value, field), field)
    parts = _parts_of(cast("object", value))
    if not parts:
        raise InvalidInput(f"{field}=() has no parts", field=field)
    texts = [check_name(_text(each, field), field) for each in parts]
    return check_name(json_text(texts), field)


def _parts_of(value: object) -> tuple[object, ...]:
    """A tuple as it is, anything else as the only part of one."""
    if isinstance(value, tuple):
        return cast("tuple[object, ...]", value)
    return (value,)


def _text(value: object, field: str) -> str:
    if isinstance(value, Enum):
        value = cast("object", value.value)
    if isinstance(value, bool) or not isinstance(value, str | int | UUID):
        raise InvalidInput(
            f"{field}={short(value)} must be a str, an int, a UUID or a tuple of these",
            field=field,
        )
    return str(value)


def _part(data: object, name: str, event_name: str) -> object:
    try:
        value: object = (
            cast("Mapping[str, object]", data)[name]
            if isinstance(data, Mapping)
            else getattr(data, name)
        )
    except (KeyError, AttributeError):
        raise EventValidationError(
            f'the event "{event_name}" has the key "{name}", and its data has no such '
            "field",
            field="key",
        ) from None
    if value is None:
        raise EventValidationError(
            f'the event "{event_name}" has the key "{name}", which is None here: an '
            "event that has a key always needs one",
            field="key",
        )
    return value


def _is_property(data_type: Any, name: str) -> bool:
    member = inspect.getattr_static(data_type, name, None)
    return isinstance(member, property | cached_property | types.MemberDescriptorType)
