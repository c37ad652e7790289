"""How values become JSON text and come back as the type the code names."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from pathlib import PurePath
from types import NoneType
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticSerializationError, from_json, to_json
from typing_extensions import override

from ..foundations.errors import SerializationError
from .plain_json import (
    MAX_DEPTH,
    ValueViolation,
    find_violation,
    path_part,
    too_deep,
    with_article,
)
from .type_adapters import adapter_for, schema_kinds, type_name
from .value_places import find_place, find_unwritable, shortened

if TYPE_CHECKING:
    from .type_adapters import Adapter

PLAIN_TYPES = (str, int, float, bool, NoneType)
"""A value that is exactly of one of these is the same JSON typed and untyped."""


class Serializer(Protocol):
    """Turns values into JSON text and back; subclass it to replace the default.

    Both methods are called from several threads, must not block for long, and may
    raise anything: it becomes a `SerializationError`. `type` is the type the code
    names for the value, `Any` when it names none. What comes back is compared with
    `==` to what went in; a serializer need not do that itself.
    """

    @abstractmethod
    def encode(self, value: Any, type: Any, /) -> str:
        """The value as JSON text, without NaN, Infinity and lone surrogates."""
        ...

    @abstractmethod
    def decode(self, text: str, type: Any, /) -> Any:
        """The value that `encode` was given."""
        ...


class Codec(Protocol):
    """Changes payloads as bytes on their way to the stores: encryption, compression.

    `decode(encode(data))` must be `data`, also on every other machine that reads it.
    Both are called from several threads and must not block for long. What they
    raise becomes a `SerializationError` that does not quote it.
    """

    @abstractmethod
    def encode(self, data: bytes, /) -> bytes:
        """The bytes to store instead of `data`, which is JSON text in UTF-8."""
        ...

    @abstractmethod
    def decode(self, data: bytes, /) -> bytes:
        """The bytes that `encode` was given."""
        ...


class UnserializableValue(SerializationError):
    """A value that cannot be written, with what is wrong with it."""

    def __init__(self, violation: ValueViolation) -> None:
        super().__init__(str(violation), field=violation.path)
        self.violation = violation


class JSONSerializer(Serializer):
    """The default: pydantic for values with a type, plain JSON for those without.

    `SerializationError`s say where in the value the trouble is, never its content.
    """

    @override
    def encode(self, value: Any, type: Any) -> str:
        """The value as JSON text; bytes are base64, fields go by their names."""
        if is_untyped(type) or (value.__class__ is type and type in PLAIN_TYPES):
            violation = find_violation(value)
            if violation is not None:
                raise UnserializableValue(violation)
            return to_json(value).decode()
        adapter = adapter_for(type)
        try:
            return adapter.serializer.to_json(
                value, round_trip=True, by_alias=False, warnings="error"
            ).decode()
        except Exception as error:  # noqa: BLE001  # users' serializers run in here
            violation = _explain(error, value, type, adapter)
        raise UnserializableValue(violation)

    @override
    def decode(self, text: str, type: Any) -> Any:
        """The value of a type from JSON text, which may come from elsewhere."""
        try:
            if is_untyped(type):
                return from_json(text, allow_inf_nan=False)
            return adapter_for(type).validator.validate_json(
                text, by_alias=False, by_name=True
            )
        except SerializationError:
            raise
        except ValidationError as error:
            reason = _mismatches(error)
        except ValueError as error:
            reason = f"it is not JSON ({error})"
        except Exception as error:  # noqa: BLE001  # users' validators run in here
            reason = f"its own code raised {origin(error)}"
        raise SerializationError(reason)


def is_untyped(type: Any) -> bool:
    """Whether a type says nothing, so that only plain JSON values are kept."""
    return type is Any or type is object


def origin(error: BaseException) -> str:
    """An exception's class and place, without its message: that may quote data."""
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    if place is None:
        return type(error).__name__
    file = PurePath(place.tb_frame.f_code.co_filename).name
    return f"{type(error).__name__} ({file}, line {place.tb_lineno})"


def _explain(
    error: Exception, value: Any, type: Any, adapter: Adapter
) -> ValueViolation:
    """Why a typed value was not written; pydantic itself does not say where."""
    message = str(error)
    name = type_name(type)
    if not isinstance(error, PydanticSerializationError):
        return ValueViolation(
            "$", f"was not written: its own code raised {origin(error)}"
        )
    violation = find_unwritable(value)
    if violation is None and "invalid utf-8" in message:
        violation = find_place(value, _raw_bytes)
    if violation is None:
        violation = find_place(
            value,
            lambda item: (
                f"is {with_article(item)}: its type {name} does not say how to write it"
                if f"unknown type: {item.__class__}" in message
                else None
            ),
        )
    if violation is None and ("depth exceeded" in message or "Circular" in message):
        violation = ValueViolation(
            "$", f"contains itself, or {too_deep(MAX_DEPTH)}", says_how=True
        )
    if violation is None and "Error calling function" in message:
        called = message.rpartition("Error calling function ")[2].split(":")
        violation = ValueViolation(
            "$", f"was not written: {' raised'.join(called[:2])}"
        )
    return violation or _misfit(value, name, adapter)


def _misfit(value: Any, name: str, adapter: Adapter) -> ValueViolation:
    """Where a value is not of its type."""
    try:
        adapter.validator.validate_python(value, strict=True)
    except ValidationError as error:
        first = error.errors(
            include_url=False, include_context=False, include_input=False
        )[0]
        path = "$" + "".join(map(path_part, first["loc"]))
        what = "" if first["loc"] else f"is {with_article(value)} and "
        text = f"{what}does not fit its type {name}: {first['msg']}"
        return ValueViolation(shortened(path), text)
    except Exception as error:  # noqa: BLE001  # users' validators run in here
        return ValueViolation("$", f"does not fit its type {name}: {origin(error)}")
    if "generator" in schema_kinds(adapter):
        return ValueViolation(
            "$",
            f"has the type {name}, which is read only once: name list[...] or "
            "Sequence[...] instead of Iterable or Generator",
            says_how=True,
        )
    violation = find_place(value, _misfit_of_a_model)
    if violation is not None:
        return replace(violation, says_how=True)
    return ValueViolation(
        "$", f"is {with_article(value)} and does not fit its type {name}"
    )


def _misfit_of_a_model(item: Any) -> str | None:
    """What its class says of a model whose fields were set without being checked."""
    if not isinstance(item, BaseModel):
        return None
    try:
        item.__class__.model_validate(item.__dict__, strict=True, by_name=True)
    except ValidationError as error:
        return f"does not fit its class {type(item).__name__}: {_mismatches(error)}"
    except Exception as error:  # noqa: BLE001  # users' validators run in here
        return f"does not fit its class {type(item).__name__}: {origin(error)}"
    return None


def _raw_bytes(item: Any) -> str | None:
    if not isinstance(item, bytes):
        return None
    try:
        item.decode()
    except UnicodeDecodeError:
        return (
            "is bytes that are no UTF-8, in a class whose config does not say base64: "
            'give it model_config = ConfigDict(ser_json_bytes="base64", '
            'val_json_bytes="base64")'
        )
    return None


def _mismatches(error: ValidationError) -> str:
    found = error.errors(include_url=False, include_context=False, include_input=False)
    texts = [
        f"{shortened('$' + ''.join(map(path_part, one['loc'])))}: {one['msg']}"
        for one in found[:3]
    ]
    if len(found) > 3:
        texts.append(f"and {len(found) - 3} more")
    return "; ".join(texts)
