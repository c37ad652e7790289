"""Time zones survive being recorded, or the value is refused: `Zoned`.

JSON's way to write a moment keeps an offset from UTC, not the zone it came from. For
a zone of one offset that is everything; for one with daylight saving time it is not:
"the day after at 9" is another moment once the zone is gone.
"""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import fields, is_dataclass
from datetime import datetime, time, timezone, tzinfo
from decimal import Decimal
from functools import lru_cache, partial
from itertools import chain
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel
from pydantic_core import core_schema

from .plain_json import ValueViolation
from .type_adapters import MAX_CACHED_TYPES, schema_kinds
from .value_places import find_place

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator

    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic.json_schema import JsonSchemaValue

    from .type_adapters import Adapter

_BRACKETED = re.compile(r"(?P<moment>[^\[\]]+)\[!?(?P<key>[A-Za-z0-9_+./-]+)\]")
_TIMELESS = frozenset(
    {
        *("none", "bool", "int", "float", "decimal", "complex", "str", "bytes", "enum"),
        *("literal", "uuid", "url", "multi-host-url", "date", "timedelta"),
        *("nullable", "default", "union", "tagged-union", "definitions"),
        *("definition-ref", "list", "tuple", "deque", "set", "frozenset", "dict"),
        *("model", "model-fields", "model-field", "dataclass", "dataclass-args"),
        *("dataclass-field", "typed-dict", "typed-dict-field", "named-tuple"),
        "named-tuple-field",
    }
)
"""The schemas that hold a time only if one that is inside them does."""
_PLAIN = frozenset({str, int, float, bool, bytes, type(None), Decimal, UUID})


class _KeepsZone:
    """Writes the zone's name behind the moment, as RFC 9557 does, and reads it."""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.no_info_before_validator_function(
            _read,
            core_schema.datetime_schema(tz_constraint="aware"),
            serialization=core_schema.plain_serializer_function_ser_schema(
                _written, return_schema=core_schema.str_schema(), when_used="json"
            ),
        )

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {
            "type": "string",
            "description": "a moment and its time zone, as in "
            "2026-10-25T09:00:00+01:00[Europe/Berlin]",
        }


Zoned: TypeAlias = Annotated[datetime, _KeepsZone()]
"""A `datetime` that is recorded with its time zone: an annotation, not a class.

What has a `zoneinfo.ZoneInfo` comes back with it, at the same wall clock time and the
same offset, in the hours that daylight saving time repeats or skips too. It is written
as RFC 9557 says: `2026-10-25T09:00:00+01:00[Europe/Berlin]`. Aware datetimes without
such a zone are written with their offset alone; naive ones are refused. If the rules
of the zone have changed between writing and reading, the moment stays and the wall
clock time changes.
"""


def find_lost_zone(value: Any, decoded: Any) -> ValueViolation | None:
    """The first time in `value` whose zone is not in what came back, `decoded`.

    Equality does not tell: times of two zones are equal when they are the same
    moment, and never in an hour that daylight saving time repeats or skips.
    """
    times = list(_zoned_times(value))
    if not times:
        return None
    kept = Counter(map(_identity, _zoned_times(decoded)))
    for item in times:
        if not kept[_identity(item)]:
            return _loss_in(value, item)
        kept[_identity(item)] -= 1
    return None


def _loss_in(value: Any, item: datetime | time) -> ValueViolation:
    lost, reason = _identity(item), _loss(item)
    place = find_place(
        value,
        lambda other: (
            reason if _exceeds_iso(other) and _identity(other) == lost else None
        ),
    )
    return ValueViolation(place.path if place else "$", reason, says_how=True)


def may_hold_times(adapter: Adapter) -> bool:
    """Whether a value of the adapter's type can have a time in it."""
    return not schema_kinds(adapter) <= _TIMELESS


def _read(value: Any) -> Any:
    """What stands before and in the brackets, as one datetime; else what is given."""
    parts = _BRACKETED.fullmatch(value) if isinstance(value, str) else None
    if parts is None:
        return value
    moment, key = datetime.fromisoformat(parts["moment"]), parts["key"]
    if moment.tzinfo is None:
        raise ValueError(f"has the zone {key} but no offset from UTC")
    try:
        zone = ZoneInfo(key)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(
            f"names the time zone {key}, which this machine does not know: "
            "install the package tzdata"
        ) from None
    for fold in (0, 1):
        local = moment.replace(tzinfo=zone, fold=fold)
        if local.utcoffset() == moment.utcoffset():
            return local
    return moment.astimezone(zone)


