"""The "did you mean" part of an error message."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from .errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Set as AbstractSet


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`', did you mean "x"?'` for the nearest known word, or an empty string."""
    nearest = difflib.get_close_matches(word, list(known), n=1)
    return f', did you mean "{nearest[0]}"?' if nearest else ""


def unknown_word(word: str, known: Iterable[str], what: str, noun: str) -> str:
    """Says that `what` has no such option, field or name, and which it does have."""
    known = sorted(known)
    return (
        f'{what} has no {noun} "{word}"'
        f"{did_you_mean(word, known) or ';'} it takes: {', '.join(known) or 'none'}"
    )


def refuse_unknown(given: Iterable[str], known: AbstractSet[str], what: str) -> None:
    """`ConfigurationError` for the first given option that `what` does not have."""
    for name in given:
        if name not in known:
            raise ConfigurationError(unknown_word(name, sorted(known), what, "option"))
