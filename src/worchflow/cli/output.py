"""What the commands print: data on stdout in a chosen form, talk on stderr."""

from __future__ import annotations

import io
import json
import os
import re
import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TextIO

from .streams import write, write_if_possible

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from rich.console import Console

UNREADABLE = re.compile(r"[^\x20-\x7e]")

MIN_WIDTH = 12
"""Characters that a column that gives way keeps, before others are left out."""

STATUS_STYLES = {
    "completed": "green",
    "failed": "red",
    "cancelled": "yellow",
    "processing": "cyan",
    "retrying": "magenta",
    "sleeping": "blue",
    "waiting": "blue",
}


class OutputFormat(StrEnum):
    """How data is printed."""

    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"


def printable(text: str, *, lines: bool = False) -> str:
    """The text with everything escaped that a terminal could obey or hide.

    With `lines`, line breaks and tabs stay.
    """
    kept = "\n\t" if lines else ""
    return UNREADABLE.sub(
        lambda match: (
            match[0]
            if match[0].isprintable() or match[0] in kept
            else match[0].encode("unicode_escape").decode()
        ),
        text,
    )


def json_text(value: Any, *, indent: int | None = None) -> str:
    """JSON that a person can read and a terminal cannot obey."""
    text = json.dumps(value, ensure_ascii=False, indent=indent, default=str)
    return UNREADABLE.sub(_json_escaped, text)


def _json_escaped(match: re.Match[str]) -> str:
    character = match[0]
    # Outside of texts JSON has no other unprintable character than its line breaks.
    if character.isprintable() or character == "\n":
        return character
    return json.dumps(character)[1:-1]


def wants_color(stream: TextIO) -> bool:
    """Whether escape sequences may go to this stream."""
    return (
        stream.isatty()
        and not os.environ.get("NO_COLOR")
        and os.environ.get("TERM") != "dumb"
    )


def print_to_stderr(text: str, *, label: str = "") -> None:
    """Tell the person at the terminal something that is not data."""
    if label and wants_color(sys.stderr):
        label = f"\x1b[1;31m{label}\x1b[0m"
    write_if_possible(f"{label}{printable(text, lines=True)}\n")


class Output:
    """Prints data to stdout in one form."""

    def __init__(self, output_format: OutputFormat) -> None:
        self.output_format = output_format

    @property
    def is_table(self) -> bool:
        """Whether a person reads it."""
        return self.output_format is OutputFormat.TABLE

    def line(self, text: str) -> None:
        """One line for a person."""
        write(f"{printable(text)}\n")

    def text(self, text: str) -> None:
        """Several lines for a person."""
        write(f"{printable(text, lines=True)}\n")

    def object(self, shape: Mapping[str, Any]) -> None:
        """One object as JSON."""
        indent = 2 if self.output_format is OutputFormat.JSON else None
        write(f"{json_text(shape, indent=indent)}\n")

    def objects(
        self, name: str, shapes: Sequence[Mapping[str, Any]], **beside: Any
    ) -> None:
        """Objects as one JSON object under `name`, or each on its own line."""
        if self.output_format is OutputFormat.JSONL:
            for shape in shapes:
                self.object(shape)
        else:
            self.object({name: shapes, **beside})

    @property
    def is_terminal(self) -> bool:
        """Whether a person reads it now, in a window of some width."""
        return self.is_table and sys.stdout.isatty()

    def table(
        self,
        header: Sequence[str],
        rows: Iterable[Sequence[str]],
        *,
        gives_way: str | None = None,
        may_go: Sequence[str] = (),
    ) -> None:
        """A table for a person; a status is coloured, and always a word too.

        In a narrow terminal the columns that `may_go` are left out, the first of them
        first, then the one that `gives_way` is cut, so that each row stays one line;
        without such a column cells are folded.
        """
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False, header_style="bold")
        header, rows = _fitting(header, list(rows), gives_way, may_go)
        for name in header:
            rigid = name == "ID" if gives_way is None else name != gives_way
            table.add_column(name, no_wrap=rigid, overflow="fold")
        for row in rows:
            cells = [
                Text(printable(cell), STATUS_STYLES.get(cell, ""), overflow="fold")
                for cell in row
            ]
            if gives_way is not None:
                cut = cells[header.index(gives_way)]
                cut.no_wrap, cut.overflow = True, "ellipsis"
            table.add_row(*cells)
        _print(table)

    def fields(self, pairs: Iterable[tuple[str, str | None]]) -> None:
        """Named values for a person, one a line; None is left out."""
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False, show_header=False)
        table.add_column(style="bold")
        table.add_column(overflow="fold")
        for name, value in pairs:
            if value is not None:
                text = Text(printable(value, lines=True), STATUS_STYLES.get(value, ""))
                table.add_row(name, text)
        _print(table)


def _fitting(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    gives_way: str | None,
    may_go: Sequence[str],
) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
    """The columns for which the terminal has room."""
    from rich.cells import cell_len

    width = _console().width
    for name in may_go:
        widths = [
            max(map(cell_len, (title, *(row[number] for row in rows))))
            for number, title in enumerate(header)
            if title != gives_way
        ]
        # Two columns are a gap of two apart.
        if sum(widths) + 2 * len(widths) + MIN_WIDTH <= width:
            break
        gone = header.index(name)
        header = [*header[:gone], *header[gone + 1 :]]
        rows = [[*row[:gone], *row[gone + 1 :]] for row in rows]
    return header, rows


def _print(renderable: Any) -> None:
    """Without a terminal: plain text, nothing shortened or wrapped."""
    console = _console()
    with console.capture() as captured:
        console.print(renderable)
    shown = captured.get()
    if not console.is_terminal:
        shown = "".join(f"{line.rstrip()}\n" for line in shown.splitlines())
    write(shown)


def _console() -> Console:
    from rich.console import Console

    is_terminal = sys.stdout.isatty()
    return Console(
        file=io.StringIO(),  # what is shown is written as everything else
        color_system="auto" if wants_color(sys.stdout) else None,
        force_terminal=is_terminal,
        width=None if is_terminal else 1_000_000,
        markup=False,
        highlight=False,
        emoji=False,
    )
