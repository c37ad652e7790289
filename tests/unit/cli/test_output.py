from __future__ import annotations

import json

import pytest

from worchflow.cli.output import json_text, printable

HOSTILE = "\x1b[2J\x07\x9b31m\u202egnp.exe\u2028\x7f\ud800"


def test_what_a_terminal_could_obey_or_hide_is_escaped() -> None:
    assert printable(HOSTILE) == (
        "\\x1b[2J\\x07\\x9b31m\\u202egnp.exe\\u2028\\x7f\\ud800"
    )
    assert printable("naïve 漢字 🙂") == "naïve 漢字 🙂"


def test_lines_are_kept_only_where_they_are_wanted() -> None:
    assert printable("a\n\tb") == "a\\n\\tb"
    assert printable("a\n\tb\r\x1b", lines=True) == "a\n\tb\\r\\x1b"


@pytest.mark.parametrize("indent", [None, 2])
def test_json_stays_json_and_obeys_no_terminal(indent: int | None) -> None:
    value = {"text": HOSTILE + "\U000e0001", "name": "漢字\n"}

    text = json_text(value, indent=indent)

    assert json.loads(text) == value
    assert all(each.isprintable() or each == "\n" for each in text)
    assert "漢字" in text
