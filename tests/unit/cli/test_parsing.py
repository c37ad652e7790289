from __future__ import annotations

from datetime import UTC, datetime, timedelta
from io import BytesIO, TextIOWrapper
from pathlib import Path

import pytest

from worchflow import ConfigurationError, InvalidInput
from worchflow.cli import parsing
from worchflow.cli.parsing import (
    read_data,
    read_duration,
    read_moment,
    read_names,
    read_past,
)

BIG = {"a": [1, 2.5, "é", 12345678901234567890123]}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (None, None),
        ("null", None),
        ("0", 0),
        ('""', ""),
        ('{"a": [1, 2.5, "é", 12345678901234567890123]}', BIG),
    ],
)
def test_data_is_json(text: str | None, value: object) -> None:
    assert read_data(text) == value


def test_data_comes_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "data.json"
    path.write_text('{"name": "Zoë"}', encoding="utf-8")

    assert read_data(f"@{path}") == {"name": "Zoë"}


def test_data_comes_from_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", TextIOWrapper(BytesIO(b"[1, 2]")))

    assert read_data("-") == [1, 2]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not JSON"),
        ("{amount: 5}", "quote it for the shell"),
        ('{"a": 1,}', "line 1, column"),
        ('{"a": NaN}', "NaN is not a JSON number"),
        ("-Infinity", "-Infinity is not a JSON number"),
        ('{"a": {"b": 1, "c": 2, "b": 3}}', 'has the key "b" twice'),
        ("[" * 100_000, "nested too deeply"),
        ("9" * 5000, "not JSON"),
        ("@", "cannot be read"),
        ("@/no/such/file", "No such file"),
    ],
)
def test_data_that_would_change_silently_or_is_no_json_is_refused(
    text: str, says: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_data(text)

    assert says in str(caught.value)
    assert caught.value.field == "data"


def test_a_file_is_read_up_to_a_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parsing, "MAX_BYTES", 10)
    path = tmp_path / "data.json"
    path.write_text('"12345678"')
    assert read_data(f"@{path}") == "12345678"

    path.write_text('"123456789"')
    with pytest.raises(InvalidInput, match="larger than"):
        read_data(f"@{path}")


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "data.json"
    path.write_bytes(b'"\xff"')

    with pytest.raises(InvalidInput, match="not UTF-8 text: byte 1"):
        read_data(f"@{path}")


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90.0), ("2h", 7200.0), ("1.5", 1.5), ("250ms", 0.25)]
)
def test_a_duration_is_read(text: str, seconds: float) -> None:
    assert read_duration(text, "--delay") == seconds


@pytest.mark.parametrize("text", ["", "soon", "-5s", "-1", "5 minutes", "1e400", "nan"])
def test_what_is_no_duration_is_refused_with_its_option(text: str) -> None:
    with pytest.raises(
        ConfigurationError, match=r"--delay=.* is not a duration: write"
    ):
        read_duration(text, "--delay")


@pytest.mark.parametrize("text", ["2030-01-31T08:00:00Z", "2030-01-31T10:00:00+02:00"])
def test_a_moment_is_read(text: str) -> None:
    assert read_moment(text, "--at") == datetime(2030, 1, 31, 8, tzinfo=UTC)


@pytest.mark.parametrize("text", ["", "tomorrow", "2030-01-31", "2030-01-31T08:00:00"])
def test_a_moment_without_a_zone_is_refused(text: str) -> None:
    with pytest.raises(
        ConfigurationError, match=r"--at=.* not a moment with a time zone"
    ):
        read_moment(text, "--at")


def test_the_past_is_a_moment_or_how_long_ago() -> None:
    before = datetime.now(UTC)
    day_ago = read_past("24h", "--since")
    moment = read_past("2030-01-31T08:00:00Z", "--since")

    assert day_ago is not None
    assert before <= day_ago + timedelta(days=1) <= datetime.now(UTC)
    assert moment == datetime(2030, 1, 31, 8, tzinfo=UTC)
    assert read_past(None, "--since") is None


def test_names_stand_between_commas() -> None:
    assert read_names("a, b", "--functions") == ["a", "b"]
    assert read_names(None, "--functions") is None
    with pytest.raises(ConfigurationError, match="an empty name"):
        read_names("a,,b", "--functions")
