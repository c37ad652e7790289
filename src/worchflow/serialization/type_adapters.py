"""One pydantic adapter per type, configured so that values survive JSON unchanged."""

from __future__ import annotations

import dataclasses
import sys
import types
import typing
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, cast

import typing_extensions
from pydantic import ConfigDict, TypeAdapter
from pydantic.errors import PydanticSchemaGenerationError, PydanticUndefinedAnnotation

from ..foundations.errors import SerializationError
from ..foundations.limits import short

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Adapter: TypeAlias = TypeAdapter[Any]

EXACT = ConfigDict(
    ser_json_bytes="base64", val_json_bytes="base64", ser_json_inf_nan="constants"
)
"""Bytes need not be UTF-8; NaN stays visible in the text, where it is refused."""

MAX_CACHED_TYPES = 512

new_type: Any = typing.NewType


def adapter_for(annotation: Any) -> Adapter:
    """The adapter of a type, from a bounded cache.

    Raises `SerializationError` for what is not a type, or none that JSON can hold.
    """
    try:
        built_for, adapter = _cached(annotation, "")
    except TypeError:  # unhashable, such as Annotated[int, ["metadata"]]
        return _build(annotation)
    # `A | B == B | A`, but when decoding the first member that fits wins.
    if built_for is annotation or repr(built_for) == repr(annotation):
        return adapter
    return _cached(annotation, repr(annotation))[1]


@lru_cache(maxsize=MAX_CACHED_TYPES)
def schema_kinds(adapter: Adapter) -> frozenset[str]:
    """The kinds of pydantic schema that a type is made of, such as `int` or `model`."""
    kinds = (part.get("type") for part in _schema_parts(adapter))
    return frozenset(kind for kind in kinds if isinstance(kind, str))


@lru_cache(maxsize=MAX_CACHED_TYPES)
def has_uncompared_fields(adapter: Adapter) -> bool:
    """Whether dataclasses in a type have fields that `==` may not look at."""
    classes = {
        part["cls"]
        for part in _schema_parts(adapter)
        if part.get("type") == "dataclass"
    }
    return any(map(uncompared_fields, classes))


def uncompared_fields(kind: type) -> list[str]:
    """The fields of a dataclass that `==` ignores, or that reading does not set."""
    return [
        field.name
        for field in dataclasses.fields(kind)
        if not (field.compare and field.init)
    ]


def _schema_parts(adapter: Adapter) -> Iterator[dict[str, Any]]:
    """Every mapping in the schema that pydantic has made of a type."""
    waiting: list[Any] = [adapter.core_schema]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            inside = cast("dict[str, Any]", part)
            yield inside
            waiting.extend(item for key, item in inside.items() if key != "metadata")
        elif isinstance(part, list | tuple):
            waiting.extend(cast("Iterable[Any]", part))


def type_name(annotation: Any) -> str:
    """A type as users write it, short enough for an error message."""
    if isinstance(annotation, type):
        return annotation.__qualname__.rpartition("<locals>.")[2][-80:]
    return short(annotation).replace("typing.", "")


@lru_cache(maxsize=MAX_CACHED_TYPES)
def _cached(annotation: Any, _order: str) -> tuple[Any, Adapter]:
    return annotation, _build(annotation)


def _build(annotation: Any) -> Adapter:
    try:
        # Classes with a config of their own refuse one from here; a NewType has none.
        wrapped: Any = new_type("Value", _portable(annotation, {}))
        adapter: Adapter = TypeAdapter(wrapped, config=EXACT)
        adapter.rebuild()
    except (NameError, PydanticUndefinedAnnotation) as error:
        problem = (
            f"cannot be resolved ({str(error).splitlines()[0]}): import what it names "
            "at run time too, before its first use, or pass the finished type as "
            "as_type="
        )
    except PydanticSchemaGenerationError:
        problem = (
            "is none whose values can be kept as JSON: use a pydantic model, a "
            "dataclass, a TypedDict or built-in types (a list instead of an iterator), "
            "or give the class a __get_pydantic_core_schema__"
        )
    except Exception as error:  # noqa: BLE001  # hooks of a class may raise anything
        problem = f"cannot be used: {str(error).splitlines()[0]}"
    else:
        return adapter
    raise SerializationError(f"the type {type_name(annotation)} {problem}")


def _portable(annotation: Any, seen: dict[Any, Any]) -> Any:
    """The type with every `typing.TypedDict` in it made one that pydantic takes.

    Before Python 3.12 those do not tell pydantic enough about their keys.
    """
    if isinstance(annotation, str | typing.ForwardRef):
        raise NameError(f"{annotation!r} is text, not a type")  # noqa: TRY004
    if sys.version_info >= (3, 12):
        return annotation
    if _is_typing_typeddict(annotation):
        return seen.get(annotation) or _portable_typeddict(annotation, seen)
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if not arguments or origin is typing.Literal:
        return annotation
    inside = arguments[:1] if origin is Annotated else arguments
    new: Any = tuple(_portable(argument, seen) for argument in inside)
    if all(a is b for a, b in zip(new, inside, strict=True)):
        return annotation
    form: Any = typing.Union if origin is types.UnionType else origin
    return form[(*new, *arguments[len(inside) :])]


def _portable_typeddict(annotation: Any, seen: dict[Any, Any]) -> Any:
    make: Any = typing_extensions.TypedDict
    # Entered before it has fields, for they may name it again.
    new = seen[annotation] = make(annotation.__name__, {})
    required: set[str] = set()
    hints = typing.get_type_hints(annotation, include_extras=True)
    for key, hint in hints.items():
        # In a module of string annotations, __required_keys__ misses the marks.
        mark = typing.get_origin(hint)
        marked = mark in (typing.Required, typing.NotRequired)
        if mark is typing.Required or (
            not marked and key in annotation.__required_keys__
        ):
            required.add(key)
        field = typing.get_args(hint)[0] if marked else hint
        new.__annotations__[key] = _portable(field, seen)
    new.__required_keys__ = frozenset(required)
    new.__optional_keys__ = frozenset(hints) - required
    new.__module__, new.__qualname__ = annotation.__module__, annotation.__qualname__
    if hasattr(annotation, "__pydantic_config__"):
        new.__pydantic_config__ = annotation.__pydantic_config__
    return new


def _is_typing_typeddict(annotation: Any) -> bool:
    return (
        typing.is_typeddict(annotation)
        and type(annotation).__module__ == typing.__name__
    )
