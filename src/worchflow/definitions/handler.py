"""What a handler's signature says, checked when it is bound to an event."""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections import ChainMap
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typing_extensions

from ..foundations.errors import ConfigurationError
from ..serialization.type_adapters import type_name
from ..serialization.type_fit import fits
from ..serialization.type_forms import calling_frame, resolve, unalias
from .context import BaseContext, Context, SyncContext

if TYPE_CHECKING:
    from collections.abc import Mapping

    from typing_extensions import TypeIs

CONTEXTS = {Context: "Context", SyncContext: "SyncContext"}
LAYERS: tuple[tuple[type, str], ...] = (
    (functools.partial, "func"),
    (types.MethodType, "__func__"),
    (object, "__wrapped__"),
)
"""What a handler can be wrapped in, and where the inner one is."""


@dataclass(frozen=True, slots=True)
class Handler:
    """A checked handler and where the names in its annotations are looked up."""

    function: Callable[[Any], Any]
    where: str
    """How messages name it."""
    context: Any
    """The annotation of its parameter, `inspect.Parameter.empty` without one."""
    returns: Any
    names: Mapping[str, Any]

    def data_type(self) -> Any:
        """What its `Context[…]` names; `Any` for a handler that names nothing.

        Raises `ConfigurationError` when the annotation cannot be read.
        """
        if self.context is inspect.Parameter.empty:
            return Any
        what = f"the parameter of {self.where}"
        arguments = typing.get_args(unalias(resolve(self.context, self.names, what)))
        return arguments[0] if arguments and self.context_class() else Any

    def result_type(self) -> Any:
        """What its return annotation names, `Any` without one.

        Raises `ConfigurationError` when the annotation cannot be read.
        """
        if self.returns is inspect.Signature.empty:
            return Any
        returned = resolve(self.returns, self.names, f"the result of {self.where}")
        if not _is_awaitable(returned):
            return returned
        arguments = typing.get_args(returned)
        return arguments[-1] if arguments else Any

    def check_data(self, event: str, data_type: Any) -> None:
        """Refuse a context of another event's data.

        Raises `ConfigurationError`; an annotation that cannot be read says nothing.
        """
        named = _as_far_as_known(self.data_type)
        if not fits(data_type, named):
            raise ConfigurationError(
                f'{self.where} is bound to the event "{event}" with '
                f"{_spelled(data_type)} as its data, but takes a context of "
                f"{_spelled(named)}: annotate its parameter as "
                f"Context[{_spelled(data_type)}], or bind it to the event it is for"
            )

    def check_result(self, event: str, wanted: Any) -> None:
        """Refuse a result that the event does not have.

        Raises `ConfigurationError`; an annotation that cannot be read says nothing.
        """
        returned = _as_far_as_known(self.result_type)
        if not fits(returned, wanted):
            raise ConfigurationError(
                f"{self.where} returns {_spelled(returned)}, but the result of the "
                f'event "{event}" is {_spelled(wanted)}: let both name the same type'
            )

    def context_class(self) -> type[BaseContext[Any]] | None:
        """`Context` or `SyncContext`, as far as the annotation tells."""
        if self.context is inspect.Parameter.empty:
            return None
        try:
            annotation = unalias(resolve(self.context, self.names, ""))
        except ConfigurationError:
            return _context_named(self.context)
        kind = typing.get_origin(annotation) or annotation
        if kind in CONTEXTS:
            return Context if kind is Context else SyncContext
        if _is_data_class(kind):
            raise ConfigurationError(
                f"{self.where} takes a {kind.__name__}, but a handler gets a context: "
                f"annotate its parameter as Context[{kind.__name__}] and read ctx.data"
            )
        return None

    def is_async(self) -> bool:
        """Whether calling it gives an awaitable.

        Raises `ConfigurationError` where its context says otherwise.
        """
        direct = _is_coroutine_function(self.function)
        context = self.context_class()
        if context is SyncContext:
            if direct:
                raise ConfigurationError(
                    f"{self.where} is an async def with a SyncContext: "
                    "annotate its parameter as Context[…], or make it a plain def"
                )
            return False
        if direct or _is_coroutine_function(_innermost(self.function)):
            return True
        if context is Context and not self._returns_awaitable():
            raise ConfigurationError(
                f"{self.where} is a plain def with a Context: make it an async def, "
                "or annotate its parameter as SyncContext[…]"
            )
        return context is Context

    def _returns_awaitable(self) -> bool:
        try:
            return _is_awaitable(resolve(self.returns, self.names, ""))
        except ConfigurationError:
            return False


