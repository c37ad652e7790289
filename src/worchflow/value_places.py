"""Finds the place inside a value of any type that an error message should name.

Only runs once something has gone wrong. Descends into dicts, lists, tuples, deques,
models and dataclasses; never recurses, and gives up after many places.
"""

from __future__ import annotations

import dataclasses
import math
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from .plain_json import Flaw, a_type, has_surrogate, path_part

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MAX_PLACES = 100_000
MAX_DEPTH = 300
"""Deeper than any encoder goes: a value that contains itself ends here."""
ABSENT = object()


def find_place(value: Any, reason_of: Callable[[Any], str | None]) -> Flaw | None:
    """The first value or key inside `value` for which `reason_of` gives a reason."""
    waiting = [("$", value, 0)]
    for _ in range(MAX_PLACES):
        if not waiting:
            break
        path, item, depth = waiting.pop()
        reason = reason_of(item)
        if reason is not None:
            return Flaw(shortened(path), reason)
        if depth < MAX_DEPTH:
            found = [(path + part, i, depth + 1) for part, i in _parts(item, keys=True)]
            waiting.extend(reversed(found))
    return None


def find_unwritable(value: Any) -> Flaw | None:
    """The first number or text that no JSON can hold, whatever its type says."""
    return find_place(value, _unwritable)


def _unwritable(item: Any) -> str | None:
    if isinstance(item, float) and not math.isfinite(item):
        return f"is {float(item)!r}: JSON has finite numbers only"
    if isinstance(item, str) and has_surrogate(item):
        return "is text with a lone surrogate: it is no Unicode"
    return None


def find_difference(original: Any, decoded: Any) -> Flaw:
    """The first place where a value would not come back as it is."""
    found = Flaw("$", _changed(original, decoded))
    waiting = [("$", original, decoded, 0)]
    for _ in range(MAX_PLACES):
        if not waiting:
            break
        path, old, new, depth = waiting.pop()
        if equal(old, new):
            continue
        found = Flaw(shortened(path), _changed(old, new))
        before, after = dict(_parts(old)), dict(_parts(new))
        if type(old) is not type(new) or depth == MAX_DEPTH or not (before or after):
            break
        # What is inside and differs says more; if nothing does, this place stands.
        waiting = [
            (path + part, before.get(part, ABSENT), after.get(part, ABSENT), depth + 1)
            for part in reversed(before | after)
        ]
    return found


def _changed(old: Any, new: Any) -> str:
    if old is ABSENT:
        return "is not there but would be after coming back"
    if new is ABSENT:
        return "would not come back"
    if type(old) is not type(new):
        return f"is {a_type(old)} but would come back as {a_type(new)}"
    comparison: object = type(old).__eq__
    if comparison is object.__eq__:
        return (
            f"is {a_type(old)}, whose class does not define __eq__: nobody can tell "
            "whether it would come back as it is"
        )
    return f"is {a_type(old)} that would come back with another value"


def equal(one: Any, other: Any) -> bool:
    """`one == other`; a comparison that raises or has no truth value is unequal."""
    try:
        return bool(one == other)
    except Exception:  # noqa: BLE001  # `==` of a user's type may raise anything
        return False


def _parts(value: Any, *, keys: bool = False) -> Iterator[tuple[str, Any]]:
    """What a value holds, each with its part of the path; nothing if it is a leaf."""
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
    elif isinstance(value, BaseModel):
        fields = {
            **value.__dict__,
            **(value.__pydantic_extra__ or {}),
            **(value.__pydantic_private__ or {}),
        }
        for name, item in fields.items():
            yield path_part(name), item
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield path_part(field.name), getattr(value, field.name, None)


def shortened(path: str) -> str:
    """A path short enough for an error message."""
    return path if len(path) <= 200 else f"{path[:120]}...{path[-60:]}"
