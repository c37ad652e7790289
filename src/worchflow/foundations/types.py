"""Type variables and small aliases shared by the public signatures."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Never, ParamSpec, Protocol, TypeAlias

from typing_extensions import TypeVar, dataclass_transform

Duration: TypeAlias = timedelta | int | float | str
"""A `timedelta`, seconds as a number, or text such as `"90s" "5m" "2h" "7d"`."""

Payload: TypeAlias = str
"""Encoded user data: JSON text (after the codec, if there is one). Opaque to stores."""

P = ParamSpec("P")
T = TypeVar("T")
Stream: TypeAlias = Iterable[T] | AsyncIterable[T]
"""Messages that come one after the other."""
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
Z = TypeVar("Z")
D = TypeVar("D")
D_co = TypeVar("D_co", covariant=True)
D_any = TypeVar("D_any", default=Any)
R = TypeVar("R", default=Any)
R_co = TypeVar("R_co", covariant=True, default=Any)
Data_co = TypeVar("Data_co", covariant=True, default=Any)
Schema = TypeVar("Schema", contravariant=True, default=Never)


@dataclass_transform(frozen_default=True)
def value(cls: type[T]) -> type[T]:
    """A class of values that several are made of for every step.

    The type checkers treat it as frozen. At run time it is a plain dataclass with
    slots, for one that guards itself takes four times as long to make. Names in the
    call take three times as long as places: give them where it is not for each step.
    """
    return dataclass(slots=True, unsafe_hash=True)(cls)


class Message(Protocol[R_co, Data_co]):
    """What `send` takes: an event instance, `ref(data)` or `function(data)`."""

    def __worchflow_message__(self) -> R_co: ...
    def __worchflow_data__(self) -> Data_co: ...


class EventSource(Protocol[D_co, R_co]):
    """What names an event: an event class, an `EventRef` or a function."""

    def __worchflow_types__(self) -> tuple[D_co, R_co]: ...
