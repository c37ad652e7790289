"""Finds the place inside a value of any type that an error message should name.

Only runs once something has gone wrong. Descends into dicts, lists, tuples, deques,
sets, models and dataclasses; never recurses, and gives up after many places.
"""

from __future__ import annotations

import dataclasses
import math
from collections import deque
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Iterator,
    Mapping,
    MappingView,
)
from collections.abc import (
    Set as AbstractSet,
)
from typing import TYPE_CHECKING, Any, cast

from pydantic import BaseModel, SecretBytes, SecretStr

from .plain_json import ValueViolation, has_surrogate, path_part, with_article
from .type_adapters import uncompared_fields

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pydantic.fields import FieldInfo

MAX_PLACES = 100_000
MAX_DEPTH = 300
"""Deeper than any encoder goes: a value that contains itself ends here."""
ABSENT = object()
EXCLUDED = (
    "is a field that its exclude= keeps from being written: take exclude= away, or use "
    "a class without the field"
)
PRIVATE = (
    "is a private attribute, which is not written: make it a field, or give it a value "
    "that is the same each time"
)
UNCOMPARED = (
    "is a field that would come back with another value, which == does not see: leave "
    "its default, or take init=False and compare=False away"
)
READ_ONCE = (Iterator, AsyncIterator, MappingView, range)
"""What gives values without being a container of them."""


def find_place(
    value: Any, reason_of: Callable[[Any], str | None]
) -> ValueViolation | None:
    """The first value or key inside `value` for which `reason_of` gives a reason."""
    waiting = [("$", value, 0)]
    for _ in range(MAX_PLACES):
        if not waiting:
            break
        path, item, depth = waiting.pop()
        reason = reason_of(item)
        if reason is not None:
            return ValueViolation(shortened(path), reason)
        if depth < MAX_DEPTH:
            found = [(path + part, i, depth + 1) for part, i in _parts(item, keys=True)]
            waiting.extend(reversed(found))
    return None


def find_unwritable(value: Any) -> ValueViolation | None:
    """The first value that no JSON can hold, whatever its type says."""
    return find_place(value, _unwritable)


def find_unreadable(value: Any) -> ValueViolation | None:
    """The first value that lacks, once written, what its class needs to be read."""
    violation = find_place(value, _unreadable)
    return violation and dataclasses.replace(violation, says_how=True)


def _unwritable(item: Any) -> str | None:
    kind = with_article(item)
    if isinstance(item, Awaitable):
        return (
            f"is {kind} that was not awaited: put `await` before the call that gives it"
        )
    if isinstance(item, READ_ONCE):
        return (
            f"is {kind}, which is not a container: make a list of it, and name "
            "list[...] as its type"
        )
    if isinstance(item, float) and not math.isfinite(item):
        return f"is {float(item)!r}: JSON has finite numbers only"
    if isinstance(item, str) and has_surrogate(item):
        return "is text with a lone surrogate: it is not valid Unicode"
    return None


def _unreadable(item: Any) -> str | None:
    fields = _pydantic_fields(item)
    for name, field in fields.items():
        if _is_excluded(field) and field.is_required():
            return (
                f"has the field {name}, which its exclude= keeps from being written: "
                "take exclude= away, or use a class without the field"
            )
    return None


def _pydantic_fields(item: Any) -> dict[str, FieldInfo]:
    fields: object = getattr(item.__class__, "__pydantic_fields__", None)
    return cast("dict[str, FieldInfo]", fields) if isinstance(fields, dict) else {}


def _private(item: Any) -> Iterable[str]:
    private: object = getattr(item, "__pydantic_private__", None)
    return cast("dict[str, Any]", private) if isinstance(private, dict) else ()


def _is_excluded(field: FieldInfo) -> bool:
    return bool(field.exclude or field.exclude_if)


