"""The "did you mean" part of an error message."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from .errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`', did you mean "x"?'` for the nearest known word, or an empty string."""
    nearest = difflib.get_close_matches(word, list(known), n=1)
    return f', did you mean "{nearest[0]}"?' if nearest else ""


def refuse_unknown(given: Iterable[str], known: Iterable[str], what: str) -> None:
    """`ConfigurationError` for the first given option that `what` does not have."""
    known = sorted(known)
    for name in given:
        if name not in known:
            raise ConfigurationError(
                f'{what} has no option "{name}"'
                f"{did_you_mean(name, known) or ';'} it takes: {', '.join(known)}"
            )
