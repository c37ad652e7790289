"""The type that a callable says it returns."""

from __future__ import annotations

import asyncio
import functools
import types
import typing
from collections.abc import Awaitable, Callable, Coroutine
from enum import Enum
from typing import Any, Final
from weakref import WeakKeyDictionary

from ..foundations.errors import SerializationError
from ..foundations.limits import short
from .type_forms import evaluated

__all__ = ["MISSING", "Missing", "return_type"]


class Missing(Enum):
    """The type of `MISSING`: the callable does not say what it returns."""

    MISSING = "missing"


MISSING: Final = Missing.MISSING

MAX_WRAPPERS = 100
"""Layers of decorators and partials to look through; a cycle ends here."""

# What an awaitable gives, by the place of that type among its arguments.
_AWAITABLES: dict[object, int] = {
    Awaitable: 0,
    Coroutine: 2,
    asyncio.Future: 0,
    asyncio.Task: 0,
}
_SELF: object = vars(typing)["Self"]
_resolved: WeakKeyDictionary[types.FunctionType, Any] = WeakKeyDictionary()


def return_type(function: Callable[..., Any], /) -> Any:
    """What a call gives, awaited if need be; `MISSING` if the callable does not say.

    A class gives itself. Partials, methods, callable objects and decorators that use
    `functools.wraps` are looked through. Raises `SerializationError` when the
    annotation is text that cannot be resolved.
    """
    found: Any = function
    if type(function) is not types.FunctionType or "__wrapped__" in function.__dict__:
        if typing.get_origin(function) is not None:  # list[int] is called as list is
            return function
        found = _function_or_class(function)
    if not isinstance(found, types.FunctionType):
        return found
    annotation = _given(found)
    if annotation is None or annotation is MISSING:
        return types.NoneType if annotation is None else MISSING
    # Most annotations are plain classes and need no cache.
    if not isinstance(annotation, type) or annotation in _AWAITABLES:
        annotation = _read(found, annotation)
    return _owner(function) if annotation is _SELF else annotation


def _function_or_class(function: Any) -> Any:
    """What a call ends in and has annotations, else `MISSING`."""
    for _ in range(MAX_WRAPPERS):
        if isinstance(function, type):
            return function
        wrapped = getattr(function, "__dict__", {}).get("__wrapped__")
        if isinstance(function, types.FunctionType) and (
            wrapped is None or _given(function) is not MISSING
        ):
            return function
        if isinstance(function, functools.partial):
            function = function.func
        elif isinstance(function, types.MethodType | staticmethod):
            function = function.__func__
        elif wrapped is not None:
            function = wrapped
        else:
            function = type(function).__call__
            if isinstance(function, types.WrapperDescriptorType):  # built in
                return MISSING
    return MISSING


def _given(function: types.FunctionType) -> Any:
    try:
        return function.__annotations__.get("return", MISSING)
    except NameError as error:  # Python 3.14 evaluates annotations on access
        raise _unresolved("return annotation", function, error) from None


def _read(function: types.FunctionType, annotation: Any) -> Any:
    try:
        return _resolved[function]
    except KeyError:
        pass
    source = _innermost(function)
    found = _awaited(_resolve(source, annotation))
    # A closure is made anew for every call around it, and may be part of the very
    # type it names: neither belongs in a cache.
    if source.__closure__ is None:
        _resolved[function] = found
    return found


def _innermost(function: types.FunctionType) -> types.FunctionType:
    """The function that a decorated one takes its annotations from."""
    for _ in range(MAX_WRAPPERS):
        wrapped = function.__dict__.get("__wrapped__")
        if not isinstance(wrapped, types.FunctionType):
            break
        function = wrapped
    return function


def _resolve(function: types.FunctionType, annotation: Any) -> Any:
    """The annotation with all text in it resolved where the function was written."""
    names = {
        **{each.__name__: each for each in getattr(function, "__type_params__", ())},
        **_closure(function),
    }
    try:
        return evaluated(annotation, function.__globals__, names)
    except Exception as error:  # noqa: BLE001  # the text may be any expression
        raise _unresolved(short(annotation), function, error) from None


def _closure(function: types.FunctionType) -> dict[str, Any]:
    found: dict[str, Any] = {}
    cells = function.__closure__ or ()
    for name, cell in zip(function.__code__.co_freevars, cells, strict=True):
        try:
            found[name] = cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    return found


def _awaited(annotation: Any) -> Any:
    """What an await of the annotated value gives; `MISSING` for a type variable."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    for awaitable, place in _AWAITABLES.items():
        if annotation is awaitable:
            return MISSING
        if origin is awaitable:
            return _awaited(arguments[place])
    if origin is typing.Union or origin is types.UnionType:
        members = tuple(_awaited(argument) for argument in arguments)
        return MISSING if MISSING in members else typing.Union[members]  # noqa: UP007
    return MISSING if isinstance(annotation, typing.TypeVar) else annotation


def _owner(function: Any) -> Any:
    """The class that `Self` stands for in the annotation of a method."""
    while isinstance(function, functools.partial):
        function = function.func
    if isinstance(function, types.FunctionType):
        return MISSING
    owner = getattr(function, "__self__", function)
    return owner if isinstance(owner, type) else type(owner)


def _unresolved(
    what: str, function: types.FunctionType, error: Exception
) -> SerializationError:
    return SerializationError(
        f"what {function.__module__}.{function.__qualname__} returns cannot be read "
        f"from {what} ({error}): import what it names at run time too and define it at "
        "module level, or pass step.options(as_type=...)"
    )
