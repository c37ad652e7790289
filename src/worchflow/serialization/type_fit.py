"""Whether a value of one type can be one of another, as far as types tell."""

from __future__ import annotations

import types
import typing
from typing import Any, TypeAlias

from typing_extensions import is_protocol, is_typeddict

from .type_forms import unalias

__all__ = ["fits"]

Parts: TypeAlias = tuple[Any, tuple[Any, ...]]

_PROMOTED: dict[Any, tuple[type, ...]] = {float: (int,), complex: (int, float)}
"""What type checkers take for a number, although it is not a subclass."""
_NOTHING = (typing.Never, typing.NoReturn)


def fits(given: Any, wanted: Any) -> bool:
    """False only if no type checker could let `given` stand for `wanted`.

    In doubt it is True: for `Any`, type variables, protocols, and forms not known
    here.
    """
    given, wanted = _plain(given), _plain(wanted)
    if given in _NOTHING or wanted is object:
        return True
    if _is_union(given):
        return all(fits(member, wanted) for member in typing.get_args(given))
    if typing.get_origin(given) is typing.Literal:
        return _literals_fit(typing.get_args(given), wanted)
    if _is_union(wanted):
        return any(fits(given, member) for member in typing.get_args(wanted))
    if typing.get_origin(wanted) is typing.Literal:
        return fits(given, typing.Union[tuple(map(type, typing.get_args(wanted)))])  # noqa: UP007
    return _parts_fit(_parts(given), _parts(wanted))


def _plain(annotation: Any) -> Any:
    """The annotation without what is around it; None as its class."""
    annotation = unalias(annotation)
    if isinstance(annotation, typing.NewType):
        return _plain(annotation.__supertype__)
    return types.NoneType if annotation is None else annotation


def _is_union(annotation: Any) -> bool:
    return typing.get_origin(annotation) in (typing.Union, types.UnionType)


def _literals_fit(values: tuple[object, ...], wanted: Any) -> bool:
    if _is_union(wanted):
        members = typing.get_args(wanted)
        return all(
            any(_literals_fit((value,), member) for member in members)
            for value in values
        )
    if typing.get_origin(wanted) is typing.Literal:
        return set(values) <= set(typing.get_args(wanted))
    return all(fits(type(value), wanted) for value in values)


def _parts(annotation: Any) -> Parts:
    """A class and its type arguments, for pydantic's generic models too."""
    metadata: Any = getattr(annotation, "__pydantic_generic_metadata__", None)
    if metadata and metadata["origin"] is not None:
        return metadata["origin"], metadata["args"]
    origin = typing.get_origin(annotation)
    if origin is not None:
        return origin, typing.get_args(annotation)
    return annotation, ()


def _parts_fit(given: Parts, wanted: Parts) -> bool:
    kind, arguments = given
    other, others = wanted
    if not _is_known_class(kind) or not _is_known_class(other):
        return True
    if kind is not other:
        return _class_fits(kind, other)
    if not arguments or not others or ... in (*arguments, *others):
        return True
    if len(arguments) != len(others):
        return kind is not tuple
    return all(map(fits, arguments, others))


def _is_known_class(kind: Any) -> bool:
    return isinstance(kind, type) and kind is not Any and not is_protocol(kind)


def _class_fits(given: type, wanted: type) -> bool:
    if is_typeddict(given) and is_typeddict(wanted):
        return _keys(wanted, "required") <= (
            _keys(given, "required") | _keys(given, "optional")
        )
    # A TypedDict is a plain dict at run time.
    given, wanted = (dict if is_typeddict(each) else each for each in (given, wanted))
    if Any in given.__mro__:
        return True
    try:
        return issubclass(given, (wanted, *_PROMOTED.get(wanted, ())))
    except TypeError:  # a metaclass that cannot answer
        return True


def _keys(kind: type, which: str) -> frozenset[str]:
    keys: frozenset[str] = getattr(kind, f"__{which}_keys__")
    return keys
