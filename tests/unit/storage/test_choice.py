"""Where the data goes: said explicitly, else by the environment, else SQLite."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from worchflow import ConfigurationError, open_backend
from worchflow.model.options import BackendOptions
from worchflow.storage.choice import DEFAULT_SQLITE_PATH, StoreChoice, make_backend

REDIS, MONGO = "redis://127.0.0.1:1", "mongodb://127.0.0.1:1/shop"


def location(environ: Mapping[str, str], **choice: Any) -> str:
    """Where the backend would keep the data; making it connects to nothing."""
    return make_backend(StoreChoice(**choice), environ).location


def test_nothing_said_is_the_embedded_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")

    assert location({}) == f"/{DEFAULT_SQLITE_PATH}"


def test_the_environment_names_a_file_or_both_stores(tmp_path: Path) -> None:
    path = str(tmp_path / "shop.db")

    assert location({"WORCHFLOW_SQLITE_PATH": path}) == path
    both = {"WORCHFLOW_REDIS_URL": REDIS, "WORCHFLOW_MONGO_URL": MONGO}
    assert "127.0.0.1:1" in location(both)
    assert "127.0.0.1:1" in location({**both, "WORCHFLOW_SQLITE_PATH": path})


def test_what_is_said_explicitly_wins_over_the_environment(tmp_path: Path) -> None:
    path = str(tmp_path / "shop.db")
    environ = {"WORCHFLOW_REDIS_URL": REDIS, "WORCHFLOW_MONGO_URL": MONGO}

    assert location(environ, sqlite=path) == path
    half = {"WORCHFLOW_REDIS_URL": REDIS}
    assert location(half, sqlite=path) == path
    other = {"WORCHFLOW_SQLITE_PATH": path}
    assert path not in location(other, redis_url=REDIS, mongo_url=MONGO)


@pytest.mark.parametrize(
    ("environ", "choice", "missing"),
    [
        ({"WORCHFLOW_REDIS_URL": REDIS}, {}, "MongoDB"),
        ({"WORCHFLOW_MONGO_URL": MONGO}, {}, "Redis"),
        ({}, {"redis_url": REDIS}, "MongoDB"),
        ({}, {"mongo_url": MONGO}, "Redis"),
        # What was said explicitly is not completed by the environment.
        ({"WORCHFLOW_MONGO_URL": MONGO}, {"redis_url": REDIS}, "MongoDB"),
        ({"WORCHFLOW_REDIS_URL": "", "WORCHFLOW_MONGO_URL": MONGO}, {}, "Redis"),
    ],
)
def test_half_a_choice_is_never_a_silent_file(
    environ: dict[str, str], choice: dict[str, Any], missing: str
) -> None:
    with pytest.raises(ConfigurationError, match=f"{missing} is missing"):
        location(environ, **choice)


@pytest.mark.parametrize(
    "choice", [{"redis": object()}, {"db": object()}, {"lease_db": object()}]
)
def test_half_the_clients_are_refused(choice: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=r"missing|lease_db= without db="):
        location({}, **choice)


@pytest.mark.parametrize(
    "choice",
    [
        {"sqlite": "a.db", "redis_url": REDIS, "mongo_url": MONGO},
        {"sqlite": "a.db", "backend": object()},
        {"redis": object(), "db": object(), "sqlite": "a.db"},
        {"redis": object(), "db": object(), "redis_url": REDIS},
    ],
)
def test_two_choices_are_refused(choice: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="were given together"):
        location({}, **choice)


def test_the_prefix_is_said_or_comes_from_the_environment() -> None:
    def prefix(environ: dict[str, str], **choice: Any) -> str:
        choice["sqlite"] = ":memory:"
        return make_backend(StoreChoice(**choice), environ).options.queue_prefix

    assert prefix({}) == "worchflow"
    assert prefix({"WORCHFLOW_PREFIX": "shop"}) == "shop"
    assert prefix({"WORCHFLOW_PREFIX": ""}) == "worchflow"
    assert prefix({"WORCHFLOW_PREFIX": "shop"}, queue_prefix="own") == "own"
    with pytest.raises(ConfigurationError, match="queue_prefix="):
        prefix({"WORCHFLOW_PREFIX": "no good"})


def test_ts_compat_is_said_or_comes_from_the_environment() -> None:
    def is_on(word: str | None, **choice: Any) -> bool:
        environ = {} if word is None else {"WORCHFLOW_TS_COMPAT": word}
        choice["sqlite"] = ":memory:"
        return make_backend(StoreChoice(**choice), environ).options.ts_compat

    assert not is_on(None)
    assert not any(is_on(word) for word in ("", "0", "false", "False"))
    assert all(is_on(word) for word in ("1", "true", " TRUE "))
    assert not is_on("true", ts_compat=False)
    assert is_on("false", ts_compat=True)
    with pytest.raises(ConfigurationError, match="WORCHFLOW_TS_COMPAT='maybe' must be"):
        is_on("maybe")


def test_a_backend_keeps_its_own_prefix() -> None:
    backend = open_backend(
        "sqlite://:memory:", options=BackendOptions(queue_prefix="own")
    )

    assert make_backend(StoreChoice(backend=backend), {}) is backend
    with pytest.raises(ConfigurationError, match="does not fit backend="):
        make_backend(StoreChoice(backend=backend, queue_prefix="other"), {})


@pytest.mark.parametrize(
    ("url", "where"),
    [
        ("sqlite:////data/shop.db", "/data/shop.db"),
        ("sqlite:///shop.db", "/shop.db"),
        ("sqlite:///data/shop.db", "/data/shop.db"),
        ("sqlite://:memory:", ":memory:"),
        ("sqlite:///:memory:", ":memory:"),
    ],
)
def test_urls_of_files(monkeypatch: pytest.MonkeyPatch, url: str, where: str) -> None:
    monkeypatch.chdir("/")

    assert open_backend(url).location == where


def test_urls_of_servers_come_in_any_order() -> None:
    assert open_backend(REDIS, MONGO).location == open_backend(MONGO, REDIS).location


@pytest.mark.parametrize(
    "urls",
    [
        ("sqlite://",),
        ("sqlite:///",),
        (REDIS,),
        (MONGO,),
        (REDIS, REDIS),
        (REDIS, MONGO, MONGO),
        (REDIS, MONGO, "sqlite://:memory:"),
        ("shop.db",),
        ("postgresql://localhost/shop",),
        ("",),
    ],
)
def test_other_urls_name_no_store(urls: tuple[str, ...]) -> None:
    with pytest.raises(ConfigurationError):
        open_backend(*urls)
