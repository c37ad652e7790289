"""Many rows in one statement: each call into SQLite may cost a thread its turn."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Sequence

    from .rows import Row

LARGEST = 64


def execute_rows(
    connection: sqlite3.Connection,
    statement: str,
    rows: Sequence[Row],
    named: dict[str, Any],
) -> int:
    """Run a statement that has `{rows}` where a `VALUES` list belongs.

    `named` are values that are the same for all rows, as `{name}` in the statement.
    Returns how many rows of the table changed.
    """
    changed = 0
    for part in _parts(rows):
        sql = _statement(statement, len(part), len(part[0]), tuple(named))
        parameters = [value for row in part for value in row]
        changed += connection.execute(sql, [*named.values(), *parameters]).rowcount
    return changed


def _parts(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """Slices whose sizes are powers of two, so that few statements are prepared."""
    start = 0
    while start < len(rows):
        size = min(LARGEST, 1 << ((len(rows) - start).bit_length() - 1))
        yield rows[start : start + size]
        start += size


@cache
def _statement(template: str, rows: int, columns: int, names: tuple[str, ...]) -> str:
    numbered = {name: f"?{number}" for number, name in enumerate(names, start=1)}
    cells = iter(range(len(names) + 1, len(names) + 1 + rows * columns))
    values = ", ".join(
        f"({', '.join(f'?{next(cells)}' for _ in range(columns))})" for _ in range(rows)
    )
    return template.format(rows=values, **numbered)
