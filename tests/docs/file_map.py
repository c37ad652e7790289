"""The list of all files in the page about the architecture, made from their docstrings.

    python -m tests.docs.file_map

writes it into the page.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.docs.pages import ROOT

SOURCE = ROOT / "src" / "worchflow"
PAGE = ROOT / "docs" / "architecture.md"
HEADING = "## All files\n"


def file_map() -> str:
    """The section: a table for each folder, under what its docstring says of it."""
    return "\n".join([HEADING, *sections()])


def sections() -> Iterator[str]:
    """The root's section, then those of the packages, in the order of their names."""
    folders = {path.parent for path in files()}
    for folder in sorted(folders, key=lambda path: path.relative_to(SOURCE).parts):
        name = "/".join(folder.relative_to(SOURCE).parts)
        rows = [path for path in files() if path.parent == folder]
        yield f"### `{name}/`\n" if name else "### The root\n"
        if name:
            yield guide(rows.pop(0)) + "\n" if rows[0].name == "__init__.py" else ""
        yield "| File | What it is for |\n|---|---|"
        for path in rows:
            yield f"| `{path.name}` | {purpose(path)} |"
        yield ""


def files() -> list[Path]:
    """Every file of the library that says what it is for."""
    kinds = {".py", ".lua", ".sql"}
    return sorted(path for path in SOURCE.rglob("*") if path.suffix in kinds)


def guide(path: Path) -> str:
    """A package's docstring."""
    return ast.get_docstring(ast.parse(path.read_text())) or ""


def purpose(path: Path) -> str:
    """The first sentence of a file."""
    if path.suffix == ".py":
        return guide(path).partition("\n\n")[0].replace("\n", " ")
    return path.read_text().partition("\n")[0].removeprefix("-- ")


def written() -> str:
    """The section as the page has it."""
    _, heading, rest = PAGE.read_text().partition(HEADING)
    return heading + rest[: rest.index("\n## ") + 1]


if __name__ == "__main__":
    PAGE.write_text(PAGE.read_text().replace(written(), file_map()))
