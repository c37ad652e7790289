"""Links and commands in the documentation lead somewhere."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from tests.docs.pages import PAGES, ROOT, Snippet, snippets
from worchflow.cli.main import app as command_line

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
LANGUAGES = {"bash", "dockerfile", "ini", "json", "python", "text", "toml", "yaml"}
# What a reader has; what we ship ourselves is looked up.
PROGRAMS = {
    *("docker", "export", "git", "gunicorn", "pip", "pip3", "python", "python3"),
    *("source", "uvicorn"),
}


def without_code(text: str) -> str:
    text = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"`[^`\n]*`(?!\])", "", text)


def anchors(path: Path) -> set[str]:
    """The anchors that a page's headings get."""
    headings = HEADING.findall(without_code(path.read_text()))
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        for heading in headings
    }


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_the_links_of_a_page_resolve(path: Path) -> None:
    broken = []
    for target in LINK.findall(without_code(path.read_text())):
        if target.startswith(("http://", "https://")):
            continue
        name, _, anchor = target.partition("#")
        file = path if not name else (path.parent / name).resolve()
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)

    assert broken == []


def test_every_page_can_be_reached_from_the_index() -> None:
    index = ROOT / "docs" / "index.md"
    seen, waiting = {index}, [index]
    while waiting:
        page = waiting.pop()
        for target in LINK.findall(without_code(page.read_text())):
            file = (page.parent / target.partition("#")[0]).resolve()
            if file.suffix == ".md" and file.exists() and file not in seen:
                seen.add(file)
                waiting.append(file)

    assert sorted(set((ROOT / "docs").rglob("*.md")) - seen) == []


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_every_block_says_its_language(path: Path) -> None:
    text = path.read_text()
    fences = re.findall(r"^```(\w*)$", text, re.MULTILINE)

    assert len(fences) % 2 == 0
    assert set(fences[::2]) <= LANGUAGES
    assert set(fences[1::2]) <= {""}


SHELL = [snippet for path in PAGES for snippet in snippets(path, "bash")]


def commands(snippet: Snippet) -> list[list[str]]:
    text = snippet.text.replace("\\\n", " ")
    lines = (shlex.split(line, comments=True) for line in text.splitlines())
    return [words for words in lines if words]


def unknown_words(words: list[str]) -> list[str]:
    """Options that the named command does not have; commands that are not there."""
    command: Any = typer.main.get_command(command_line)
    options = option_names(command)
    unknown = []
    for word in words:
        if word.startswith("-"):
            unknown += [word] if word not in options else []
        elif hasattr(command, "commands") and not unknown:
            command = command.commands.get(word)
            if command is None:
                return [word]
            options |= option_names(command)
    return unknown


def option_names(command: Any) -> set[str]:
    return {name for each in command.params for name in each.opts}


@pytest.mark.parametrize(
    "words", [["serve"], ["worker", "--fast"], ["executions", "lists"]]
)
def test_a_command_that_is_not_there_is_found(words: list[str]) -> None:
    assert unknown_words(words) == words[-1:]


@pytest.mark.parametrize("snippet", SHELL, ids=str)
def test_the_commands_exist(snippet: Snippet) -> None:
    for words in commands(snippet):
        program = words[0]
        if program.startswith("./"):
            assert (ROOT / program).exists(), words
        elif program.startswith(".venv/bin/"):
            assert program.rpartition("/")[2] in PROGRAMS, words
        elif program == "worchflow":
            assert unknown_words(words[1:]) == [], words
        else:
            assert program in PROGRAMS, words
        for word in words[1:]:
            if re.fullmatch(r"(?:examples|docs|scripts|tests)/[\w./-]+", word):
                assert (ROOT / word).exists(), words
