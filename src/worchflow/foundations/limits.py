"""The limits of names, ids and payloads, checked before anything is written."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import cast
from uuid import UUID

from .errors import ConfigurationError, InvalidInput, PayloadTooLarge

ID = re.compile(r"[A-Za-z0-9._:@/-]{1,200}")
PREFIX = re.compile(r"[A-Za-z0-9._:@/-]*(\{[A-Za-z0-9._:@/-]+\})?[A-Za-z0-9._:@/-]*")
MAX_NAME_LENGTH = 200
MAX_HEADERS = 32
MAX_HEADER_BYTES = 4096
MAX_TAGS = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class PayloadLimits:
    """Sizes in bytes of UTF-8 JSON before a codec; `depth` in nested containers.

    `execution_steps` and `execution_bytes` are what one execution may have recorded of
    its steps: all of it is read whenever a worker takes it up.
    """

    event_bytes: int = 1024 * 1024
    step_bytes: int = 1024 * 1024
    result_bytes: int = 4 * 1024 * 1024
    depth: int = 64
    execution_steps: int = 20_000
    execution_bytes: int = 256 * 1024 * 1024

    def __post_init__(self) -> None:
        for name in ("event_bytes", "step_bytes", "result_bytes"):
            value = getattr(self, name)
            # MongoDB refuses documents above 16 MiB.
            if type(value) is not int or not 1 <= value <= 15 * 1024 * 1024:
                raise ConfigurationError(
                    f"{name}={value!r} must be a number of bytes from 1 to 15 MiB"
                )
        if type(self.depth) is not int or not 1 <= self.depth <= 100:
            raise ConfigurationError(
                f"depth={self.depth!r} must be a whole number from 1 to 100"
            )
        for name in ("execution_steps", "execution_bytes"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise ConfigurationError(
                    f"{name}={value!r} must be a whole number from 1 up"
                )


def check_id(value: object, field: str = "id") -> str:
    """An execution id, or `InvalidInput` naming the field and the rule."""
    if not isinstance(value, str) or not ID.fullmatch(value):
        raise InvalidInput(
            f"{field}={short(value)} is not an id: 1 to 200 characters of "
            "A-Z a-z 0-9 . _ : @ / -",
            field=field,
        )
    return value


def check_id_of_others(value: object, field: str = "id") -> str:
    """An id that another program may have chosen: any text that UTF-8 can hold."""
    if isinstance(value, str) and value:
        with suppress(UnicodeEncodeError):
            value.encode()
            return value
    raise InvalidInput(
        f"{field}={short(value)} is not an id: text that is not empty, "
        "without half characters",
        field=field,
    )


def check_prefix(value: object, field: str = "queue_prefix") -> str:
    """A queue prefix: an id that may contain one `{tag}` for Redis Cluster."""
    if (
        not isinstance(value, str)
        or not 1 <= len(value) <= MAX_NAME_LENGTH
        or not PREFIX.fullmatch(value)
    ):
        raise ConfigurationError(
            f"{field}={short(value)} is not a queue prefix: 1 to 200 characters of "
            "A-Z a-z 0-9 . _ : @ / - with at most one {tag}"
        )
    return value


def check_name(value: object, field: str) -> str:
    """A title, event name or function id: 1 to 200 printable characters."""
    if (
        not isinstance(value, str)
        or not 1 <= len(value) <= MAX_NAME_LENGTH
        or not value.isprintable()
    ):
        raise InvalidInput(
            f"{field}={short(value)} must be text of 1 to 200 printable characters",
            field=field,
        )
    return value


def check_key(value: object, field: str = "key") -> str:
    """A step key (str, int or UUID) as text."""
    if isinstance(value, bool) or not isinstance(value, str | int | UUID):
        raise InvalidInput(
            f"{field}={short(value)} must be a str, an int or a UUID", field=field
        )
    return check_name(str(value), field)


def check_headers(value: object, field: str = "headers") -> dict[str, str]:
    """Text by name: at most 32, together at most 4 KiB of UTF-8."""
    if not isinstance(value, Mapping):
        raise InvalidInput(
            f"{field} must be a mapping of text to text, it is of type "
            f"{type(value).__name__}",
            field=field,
        )
    given = cast("Mapping[object, object]", value)
    headers: dict[str, str] = {}
    for name, text in given.items():
        what = f"{field}[{short(name)}]"
        if not isinstance(text, str):
            # The value may be a secret that was given under a wrong type.
            raise InvalidInput(
                f"{what} must be text, it is of type {type(text).__name__}", field=field
            )
        headers[check_name(name, f"a name in {field}")] = _storable(text, what, field)
    size = sum(len(part.encode()) for pair in headers.items() for part in pair)
    if len(headers) > MAX_HEADERS or size > MAX_HEADER_BYTES:
        raise InvalidInput(
            f"{field}: {len(headers)} headers of {size} bytes are too many: at most "
            f"{MAX_HEADERS}, with at most {MAX_HEADER_BYTES} bytes of names and values "
            "together. What is larger belongs into the event's data",
            field=field,
        )
    return headers


def check_tags(value: object, field: str = "tags") -> tuple[str, ...]:
    """At most ten names; one that is given twice counts once."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise InvalidInput(
            f"{field}={short(value)} must be a list of names", field=field
        )
    given = cast("Iterable[object]", value)
    tags = dict.fromkeys(check_name(each, "a tag in " + field) for each in given)
    if len(tags) > MAX_TAGS:
        raise InvalidInput(
            f"{field}: {len(tags)} tags are too many: an execution has at most "
            f"{MAX_TAGS}",
            field=field,
        )
    return tuple(tags)


def _storable(text: str, what: str, field: str) -> str:
    with suppress(UnicodeEncodeError):
        text.encode()
        if "\0" not in text:
            return text
    raise InvalidInput(
        f"{what} has a NUL or half a character, which cannot be stored", field=field
    )


def check_cursor(value: object) -> str:
    """A cursor is text; whether it is one of its own, the store says."""
    if not isinstance(value, str):
        raise InvalidInput(
            f"cursor={short(value)} is not a cursor: pass on the one of a page",
            field="cursor",
        )
    return value


def check_size(payload: str, limit: int, field: str) -> None:
    """Raise `PayloadTooLarge` when the UTF-8 form of a payload exceeds `limit`."""
    # A character takes at most 4 bytes, so most payloads need no encoding here.
    if len(payload) * 4 <= limit:
        return
    size = len(payload.encode())
    if size > limit:
        raise PayloadTooLarge(
            f"{field} is {size} bytes of JSON, more than its limit of {limit}: "
            "store the large part elsewhere and pass a reference to it",
            field=field,
            size=size,
            limit=limit,
        )


def short(value: object) -> str:
    """A repr short enough for an error message."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
