"""Types as users hand them in: checked, and resolved where they are text."""

from __future__ import annotations

import inspect
import typing
from types import NoneType, SimpleNamespace, UnionType
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel
from typing_extensions import TypeAliasType

from ..foundations.errors import ConfigurationError
from ..foundations.limits import short

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import FrameType

PACKAGE = __name__.partition(".")[0]


def may_be_none(form: Any) -> bool:
    """Whether a type says that a value may be None; `Any` does not say so."""
    plain = unalias(form)
    if typing.get_origin(plain) in (typing.Union, UnionType):
        return any(may_be_none(each) for each in typing.get_args(plain))
    return plain is None or plain is NoneType


def check_type(value: object, field: str) -> Any:
    """The type as given, None as its class; `ConfigurationError` for a mere value."""
    if value is None:
        return type(None)
    is_named = isinstance(value, type | typing.NewType | TypeAliasType)
    if is_named or typing.get_origin(value) is not None:
        return value
    raise ConfigurationError(
        f"{field}={short(value)} is not a type: pass the type itself, "
        "such as Receipt, list[int] or int | None"
    )


def resolve(annotation: object, names: Mapping[str, Any], what: str) -> Any:
    """The type an annotation stands for, text inside it looked up in `names`.

    Raises `ConfigurationError` saying that `what` cannot be read.
    """
    try:
        return evaluated(annotation, {}, names)
    except (NameError, AttributeError, SyntaxError, TypeError) as error:
        raise ConfigurationError(
            f"{what} cannot be read from {short(annotation)} ({error}): define its "
            "types above, at module level, and import them at run time too"
        ) from error


def evaluated(
    annotation: object, module: dict[str, Any], names: Mapping[str, Any]
) -> Any:
    """The annotation with all text in it evaluated; raises whatever that raises.

    Names are looked up in `names`, then among those of the module.
    """
    holder = SimpleNamespace(__annotations__={"it": annotation})
    hints = typing.get_type_hints(holder, module, dict(names), include_extras=True)
    return hints["it"]


def substitute(annotation: Any, known: Mapping[Any, Any]) -> Any:
    """The annotation with its type variables filled in, unknown ones with `Any`."""
    if isinstance(annotation, typing.TypeVar):
        return known.get(annotation, Any)
    parameters: tuple[Any, ...] = getattr(annotation, "__parameters__", ())
    if _is_class(annotation):
        # A generic class itself is complete, but pydantic has Box[T] be Box.
        is_model = issubclass(annotation, BaseModel)
        parameters = parameters if is_model and set(parameters) & set(known) else ()
    if not parameters:
        return annotation
    return annotation[tuple(known.get(each, Any) for each in parameters)]


def _is_class(value: Any) -> bool:
    return isinstance(value, type)


def unalias(annotation: Any) -> Any:
    """The annotation without `type` aliases and `Annotated` around it."""
    while True:
        if isinstance(annotation, TypeAliasType):
            annotation = annotation.__value__
        elif typing.get_origin(annotation) is typing.Annotated:
            annotation = typing.get_args(annotation)[0]
        else:
            return annotation


def calling_frame() -> FrameType | None:
    """The innermost frame outside this library."""
    frame = inspect.currentframe()
    while frame and str(frame.f_globals.get("__name__")).split(".")[0] == PACKAGE:
        frame = frame.f_back
    return frame
