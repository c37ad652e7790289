"""Plain JSON: which values it holds, and whether a text is safe to parse.

Nothing here recurses: foreign text may be nested as deep as it is long.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from itertools import accumulate
from types import NoneType
from typing import TYPE_CHECKING, Any, TypeAlias

from pydantic_core import from_json
from typing_extensions import override

from ..foundations.limits import short

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MAX_DEPTH = 100
"""The highest depth that can be configured; parsers give up from about 200."""
MAX_VALUES = 8 * 1024 * 1024
"""A value and its comma take two bytes, and no payload may have more than 15 MiB."""
INT_LIMIT = 10**4300
"""Parsers refuse integers with more digits, and some count the sign as one."""

NOT_PLAIN = "that is not plain JSON"

KINDS: dict[object, str] = {
    bool: "boolean",
    int: "number",
    float: "number",
    str: "string",
    list: "array",
    dict: "object",
    NoneType: "null",
}
"""JSON's own words for what a parser makes."""

Label: TypeAlias = str | int
"""A key of a dict or an index of a list."""

_CONTAINERS: tuple[object, ...] = (list, dict)
_type_of: Callable[[object], object] = type
_numbered: Callable[[Any], Iterator[tuple[Label, Any]]] = enumerate

_HALF_PAIR = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    r"|(?P<lone>u[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)
_BRACKETS = b"[]{}"
_NO_BRACKETS = bytes(byte for byte in range(256) if byte not in _BRACKETS)
_STEPS = dict(zip(_BRACKETS, (1, -1, 1, -1), strict=True))


@dataclass(frozen=True, slots=True)
class ValueViolation:
    """What is wrong at one place in a value; path and reason make a sentence.

    `needs_type`: it is nothing that could not be kept if the code named its type.
    `says_how`: the reason itself names what to write instead.
    """

    path: str
    reason: str
    needs_type: bool = False
    says_how: bool = False

    @override
    def __str__(self) -> str:
        return f"{self.path} {self.reason}"


def find_violation(value: Any, *, depth: int = MAX_DEPTH) -> ValueViolation | None:
    """The first place that plain JSON cannot hold exactly, or None.

    Plain are None and the exact types bool, int (up to 4300 characters), finite float,
    str (Unicode without lone surrogates), list, and dict with str keys, nested at
    most `depth` deep.
    """
    if _type_of(value) not in _CONTAINERS:
        reason = _leaf_violation(value)
        return None if reason is None else _violation([], reason)
    parents: list[Any] = []
    labels: list[Label] = []
    levels: list[Iterator[tuple[Label, Any]]] = [iter(((0, value),))]
    values_left = MAX_VALUES
    while levels:
        for label, item in levels[-1]:
            kind = _type_of(item)
            if kind not in _CONTAINERS:
                # Most leaves are ASCII text.
                if kind is str and item.isascii():
                    continue
                reason = _leaf_violation(item)
                if reason is None:
                    continue
                return _violation([*labels, label], reason)
            values_left -= len(item)
            reason = _container_violation(item, parents, depth, values_left)
            if reason is not None:
                return _violation([*labels, label], reason)
            labels.append(label)
            parents.append(item)
            levels.append(_numbered(item) if kind is list else iter(item.items()))
            break
        else:
            levels.pop()
            if parents:
                parents.pop()
                labels.pop()
    return None


def _container_violation(
    item: Any, parents: list[Any], depth: int, values_left: int
) -> str | None:
    if len(parents) >= depth:
        if any(item is parent for parent in parents):
            return "contains itself"
        return too_deep(depth)
    if values_left < 0:
        return f"brings the number of values to more than {MAX_VALUES}"
    if _type_of(item) is dict:
        for key in item:
            if _type_of(key) is not str:
                return f"has a key that is {with_article(key)}: {NOT_PLAIN}"
            if not key.isascii() and has_surrogate(key):
                return (
                    f"has the key {short(key)}, a lone surrogate: it is not valid "
                    "Unicode"
                )
    return None


def too_deep(depth: int) -> str:
    """The reason for what is nested too deep."""
    more = f", or allow up to {MAX_DEPTH} with limits=PayloadLimits(depth=...)"
    return (
        f"is nested more than {depth} levels deep: nest it less"
        f"{more if depth < MAX_DEPTH else ''}"
    )


