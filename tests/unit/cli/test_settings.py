from __future__ import annotations

from pathlib import Path

import pytest

from worchflow import ConfigurationError
from worchflow.cli.settings import Value, masked, read_settings


def write(folder: Path, text: str, name: str = "worchflow.toml") -> None:
    (folder / name).write_text(text)


def test_a_flag_wins_over_the_environment_over_a_file_over_the_default(
    tmp_path: Path,
) -> None:
    write(tmp_path, 'concurrency = 2\nprefix = "filed"\nlog_level = "error"')
    environ = {"WORCHFLOW_CONCURRENCY": "3", "WORCHFLOW_LOG_LEVEL": "DEBUG"}

    settings = read_settings(tmp_path, environ).with_flags(
        concurrency=4, log_level=None
    )

    assert settings.values["concurrency"] == Value(4, "flag", "--concurrency")
    assert settings.values["log_level"] == Value(
        "debug", "environment", "WORCHFLOW_LOG_LEVEL"
    )
    assert settings.values["prefix"] == Value("filed", "file", "worchflow.toml")
    assert settings.values["log_format"] == Value("pretty", "default")


def test_worchflow_toml_wins_over_pyproject_toml(tmp_path: Path) -> None:
    write(tmp_path, '[tool.worchflow]\nprefix = "b"\nconcurrency = 7', "pyproject.toml")
    assert read_settings(tmp_path, {}).values["prefix"].place == (
        "pyproject.toml [tool.worchflow]"
    )

    write(tmp_path, 'prefix = "a"')
    settings = read_settings(tmp_path, {})
    assert settings["prefix"] == "a"
    assert settings["concurrency"] == 10


def test_a_pyproject_toml_of_others_is_no_setting(tmp_path: Path) -> None:
    write(tmp_path, '[project]\nname = "shop"', "pyproject.toml")

    assert all(
        each.origin == "default" for each in read_settings(tmp_path, {}).values.values()
    )


def test_an_empty_variable_is_no_setting(tmp_path: Path) -> None:
    assert read_settings(tmp_path, {"WORCHFLOW_PREFIX": ""})["prefix"] == "worchflow"


@pytest.mark.parametrize(
    ("environ", "kept"),
    [
        ({"WORCHFLOW_SQLITE_PATH": "x.db"}, set()),
        ({"WORCHFLOW_REDIS_URL": "redis://other"}, {"mongo_url"}),
        ({}, {"redis_url", "mongo_url"}),
    ],
)
def test_a_store_of_the_environment_is_not_mixed_with_one_of_a_file(
    tmp_path: Path, environ: dict[str, str], kept: set[str]
) -> None:
    write(tmp_path, 'redis_url = "redis://filed"\nmongo_url = "mongodb://filed"')

    values = read_settings(tmp_path, environ).values
    assert {name for name, each in values.items() if each.origin == "file"} == kept


def test_the_app_sees_what_a_file_says_about_stores(tmp_path: Path) -> None:
    write(tmp_path, 'sqlite_path = "filed.db"\nprefix = "p"\nconcurrency = 3')
    environ = {"WORCHFLOW_PREFIX": "mine"}

    read_settings(tmp_path, environ).publish(environ)

    assert environ == {"WORCHFLOW_PREFIX": "mine", "WORCHFLOW_SQLITE_PATH": "filed.db"}


def test_the_app_sees_that_a_file_says_ts_compat(tmp_path: Path) -> None:
    write(tmp_path, "ts_compat = true")
    environ: dict[str, str] = {}

    settings = read_settings(tmp_path, environ)
    settings.publish(environ)

    assert settings["ts_compat"] is True
    assert read_settings(tmp_path, environ).values["ts_compat"] == Value(
        True, "environment", "WORCHFLOW_TS_COMPAT"
    )
    off = {"WORCHFLOW_TS_COMPAT": "0"}
    assert read_settings(tmp_path, off)["ts_compat"] is False


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("concurency = 3", 'no setting "concurency", did you mean "concurrency"?'),
        ("concurrency = 0", "concurrency in worchflow.toml=0 must be a whole number"),
        ("concurrency = true", "must be a whole number"),
        ('concurrency = "x"', "must be a whole number"),
        ('log_level = "loud"', "must be one of debug, info, warning, error"),
        ("log_format = 3", "must be one of pretty, json"),
        ('shutdown_timeout = "soon"', "is not a duration"),
        ("shutdown_timeout = -1", "is not a duration"),
        ("app = 3", "must be text"),
        ('app = ""', "must be text that is not empty"),
        ('prefix = "a b"', "is not a queue prefix"),
        ("ts_compat = 2", "ts_compat in worchflow.toml=2 must be one of true, false"),
        ("app = ", "worchflow.toml cannot be read"),
        ('sqlite_path = "x"\nredis_url = "redis://x"', "two places for the data"),
    ],
)
def test_a_wrong_file_is_refused_with_its_place(
    tmp_path: Path, text: str, says: str
) -> None:
    write(tmp_path, text)

    with pytest.raises(ConfigurationError) as caught:
        read_settings(tmp_path, {})

    assert says in str(caught.value)


def test_a_table_that_is_none_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "tool.worchflow = 3", "pyproject.toml")

    with pytest.raises(ConfigurationError, match="must be a table"):
        read_settings(tmp_path, {})


def test_a_secret_in_a_url_is_masked() -> None:
    assert masked("mongo_url", "mongodb://ann:pw@h/db") == "mongodb://ann:***@h/db"
    assert masked("redis_url", None) is None


def test_only_urls_are_masked() -> None:
    assert masked("app", "a://b:c@d") == "a://b:c@d"
