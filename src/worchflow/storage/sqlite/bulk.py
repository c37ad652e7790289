"""Many rows in one statement: each call into SQLite may cost a thread its turn."""

from __future__ import annotations

from functools import cache, lru_cache
from itertools import chain, compress
from string import Formatter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Sequence

    from .rows import Row

MAX_ROWS = 64
MAX_STATEMENTS = 1000
"""Texts that are kept: of each statement one for each size and set of columns."""
ROWS = "rows"


def named_rows(columns: Sequence[str]) -> str:
    """The rows of a statement for `execute_rows`, as a table with these columns.

    A common table expression would say the same, but Python's sqlite3 does not count
    the changes of a statement that begins with one.
    """
    names = ", ".join(
        f"column{number} AS {name}" for number, name in enumerate(columns, 1)
    )
    return f"(SELECT {names} FROM (VALUES {{{ROWS}}}))"  # noqa: S608


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
    before, after = _names(statement)
    for part in _parts(rows):
        columns = list(zip(*part, strict=True))
        # Python's sqlite3 takes long over each None that it is given.
        filled = tuple(column.count(None) < len(part) for column in columns)
        sql = _statement(statement, len(part), filled)
        parameters = [
            *(named[name] for name in before),
            *chain.from_iterable(zip(*compress(columns, filled), strict=True)),
            *(named[name] for name in after),
        ]
        changed += connection.execute(sql, parameters).rowcount
    return changed


def _parts(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """Slices whose sizes are powers of two, so that few statements are prepared."""
    start = 0
    while start < len(rows):
        size = min(MAX_ROWS, 1 << ((len(rows) - start).bit_length() - 1))
        yield rows[start : start + size]
        start += size


@cache
def _names(template: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the values before the rows and after them, as often as they occur."""
    names = [name for _, name, _, _ in Formatter().parse(template) if name]
    config = names.index(ROWS)
    return tuple(names[:config]), tuple(names[config + 1 :])


@lru_cache(maxsize=MAX_STATEMENTS)
def _statement(template: str, rows: int, filled: tuple[bool, ...]) -> str:
    """The statement for so many rows, with NULL where a column of none is `filled`.

    Every value is a plain `?`: Python 3.12.0 and 3.12.1 object to numbered ones.
    """
    row = f"({', '.join('?' if each else 'NULL' for each in filled)})"
    values = ", ".join([row] * rows)
    names = {name for part in _names(template) for name in part}
    return template.format(rows=values, **dict.fromkeys(names, "?"))
