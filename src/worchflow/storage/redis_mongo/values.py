"""Payload text as native BSON where nothing is lost by it, and back."""

from __future__ import annotations

import base64
import json
import math
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from bson import DBRef, ObjectId
from bson.datetime_ms import DatetimeMS
from bson.decimal128 import Decimal128

from ...foundations.errors import SerializationError
from ...foundations.milliseconds import from_milliseconds, to_milliseconds

if TYPE_CHECKING:
    from ...foundations.types import Payload

AS_TEXT: Final = "json"
"""The mark of a value that is kept as JSON text."""

MAX_NATIVE_LENGTH = 64 * 1024
"""Characters; longer text stays text, reading it would hold up the event loop."""
SMALL = 2000
"""Bytes of a document without payloads; names have at most 200 characters."""
MAX_NATIVE_DEPTH = 100
MAX_SAFE_INTEGER = 2**53
"""Beyond it a JavaScript reader would silently change an integer."""

_encode = json.JSONEncoder(
    ensure_ascii=False, separators=(",", ":"), allow_nan=False
).encode


_read_value = json.JSONDecoder().raw_decode
_is_plain_number = re.compile("[1-9][0-9]{0,14}").fullmatch
"""Whether text needs no parser: reading it and its checks takes five times as long."""


class _InexactError(ValueError):
    pass


def to_bson(text: Payload) -> tuple[Any, bool]:
    """The value to store for a payload, and whether it is native.

    Native only if reading it back gives the same JSON: unique plain keys, integers
    of 64 bits, floats written the shortest way. Everything else stays text.
    """
    if len(text) > MAX_NATIVE_LENGTH:
        return text, False
    if _is_plain_number(text):
        return int(text), True
    try:
        value = _read(text)
        kind: object = value.__class__
        # Equal text shows in C what the strict reader has to show number by number.
        if kind is str or kind is bool or value is None:
            pass
        elif (repr(value) if kind is int else _encode(value)) != text:
            value = _STRICT.decode(text)
    except (ValueError, RecursionError):
        return text, False
    return (value, True) if _is_storable(value, 0) else (text, False)


def to_text(value: Any, mark: object) -> Payload:
    """The payload of a stored value; never raises, whoever wrote it."""
    if mark == AS_TEXT and isinstance(value, str):
        return value
    try:
        return _encode(value)
    except (TypeError, ValueError):
        return _encode(_plain(value))


def whole_numbers(value: Any) -> Any:
    """The same value with integers for the doubles that are whole, as in JavaScript."""
    kind: object = value.__class__
    if kind is dict:
        return {key: whole_numbers(item) for key, item in value.items()}
    if kind is list:
        return [whole_numbers(item) for item in value]
    if kind is float and value.is_integer() and abs(value) <= MAX_SAFE_INTEGER:
        return int(value)
    return value


def check_safe_integers(text: Payload, field: str) -> None:
    """Raise `SerializationError` for an integer that JavaScript cannot hold."""

    def check(digits: str) -> int:
        if len(digits) > 17 or abs(int(digits)) > MAX_SAFE_INTEGER:
            raise SerializationError(
                f"{field} contains the integer {digits[:40]}, beyond 2^53: a reader "
                "of the TypeScript original would change it; send it as text, or "
                "turn ts_compat off",
                field=field,
            )
        return 0

    try:
        json.loads(text, parse_int=check)
    except (json.JSONDecodeError, RecursionError):
        return  # Opaque to the original as well.


def weight(payload: Payload, more: Payload = "") -> int:
    """At most so many bytes does a document with these take.

    Text takes four for a character, or one. Other JSON grows no more than sixfold:
    `[1,1,1]` does, for a BSON array numbers its items in text.
    """
    return SMALL + _weight(payload) + (_weight(more) if more else 0)


def _weight(payload: Payload) -> int:
    if len(payload) <= MAX_NATIVE_LENGTH and not payload.startswith('"'):
        return 8 * len(payload)
    return len(payload) * (1 if payload.isascii() else 4)


def is_json(text: str) -> bool:
    """Whether a text is JSON at all."""
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _read(text: str) -> Any:
    value, end = _read_value(text)
    if end != len(text):
        raise _InexactError
    return value


def _exact_float(text: str) -> float:
    value = float(text)
    if repr(value) != text:
        raise _InexactError
    return value


def _exact_int(text: str) -> int:
    value = int(text)
    if str(value) != text:
        raise _InexactError
    return value


def _no_constant(_: str) -> float:
    raise _InexactError


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise _InexactError
    return value


_STRICT = json.JSONDecoder(
    parse_float=_exact_float,
    parse_int=_exact_int,
    parse_constant=_no_constant,
    object_pairs_hook=_unique_keys,
)


def _is_storable(value: Any, depth: int) -> bool:
    kind: object = value.__class__
    if kind is str:
        return _is_unicode(value)
    if kind is int:
        return bool(-(2**63) <= value < 2**63)
    if kind is dict:
        return depth < MAX_NATIVE_DEPTH and all(
            key != ""
            and key[0] != "$"
            and "." not in key
            and "\0" not in key
            and _is_unicode(key)
            and _is_storable(item, depth + 1)
            for key, item in value.items()
        )
    if kind is list:
        return depth < MAX_NATIVE_DEPTH and all(
            _is_storable(item, depth + 1) for item in value
        )
    return True


def _is_unicode(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _plain(value: Any) -> Any:  # noqa: PLR0911
    """What `JSON.stringify` would make of a value that is not JSON."""
    kind: object = value.__class__
    if kind is dict:
        return {str(key): _plain(item) for key, item in value.items()}
    if kind is list:
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, DatetimeMS):
        return int(value)
    if isinstance(value, datetime):
        text = value.astimezone(UTC).isoformat(timespec="milliseconds")
        return text.replace("+00:00", "Z")
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, ObjectId | Decimal128 | DBRef):
        return str(value)
    return None


def moment_of(value: object) -> datetime | None:
    """A stored moment, a date or milliseconds; None for anything else."""
    if value is None:
        return None
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC)
    if isinstance(value, (int, float, DatetimeMS)) and not isinstance(value, bool):
        try:
            return from_milliseconds(int(value))
        except (ValueError, OverflowError, OSError):
            return None
    return None


def milliseconds_of(value: object) -> int | None:
    """The same as milliseconds."""
    moment = moment_of(value)
    return None if moment is None else to_milliseconds(moment)


def due_time(now: int, delay: float | None, run_at: datetime | None = None) -> int:
    """The store's milliseconds at which something may run, rounded up."""
    if run_at is not None:
        due = to_milliseconds(run_at)
        return due + (from_milliseconds(due) < run_at)
    return now + -int(-(delay or 0.0) * 1000 // 1)
