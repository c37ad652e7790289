"""Reads what is typed after a command: JSON data, moments, names in a list."""

from __future__ import annotations

import json
import re
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from ..foundations.durations import to_seconds
from ..foundations.errors import ConfigurationError, InvalidInput
from ..foundations.runtime import SYSTEM

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_BYTES = 16 * 1024 * 1024
"""More than any limit of the library lets through."""

NUMBER = re.compile(r"\d+(\.\d+)?")
AGO = re.compile(r"\d+(\.\d+)? ?(ms|s|m|h|d)")


def read_data(argument: str | None) -> Any:
    """The data of `-d`: JSON, `@file` or `-` for stdin; None when left out.

    `InvalidInput` for text that is not JSON, for NaN and for an object with one key
    twice: nothing is changed silently.
    """
    if argument is None:
        return None
    if argument == "-":
        text = _read(sys.stdin.buffer, "stdin")
    elif argument.startswith("@"):
        try:
            with Path(argument[1:]).open("rb") as file:
                text = _read(file, argument)
        except OSError as error:
            raise InvalidInput(
                f"--data {argument}: the file cannot be read: {error.strerror}",
                field="data",
            ) from None
    else:
        text = argument
    return _parse(text)


def read_headers(pairs: Sequence[str]) -> dict[str, str]:
    """The headers in `NAME=VALUE` pairs; `InvalidInput` for one without `=`."""
    headers: dict[str, str] = {}
    for pair in pairs:
        name, separator, text = pair.partition("=")
        if not separator:
            raise InvalidInput(
                f'--header "{pair}" has no "=": write it as NAME=VALUE', field="headers"
            )
        headers[name] = text
    return headers


def _read(file: BinaryIO, where: str) -> str:
    content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise InvalidInput(f"--data: {where} is larger than 16 MiB", field="data")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise InvalidInput(
            f"--data: {where} is not UTF-8 text: byte {error.start}", field="data"
        ) from None


def _parse(text: str) -> Any:
    try:
        return json.loads(
            text, object_pairs_hook=_without_twins, parse_constant=_refuse
        )
    except json.JSONDecodeError as error:
        hint = ""
        if re.match(r"\s*[A-Za-z_{'\\]", text):
            hint = """; quote it for the shell: -d '{"key": "value"}'"""
        raise InvalidInput(
            f"--data is not JSON: {error.msg} at line {error.lineno}, column "
            f"{error.colno}{hint}",
            field="data",
        ) from None
    except RecursionError:
        raise InvalidInput("--data is nested too deeply", field="data") from None
    except ValueError as error:
        raise InvalidInput(f"--data is not JSON: {error}", field="data") from None


def _without_twins(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twin = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f'an object has the key "{twin}" twice')
    return found


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not a JSON number")


def read_moment(text: str | None, option: str) -> datetime | None:
    """An ISO 8601 moment with a time zone."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise ConfigurationError(
            f"{option}={text!r} is not a moment with a time zone: write it as "
            "2030-01-31T08:00:00Z or 2030-01-31T08:00:00+02:00"
        )
    return moment


def read_past(text: str | None, option: str) -> datetime | None:
    """A moment: ISO 8601, or how long ago, such as "24h"."""
    if text is None:
        return None
    if not AGO.fullmatch(text):
        return read_moment(text, option)
    return SYSTEM.now() - timedelta(seconds=read_duration(text, option))


def read_duration(text: str, option: str) -> float:
    """Seconds of a duration such as "90s"; a bare number means seconds."""
    try:
        return to_seconds(float(text) if NUMBER.fullmatch(text) else text, option)
    except ConfigurationError:
        raise ConfigurationError(
            f"{option}={text!r} is not a duration: write it as 90s, 5m, 2h or 7d"
        ) from None


def read_names(text: str | None, option: str) -> list[str] | None:
    """The names in a list with commas."""
    if text is None:
        return None
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise ConfigurationError(f"{option}={text!r} has an empty name in it")
    return names


def read_counts(texts: Sequence[str], option: str) -> dict[str, int]:
    """Names with a number each, such as "kill=300"."""
    found: dict[str, int] = {}
    for text in texts:
        name, _, number = text.rpartition("=")
        if not name.strip() or not number.isdecimal():
            raise ConfigurationError(
                f"{option}={text!r} is no name with a number: write it as kill=300"
            )
        if name.strip() in found:
            raise ConfigurationError(f'{option}: "{name.strip()}" is given twice')
        found[name.strip()] = int(number)
    return found