def _leaf_violation(item: Any) -> str | None:
    kind = _type_of(item)
    if kind is str:
        if not item.isascii() and has_surrogate(item):
            return "is text with a lone surrogate: it is not valid Unicode"
    elif kind is int:
        if not -INT_LIMIT // 10 < item < INT_LIMIT:
            return "is an int of more than 4300 digits, a minus sign among them"
    elif kind is float:
        if not math.isfinite(item):
            return f"is {item!r}: JSON has finite numbers only"
    elif item is not None and kind is not bool:
        return f"is {with_article(item)}: {NOT_PLAIN}"
    return None


def with_article(value: object) -> str:
    """The name of a value's type with its article; None is called so."""
    if value is None:
        return "None"
    name = type(value).__name__[:80]
    return f"{'an' if name[:1] in 'AEIOUaeiou' else 'a'} {name}"


def has_surrogate(text: str) -> bool:
    """Whether a text is not valid Unicode: no store can hold it, nor can UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def find_text_violation(text: str, *, depth: int = MAX_DEPTH) -> str | None:
    """Why JSON text should not be parsed, or None: depth, NaN, lone surrogates.

    Whether it is JSON at all is for the parser to say.
    """
    if not text.isascii() and has_surrogate(text):
        return "it has a lone surrogate: it is not valid Unicode"
    if "\\u" in text and any(m["lone"] for m in _HALF_PAIR.finditer(text)):
        return "it has a lone surrogate: it is not valid Unicode"
    deep = text.count("[") + text.count("{") > depth
    if not deep and "NaN" not in text and "Infinity" not in text:
        return None
    outside = _outside_strings(text)
    if "NaN" in outside or "Infinity" in outside:
        return "it has a number that is not finite"
    brackets = outside.encode().translate(None, _NO_BRACKETS)
    if deep and max(accumulate(map(_STEPS.__getitem__, brackets)), default=0) > depth:
        return f"it {too_deep(depth)}"
    return None


def _outside_strings(text: str) -> str:
    unescaped = text.replace("\\\\", "").replace('\\"', "")
    return "".join(unescaped.split('"')[::2])


def same_json(one: Any, other: Any) -> bool:
    """Whether two parsed values are the same JSON: 1 is 1.0, but never `true`."""
    pairs: list[tuple[Any, Any]] = [(one, other)]
    while pairs:
        a, b = pairs.pop()
        kind, kinds = KINDS[_type_of(a)], {KINDS[_type_of(a)], KINDS[_type_of(b)]}
        if len(kinds) > 1 or (kind == "object" and a.keys() != b.keys()):
            return False
        if kind == "object":
            pairs.extend((a[key], b[key]) for key in a)
        elif kind == "array" and len(a) == len(b):
            pairs.extend(zip(a, b, strict=True))
        elif a != b:
            return False
    return True


def shape(text: str) -> str:
    """The outermost shape of JSON text, for messages: keys and kinds, no values."""
    try:
        value: Any = from_json(text, allow_inf_nan=False)
    except (ValueError, TypeError):
        return "text that is not JSON"
    kind = _type_of(value)
    if kind is list:
        return f"an array of {len(value)}"
    if kind is not dict:
        return "null" if value is None else f"a {KINDS[kind]}"
    parts = [f"{key[:40]} ({KINDS[_type_of(item)]})" for key, item in value.items()]
    more = [f"{len(parts) - 6} more"] if len(parts) > 6 else []
    return f"an object with {', '.join(parts[:6] + more) or 'no keys'}"


def _violation(labels: list[Label], reason: str) -> ValueViolation:
    parts = [path_part(label) for label in labels[1:]]
    if len(parts) > 12:
        parts[8:-3] = ["..."]
    return ValueViolation("$" + "".join(parts), reason, reason.endswith(NOT_PLAIN))


def path_part(label: object) -> str:
    """One label as a part of a path: `.name`, `[3]` or `['two words']`."""
    if isinstance(label, str) and label.isidentifier() and len(label) <= 80:
        return f".{label}"
    return f"[{short(label)}]"