def read_handler(handler: object) -> Handler:
    """Check that this can be a handler, and read its signature.

    Raises `ConfigurationError` for what is not a function of one positional argument,
    and for a generator function.
    """
    where = _name(handler)
    if not callable(handler) or isinstance(handler, type):
        raise ConfigurationError(
            f"{where} is not a handler: it must be a function of one argument, "
            "the context"
        )
    inner = _innermost(handler)
    if inspect.isgeneratorfunction(inner) or inspect.isasyncgenfunction(inner):
        raise ConfigurationError(
            f"{where} is a generator function: return the result instead of yielding"
        )
    try:
        signature = inspect.signature(handler)
    except ValueError:  # some built-in functions tell nothing
        signature = inspect.Signature(
            [inspect.Parameter("ctx", inspect.Parameter.VAR_POSITIONAL)]
        )
    try:
        context = next(iter(signature.bind(None).arguments))
    except TypeError as error:
        raise ConfigurationError(
            f"{where}{_without_types(signature)} must take exactly one positional "
            f"argument, the context ({error})"
        ) from None
    return Handler(
        function=handler,
        where=where,
        context=signature.parameters[context].annotation,
        returns=signature.return_annotation,
        names=_names(inner),
    )


def _name(handler: object) -> str:
    inner = _innermost(handler)
    name = getattr(inner, "__qualname__", None)
    if name is None:
        return f"an object of type {type(inner).__name__}"
    return f"{getattr(inner, '__module__', '')}.{name}".lstrip(".")


def _innermost(handler: Any) -> Any:
    """The user's own function inside partials, methods, wrappers and objects."""
    for kind, attribute in LAYERS:
        if isinstance(handler, kind) and hasattr(handler, attribute):
            return _innermost(getattr(handler, attribute))
    call = type(handler).__call__
    return call if isinstance(call, types.FunctionType) else handler


def _spelled(annotation: Any) -> str:
    return "None" if annotation is types.NoneType else type_name(annotation)


def _as_far_as_known(find: Callable[[], Any]) -> Any:
    try:
        return find()
    except ConfigurationError:
        return Any


def _is_coroutine_function(function: Any) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        type(function).__call__
    )


def _is_awaitable(annotation: object) -> bool:
    return (typing.get_origin(annotation) or annotation) in (Awaitable, Coroutine)


def _without_types(signature: inspect.Signature) -> str:
    parameters = [
        each.replace(annotation=inspect.Parameter.empty)
        for each in signature.parameters.values()
    ]
    return str(inspect.Signature(parameters))


def _context_named(annotation: object) -> type[BaseContext[Any]] | None:
    """Which context an annotation means that cannot be evaluated yet."""
    text = str(annotation).partition("[")[0].rpartition(".")[2]
    return next((kind for kind, name in CONTEXTS.items() if name == text), None)


def _is_data_class(kind: object) -> TypeIs[type]:
    """Whether no context can be an instance of this class."""
    return (
        isinstance(kind, type)
        and kind is not Any
        and not typing_extensions.is_protocol(kind)
        and not issubclass(kind, BaseContext)
        and not issubclass(BaseContext, kind)
    )


def _names(function: object) -> Mapping[str, Any]:
    """The names in scope where a function was defined, innermost first."""
    module: dict[str, Any] = getattr(function, "__globals__", {})
    scopes: list[dict[str, Any]] = [module]
    frame = calling_frame()
    if frame is not None and frame.f_globals is module:
        scopes.insert(0, dict(frame.f_locals))
    if isinstance(function, types.FunctionType) and function.__closure__:
        scopes.insert(0, dict(_closure(function)))
    return ChainMap(*scopes)


def _closure(function: types.FunctionType) -> typing.Iterator[tuple[str, Any]]:
    for name, cell in zip(
        function.__code__.co_freevars, function.__closure__ or (), strict=True
    ):
        try:
            yield name, cell.cell_contents
        except ValueError:  # not assigned yet
            continue
