"""The verdict on a ledger, and how it is told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from typing_extensions import override

MAX_SHOWN = 10
"""Violations printed of each kind."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A broken promise: its kind in words, the execution, what was seen."""

    kind: str
    execution: str
    seen: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """The verdict on one ledger. `doubts` say why it proves nothing."""

    violations: Sequence[Violation]
    doubts: Sequence[str]
    figures: Mapping[str, int | float]

    @property
    def passed(self) -> bool:
        """Whether the run proves the promises."""
        return not self.violations and not self.doubts

    @override
    def __str__(self) -> str:
        lines = [f"{name}: {value:g}" for name, value in self.figures.items()]
        lines += [f"PROVES NOTHING: {doubt}" for doubt in self.doubts]
        kinds = Counter(violation.kind for violation in self.violations)
        for kind, count in kinds.items():
            lines.append(f"VIOLATION: {kind}: {count}")
            those = [each for each in self.violations if each.kind == kind]
            lines += [f"  {each.execution}: {each.seen}" for each in those[:MAX_SHOWN]]
            lines += [f"  and {count - MAX_SHOWN} more"] if count > MAX_SHOWN else []
        lines.append("passed" if self.passed else "FAILED")
        return "\n".join(lines)
