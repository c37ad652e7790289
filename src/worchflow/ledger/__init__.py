"""Proves from what was written outside the stores that the promises held.

Workers append a line for each step they begin and end, whoever breaks things appends
what was broken, and `check` judges the file: `worchflow verify-ledger` does it too.
Imports `definitions` and below. Start with `lines.py`, then `verdict.py`.
"""

from __future__ import annotations

from .lines import Kind, Line, Plan, read
from .middleware import LedgerMiddleware
from .report import Report, Violation
from .verdict import check
from .writing import Ledger

__all__ = [
    "Kind",
    "Ledger",
    "LedgerMiddleware",
    "Line",
    "Plan",
    "Report",
    "Violation",
    "check",
    "read",
]
