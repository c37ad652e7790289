"""A client's events as a union of TypedDicts, read at run time."""

from __future__ import annotations

import types
import typing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Never, NotRequired, Required

from typing_extensions import ReadOnly, is_typeddict
from typing_extensions import get_type_hints as read_hints

from ..foundations.errors import ConfigurationError, UnknownEvent
from ..foundations.limits import short
from ..foundations.suggestions import did_you_mean
from ..serialization.type_forms import substitute, unalias
from .events import check_event_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Self

HINT = (
    'each event is a TypedDict with exactly `name: Literal["event-name"]` and '
    "`data: DataType`, and `key` if its messages carry their correlation key"
)


@dataclass(frozen=True, slots=True)
class EventSchema:
    """The data type of every event a client may send as a mapping."""

    data_types: Mapping[str, Any]

    @classmethod
    def from_types(cls, events: object) -> Self:
        """Read a TypedDict, or a union of them, with a Literal `name` and `data`.

        Raises `ConfigurationError` for anything else, and for one name with two
        data types.
        """
        data_types: dict[str, Any] = {}
        for member in _members(events):
            names, data_type = _read(member)
            for name in names:
                if data_types.setdefault(name, data_type) != data_type:
                    raise ConfigurationError(
                        f'events: "{name}" has two data types, '
                        f"{short(data_types[name])} and {short(data_type)}: "
                        "give each event its own name"
                    )
        return cls(data_types)

    @staticmethod
    def reads(events: object) -> bool:
        """Whether a class was given events at all: no type variable, no `Any`.

        True for what `from_types` will refuse, so that nothing is ignored silently.
        """
        is_variable = isinstance(events, typing.TypeVar)
        return not is_variable and events is not Any and events is not Never

    def data_type(self, name: str) -> Any:
        """The type of an event's data; `UnknownEvent` for a name that is not here."""
        if name in self.data_types:
            return self.data_types[name]
        hint = did_you_mean(name, self.data_types)
        raise UnknownEvent(
            f"the client's events have no {short(name)}{hint or ';'} they are: "
            f"{short(', '.join(self.data_types))}",
            field="name",
        )


def _members(events: object) -> Iterator[Any]:
    form = unalias(events)
    if typing.get_origin(form) in (typing.Union, types.UnionType):
        for member in typing.get_args(form):
            yield from _members(member)
    else:
        yield form


def _read(member: Any) -> tuple[list[str], Any]:
    origin = typing.get_origin(member) or member
    if not is_typeddict(origin):
        raise ConfigurationError(f"events: {short(member)} is not a TypedDict; {HINT}")
    where = f"events: {getattr(member, '__name__', member)}"
    try:
        hints = read_hints(origin, include_extras=True)
    except (NameError, AttributeError, SyntaxError, TypeError) as error:
        raise ConfigurationError(
            f"{where} cannot be read ({error}): define its types at module level"
        ) from error
    if set(hints) - {"key"} != {"name", "data"}:
        raise ConfigurationError(f"{where} has the keys {sorted(hints)}; {HINT}")
    names = unalias(_unqualified(hints["name"]))
    if typing.get_origin(names) is not typing.Literal:
        raise ConfigurationError(f"{where}.name is {short(names)}; {HINT}")
    checked = [check_event_name(n, f"{where}.name") for n in typing.get_args(names)]
    known = dict(
        zip(
            getattr(origin, "__parameters__", ()), typing.get_args(member), strict=False
        )
    )
    return checked, substitute(_unqualified(hints["data"]), known)


def _unqualified(hint: Any) -> Any:
    while typing.get_origin(hint) in (Required, NotRequired, ReadOnly):
        hint = typing.get_args(hint)[0]
    return hint
