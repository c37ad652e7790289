"""Classes of errors by name: a recorded failure is caught as it was at first."""

from __future__ import annotations

import sys
from typing import Any

from ..foundations.errors import StepFailed

MAX_LENGTH = 500
"""Characters of a name that is recorded."""


def class_path(error: BaseException) -> str | None:
    """Where the class of an error is found, as `module:name`; None if it is nowhere."""
    kind = type(error)
    path = f"{kind.__module__}:{kind.__qualname__}"
    return path if len(path) <= MAX_LENGTH and _find(path) is kind else None


def as_instance(failure: StepFailed, path: str | None) -> StepFailed:
    """The same failure, also as an instance of the class that it was of at first.

    Only of what is imported already: whoever catches it has imported it. Its own
    initialiser is not called, so it has no attributes but those of `StepFailed`.
    """
    failure.counts_for_attempt = True
    found = None if path is None else _find(path)
    if found is None or not issubclass(found, Exception):
        return failure
    try:
        both = _combined(found)
        error = both.__new__(both, *failure.args)
        error.args = failure.args
        vars(error).update(vars(failure))
    except Exception:  # noqa: BLE001 - a user's class may refuse in any way
        return failure
    return error


def _combined(kind: type[Exception]) -> type[StepFailed]:
    namespace = {"__module__": kind.__module__, "__init__": StepFailed.__init__}
    return type(kind.__name__, (StepFailed, kind), namespace)


def _find(path: str) -> type[Any] | None:
    module, _, name = path.partition(":")
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        # No attribute is asked for: a module may import something for one.
        found = getattr(found, "__dict__", {}).get(part)
    return found if isinstance(found, type) else None