def find_difference(original: Any, decoded: Any) -> ValueViolation:
    """The first place where a value would not come back as it is."""
    found = ValueViolation("$", _changed(original, decoded))
    waiting = [("$", original, decoded, 0, "")]
    for _ in range(MAX_PLACES):
        if not waiting:
            break
        path, old, new, depth, excluded = waiting.pop()
        if equal(old, new):
            continue
        if excluded:
            return ValueViolation(shortened(path), excluded, says_how=True)
        found = ValueViolation(shortened(path), _changed(old, new))
        before, after = dict(_parts(old)), dict(_parts(new))
        if type(old) is not type(new) or depth == MAX_DEPTH or not (before or after):
            break
        # What is inside and differs says more; if nothing does, this place stands.
        left_out = {
            path_part(name): EXCLUDED
            for name, field in _pydantic_fields(old).items()
            if _is_excluded(field)
        } | dict.fromkeys(map(path_part, _private(old)), PRIVATE)
        waiting = [
            (
                path + part,
                before.get(part, ABSENT),
                after.get(part, ABSENT),
                depth + 1,
                left_out.get(part, ""),
            )
            for part in reversed(before | after)
        ]
    return found


def find_lost_field(original: Any, decoded: Any) -> ValueViolation | None:
    """The first field of a dataclass that has another value and that `==` ignores."""
    waiting = [("$", original, decoded, 0)]
    for _ in range(MAX_PLACES):
        if not waiting:
            break
        path, old, new, depth = waiting.pop()
        before, after = dict(_parts(old)), dict(_parts(new))
        if dataclasses.is_dataclass(old) and not isinstance(old, type):
            for part in map(path_part, uncompared_fields(type(old))):
                if not equal(before[part], after.get(part, ABSENT)):
                    return ValueViolation(
                        shortened(path + part), UNCOMPARED, says_how=True
                    )
        if depth < MAX_DEPTH:
            waiting += [
                (path + part, before[part], after[part], depth + 1)
                for part in reversed(before)
                if part in after
            ]
    return None


def _changed(old: Any, new: Any) -> str:
    if old is ABSENT:
        return "is not there but would be after coming back"
    if new is ABSENT:
        return "would not come back"
    if isinstance(old, SecretStr | SecretBytes):
        return (
            f"is {with_article(old)}, which is written as asterisks: keep secrets out "
            "of what is recorded"
        )
    if type(old) is not type(new):
        return f"is {with_article(old)} but would come back as {with_article(new)}"
    comparison: object = type(old).__eq__
    if comparison is object.__eq__:
        return (
            f"is {with_article(old)}, whose class does not define __eq__: nobody can "
            "tell whether it would come back as it is"
        )
    return f"is {with_article(old)} that would come back with another value"


def equal(one: Any, other: Any) -> bool:
    """`one == other`; a comparison that raises or has no truth value is unequal."""
    try:
        return bool(one == other)
    except Exception:  # noqa: BLE001  # `==` of a user's type may raise anything
        return False


def _parts(value: Any, *, keys: bool = False) -> Iterator[tuple[str, Any]]:
    """What a value holds, each with its part of the path; nothing if it is a leaf.

    With `keys` also the keys of dicts and the items of sets, which have no place.
    """
    inside: Any = value  # not narrowed by the checks to containers of unknown items
    if isinstance(value, Mapping):
        for key, item in inside.items():
            part = path_part(key)
            if keys:
                yield part, key
            yield part, item
    elif isinstance(value, list | tuple | deque):
        for index, item in enumerate(inside):
            yield path_part(index), item
    elif isinstance(value, AbstractSet):
        if keys:
            yield from (("{...}", item) for item in inside)
    else:
        for name, item in _fields(inside):
            yield path_part(name), item


def _fields(value: Any) -> Iterable[tuple[str, Any]]:
    """The fields of a model or a dataclass with their values."""
    if isinstance(value, BaseModel):
        return {
            **value.__dict__,
            **(value.__pydantic_extra__ or {}),
            **(value.__pydantic_private__ or {}),
        }.items()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value)]
        return [(name, getattr(value, name, None)) for name in names]
    return ()


def shortened(path: str) -> str:
    """A path short enough for an error message."""
    return path if len(path) <= 200 else f"{path[:120]}...{path[-60:]}"
