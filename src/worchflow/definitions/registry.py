"""The functions of an application or a worker, by event and by id."""

from __future__ import annotations

from collections.abc import Iterable
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ..foundations.errors import ConfigurationError, FunctionAlreadyRegistered
from ..foundations.suggestions import did_you_mean
from .function import WorchflowFunction

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from typing_extensions import TypeIs

    from .function import AnyFunction


class FunctionRegistry:
    """Functions with one id and one event each.

    Functions given at once have to be ready to run: `ConfigurationError` for a
    result type that names nothing.
    """

    def __init__(self, functions: Iterable[AnyFunction] = ()) -> None:
        self._by_event: dict[str, WorchflowFunction[Any, Any]] = {}
        self._by_id: dict[str, WorchflowFunction[Any, Any]] = {}
        self._events: dict[str, str] = {}
        if not isinstance(functions, Iterable):
            raise ConfigurationError(
                f"functions must be a list of functions, not one {_kind(functions)}"
            )
        for function in functions:
            self.add(function)
            # Looked up now: a type that is missing shows here, not in an execution.
            _ = function.result_type

    def add(self, function: AnyFunction) -> None:
        """Add a function; `FunctionAlreadyRegistered` if its id or event is taken."""
        if not _is_function(function):
            raise ConfigurationError(
                f"{_kind(function)} among the functions: make it one of them with "
                "@function(EventClass) or create_function(EventClass, handler)"
            )
        if function.event_name in self._by_event:
            other = self._by_event[function.event_name]
            raise FunctionAlreadyRegistered(
                f'the event "{function.event_name}" has a function already, '
                f"{_where(other)}; {_where(function)} needs its own event, "
                "as one event starts one execution",
                function_id=function.id,
            )
        if function.id in self._by_id:
            other = self._by_id[function.id]
            raise FunctionAlreadyRegistered(
                f'the id "{function.id}" belongs to {_where(other)} already: '
                f'give {_where(function)} another one with id="…"',
                function_id=function.id,
            )
        self._by_event[function.event_name] = function
        self._by_id[function.id] = function
        self._events[function.event_name] = function.id

    def define(self, function: AnyFunction) -> None:
        """Add a function; what the same code defined before makes room for it.

        That is a function at the top level of a module, with the name of the new one,
        and its event or id: a notebook's cell run again, or a module loaded again.
        """
        places = self._by_event.get(function.event_name), self._by_id.get(function.id)
        taken = {each for each in places if each is not None}
        if len(taken) == 1 and _is_definition_of(before := taken.pop(), function):
            del self._by_event[before.event_name]
            del self._by_id[before.id]
            del self._events[before.event_name]
        self.add(function)

    def for_event(self, name: str) -> WorchflowFunction[Any, Any] | None:
        """The function that serves an event, None if there is none."""
        return self._by_event.get(name)

    def by_id(self, id: str) -> WorchflowFunction[Any, Any] | None:
        """The function of this id, None if there is none."""
        return self._by_id.get(id)

    @property
    def events(self) -> Mapping[str, str]:
        """The id of the function that serves each event, by event name."""
        return MappingProxyType(self._events)

    def suggest(self, word: str) -> str:
        """`', did you mean "x"?'` for a mistyped event name or id, or nothing."""
        return did_you_mean(word, [*self._by_event, *self._by_id])

    def __iter__(self) -> Iterator[WorchflowFunction[Any, Any]]:
        return iter(self._by_event.values())

    def __len__(self) -> int:
        return len(self._by_event)


def _is_function(value: object) -> TypeIs[WorchflowFunction[Any, Any]]:
    return isinstance(value, WorchflowFunction)


def _is_definition_of(one: AnyFunction, other: AnyFunction) -> bool:
    name = getattr(one.handler, "__qualname__", "<locals>")
    return "<locals>" not in name and _where(one) == _where(other)


def _kind(value: object) -> str:
    return getattr(value, "__qualname__", type(value).__name__)


def _where(function: AnyFunction) -> str:
    handler = function.handler
    name = getattr(handler, "__qualname__", type(handler).__name__)
    return f"{getattr(handler, '__module__', '')}.{name}"
