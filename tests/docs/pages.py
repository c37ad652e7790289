"""Reads the Markdown pages and runs their snippets, each page as one program."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import inspect
import io
import re
import sys
import types
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).parent.parent.parent
PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("examples/**/*.md")]
)

FENCE = re.compile(
    r"^(?:<!-- needs: (?P<needs>\w+) -->\n)?"
    r"^```(?P<language>\w*)\n(?P<text>.*?)^```$"
    r"|^<!-- run\n(?P<hidden>.*?)^-->$",
    re.MULTILINE | re.DOTALL,
)
PRINTED = re.compile(r"# -> (.*)$", re.MULTILINE)
FILE = re.compile(r"# (\w+\.py)\n")


@dataclass(frozen=True)
class Snippet:
    """One fenced block, or a hidden one that only runs; `line` is where it begins."""

    path: Path
    line: int
    language: str
    text: str
    needs: str | None

    @property
    def printed(self) -> list[str]:
        """What the comments `# -> …` say the snippet prints, line by line."""
        return PRINTED.findall(self.text)

    @property
    def file(self) -> str | None:
        """The file a reader is told to put it into, from its first line."""
        match = FILE.match(self.text)
        return match[1] if match else None

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line}"


def snippets(path: Path, language: str | None = None) -> Iterator[Snippet]:
    """The fenced blocks of a page, in order; hidden ones count as Python."""
    text = path.read_text()
    for match in FENCE.finditer(text):
        kind = "python" if match["hidden"] is not None else match["language"]
        if language in (None, kind):
            yield Snippet(
                path,
                text[: match.start()].count("\n") + 1,
                kind,
                match["hidden"] or match["text"] or "",
                match["needs"],
            )


def run_page(path: Path, replacements: Mapping[str, str], folder: Path) -> int:
    """Run a page's Python from top to bottom in one module; how many snippets.

    `await` may stand outside of functions, as in `python -m asyncio`. What is printed
    has to be what the comments say. A snippet with a file name is written to `folder`
    too, where later ones can import it.
    """
    count = 0
    module = types.ModuleType(f"page_{path.stem.replace('-', '_')}")
    before = set(sys.modules)
    sys.modules[module.__name__] = module
    try:
        with asyncio.Runner() as runner:
            for snippet in snippets(path, "python"):
                if snippet.needs == "process":
                    continue  # Run by `tests/deployments/test_recipes.py`.
                _run(snippet, module, runner, replacements, folder)
                count += 1
    finally:
        for name in set(sys.modules) - before:
            file = getattr(sys.modules[name], "__file__", None) or ""
            if name == module.__name__ or file.startswith(str(folder)):
                del sys.modules[name]
    return count


def _run(
    snippet: Snippet,
    module: types.ModuleType,
    runner: asyncio.Runner,
    replacements: Mapping[str, str],
    folder: Path,
) -> None:
    text = snippet.text
    for old, new in replacements.items():
        text = text.replace(old, new)
    name = module.__name__
    if snippet.file is not None:
        (folder / snippet.file).write_text(text)
        module.__dict__["__name__"] = "__main__"
    # The lines of a traceback are those of the page.
    source = "\n" * snippet.line + text
    code = compile(
        source, str(snippet.path), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    )
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        try:
            _execute(code, module, runner)
        except Exception as error:
            raise AssertionError(
                f"the snippet at {snippet} raised {error!r}"
            ) from error
        finally:
            module.__dict__["__name__"] = name
    lines = printed.getvalue().splitlines()
    assert lines == snippet.printed, (
        f"{snippet} printed {lines}, its comments say {snippet.printed}"
    )


def _execute(
    code: types.CodeType, module: types.ModuleType, runner: asyncio.Runner
) -> None:
    if not code.co_flags & inspect.CO_COROUTINE:
        exec(code, module.__dict__)  # noqa: S102 - our own documentation
        return

    async def run() -> Any:
        await eval(code, module.__dict__)  # noqa: S307 - our own documentation

    runner.run(run())