def _written(value: datetime) -> str:
    zone = value.tzinfo
    if isinstance(zone, ZoneInfo) and _has_name(zone):
        return f"{value.isoformat()}[{zone.key}]"
    return value.isoformat()


def _has_name(zone: ZoneInfo) -> bool:
    """Whether its name gives this very object back; one made from a file need not."""
    try:
        return ZoneInfo(zone.key) is zone
    except Exception:  # noqa: BLE001  # no key, or none that this machine knows
        return False


def _zoned_times(value: Any) -> Iterator[datetime | time]:
    """Every time inside `value` of which ISO text keeps less than there is."""
    levels: list[Iterator[Any]] = [iter((value,))]
    parents: list[int] = []
    while levels:
        for item in levels[-1]:
            if item.__class__ in _PLAIN:
                continue
            inside_of = _way_into(item.__class__)
            if inside_of is None:
                if _exceeds_iso(item):
                    yield item
            elif id(item) not in parents:
                levels.append(iter(inside_of(item)))
                parents.append(id(item))
                break
        else:
            levels.pop()
            if parents:
                parents.pop()


@lru_cache(maxsize=MAX_CACHED_TYPES)
def _way_into(kind: Any) -> Callable[[Any], Iterable[Any]] | None:
    """What gives the values inside one of a class; None for what holds none."""
    if issubclass(kind, Mapping):
        return lambda held: chain(held.keys(), held.values())
    if issubclass(kind, list | tuple | deque | AbstractSet):
        return iter
    if issubclass(kind, BaseModel):
        return partial(_fields_of, tuple(kind.model_fields))
    if is_dataclass(kind):
        names = [field.name for field in fields(kind)]
        return lambda held: [getattr(held, name, None) for name in names]
    return None


def _fields_of(names: tuple[str, ...], model: BaseModel) -> list[Any]:
    # Not all of __dict__: a cached property is not a part of the value.
    found = [model.__dict__[name] for name in names if name in model.__dict__]
    if model.__pydantic_extra__:
        found.extend(model.__pydantic_extra__.values())
    return found


def _exceeds_iso(item: Any) -> bool:
    """Whether ISO text keeps less of it: its zone's offset depends on the day.

    Without a zone, it is the second one of a time of day that is repeated.
    """
    if not isinstance(item, datetime | time):
        return False
    zone = item.tzinfo
    if zone is None:
        return item.fold == 1
    return zone.__class__ is not timezone and not _is_fixed(zone)


def _is_fixed(zone: tzinfo) -> bool:
    # Without a day to go by, only a zone of one offset has an answer.
    try:
        return zone.utcoffset(None) is not None
    except Exception:  # noqa: BLE001  # a zone of somebody's own
        return False


def _identity(item: datetime | time) -> Hashable:
    """What has to be the same when it comes back; `==` ignores the fold."""
    zone = item.tzinfo
    told_apart = item.fold if zone is None else item.utcoffset()
    return id(zone), item.replace(tzinfo=None, fold=0), told_apart


def _loss(item: datetime | time) -> str:
    zone = item.tzinfo
    if zone is None:
        return (
            f"is a {type(item).__name__} without a time zone and with fold=1, which "
            "would be lost: give it a time zone, or take .replace(fold=0)"
        )
    name = getattr(zone, "key", None) or type(zone).__name__
    if isinstance(item, time):
        return (
            f"is a time of day in the time zone {name}, which would be lost: keep the "
            "name of the zone in its own field"
        )
    named = isinstance(zone, ZoneInfo) and _has_name(zone)
    make = (
        ""
        if named
        else f"give it a zoneinfo.ZoneInfo instead of a {type(zone).__name__} and "
    )
    return (
        f"is a datetime in the time zone {name}, of which only the offset would be "
        f"left: convert it with .astimezone(UTC), or {make}annotate it as "
        "worchflow.Zoned"
    )
