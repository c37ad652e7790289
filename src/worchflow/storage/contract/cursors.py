"""The cursors of listings: where a page ended, as text that is passed on unchanged."""

from __future__ import annotations

import base64
import binascii
import json
from typing import TYPE_CHECKING, Any

from ...foundations.errors import InvalidInput

if TYPE_CHECKING:
    from typing_extensions import TypeIs


def make_cursor(place: list[Any]) -> str:
    """A place, which JSON can hold, as text for a URL."""
    # In ASCII, because a damaged id may have half characters.
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode()


def read_cursor(cursor: str) -> list[Any]:
    """The place in a cursor, whatever it holds; `InvalidInput` for any other text."""
    try:
        found: object = json.loads(base64.urlsafe_b64decode(cursor.encode("ascii")))
    except (ValueError, RecursionError, binascii.Error):
        raise not_a_cursor(cursor) from None
    if not _is_list(found):
        raise not_a_cursor(cursor)
    return found


def not_a_cursor(cursor: str) -> InvalidInput:
    """The error about a cursor that this store did not make."""
    return InvalidInput(
        f"cursor={cursor[:80]!r} was not made by this store: pass on the `cursor` of "
        "a page, unchanged",
        field="cursor",
    )


def _is_list(value: object) -> TypeIs[list[Any]]:
    return isinstance(value, list)
