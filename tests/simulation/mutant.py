"""One rule of the protocol that is taken out, by changing the library's own code."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

Change = tuple[Any, str, Any]


@dataclass(frozen=True)
class Mutant:
    """One rule taken out."""

    name: str
    breaks: str
    """What nothing keeps any more."""
    changes: Callable[[], list[Change]]
    equivalent: str = ""
    """Why no promise is broken without the rule, where that is so."""

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Change the library."""
        with ExitStack() as stack:
            for change in self.changes():
                stack.enter_context(mock.patch.object(*change))
            yield
