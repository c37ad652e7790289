"""The settings of the command line: from flag, environment, file or default."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

from ..foundations.durations import to_seconds
from ..foundations.errors import ConfigurationError
from ..foundations.limits import check_prefix
from ..foundations.masking import mask_secrets
from ..foundations.suggestions import did_you_mean
from ..storage.choice import DEFAULT_SQLITE_PATH, read_switch
from .parsing import read_duration

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, MutableMapping
    from pathlib import Path

Origin: TypeAlias = Literal["flag", "environment", "file", "default"]

OWN_FILE = "worchflow.toml"
PROJECT_FILE = "pyproject.toml"

LEVELS = ("debug", "info", "warning", "error")
LOG_FORMATS = ("pretty", "json")


@dataclass(frozen=True, slots=True)
class Value:
    """A setting's value and where it comes from; `source` names the place."""

    value: Any
    origin: Origin
    source: str | None = None

    @property
    def place(self) -> str:
        """Origin and source for people."""
        if self.origin == "file":
            return str(self.source)
        return self.origin if self.source is None else f"{self.origin} {self.source}"


@dataclass(frozen=True, slots=True)
class Kind:
    """One setting: how it is read and what it is when nobody sets it."""

    read: Callable[[Any, str], Any]
    default: Any = None


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value:
        raise ConfigurationError(f"{where}={value!r} must be text that is not empty")
    return value


def _whole(value: Any, where: str) -> int:
    text = value.strip() if isinstance(value, str) else value
    try:
        number = int(text) if isinstance(text, str) else text
    except ValueError:
        number = None
    if type(number) is not int or not 1 <= number <= 10_000:
        raise ConfigurationError(
            f"{where}={value!r} must be a whole number from 1 to 10000"
        )
    return number


def _duration(value: Any, where: str) -> float:
    if isinstance(value, str):
        return read_duration(value.strip(), where)
    return to_seconds(value, where)


def _one_of(*words: str) -> Callable[[Any, str], str]:
    def read(value: Any, where: str) -> str:
        word = value.lower() if isinstance(value, str) else value
        if word not in words:
            raise ConfigurationError(
                f"{where}={value!r} must be one of {', '.join(words)}"
            )
        return str(word)

    return read


KINDS: dict[str, Kind] = {
    "app": Kind(_text),
    "redis_url": Kind(_text),
    "mongo_url": Kind(_text),
    "sqlite_path": Kind(_text, DEFAULT_SQLITE_PATH),
    "prefix": Kind(check_prefix, "worchflow"),
    "ts_compat": Kind(read_switch, default=False),
    "concurrency": Kind(_whole, 10),
    "shutdown_timeout": Kind(_duration, 30.0),
    "log_level": Kind(_one_of(*LEVELS), "info"),
    "log_format": Kind(_one_of(*LOG_FORMATS), "pretty"),
}
SERVERS = ("redis_url", "mongo_url")
STORES = (*SERVERS, "sqlite_path", "prefix", "ts_compat")


@dataclass(frozen=True, slots=True)
class Settings:
    """Every setting with its value and origin."""

    values: Mapping[str, Value]

    def __getitem__(self, name: str) -> Any:
        return self.values[name].value

    def with_flags(self, **flags: Any) -> Settings:
        """The same with what was given on the command line; None is not given."""
        values = dict(self.values)
        for name, flag in flags.items():
            if flag is not None:
                option = "--" + name.replace("_", "-")
                read = KINDS[name].read(flag, option)
                values[name] = Value(read, "flag", option)
        return Settings(values)

    def publish(self, environ: MutableMapping[str, str]) -> None:
        """Let the app's own code see the stores that a file names."""
        for name in STORES:
            value = self.values[name]
            if value.origin == "file":
                environ[variable(name)] = str(value.value)


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return f"WORCHFLOW_{name.upper()}"


def read_settings(folder: Path, environ: Mapping[str, str]) -> Settings:
    """The settings of a folder and an environment.

    `ConfigurationError` names the place of a value that is wrong.
    """
    file, path = _read_file(folder)
    if any(environ.get(variable(name)) for name in (*SERVERS, "sqlite_path")):
        # Who names a store in the environment means this one, not half of another.
        other = SERVERS if environ.get(variable("sqlite_path")) else ("sqlite_path",)
        file = {name: value for name, value in file.items() if name not in other}
    values: dict[str, Value] = {}
    for name, kind in KINDS.items():
        from_environment = environ.get(variable(name))
        if from_environment:
            read = kind.read(from_environment, variable(name))
            values[name] = Value(read, "environment", variable(name))
        elif name in file:
            read = kind.read(file[name], f"{name} in {path}")
            values[name] = Value(read, "file", path)
        else:
            values[name] = Value(kind.default, "default")
    return Settings(values)


def _read_file(folder: Path) -> tuple[dict[str, Any], str]:
    own = folder / OWN_FILE
    if own.is_file():
        return _checked(_parsed(own), OWN_FILE), OWN_FILE
    project = folder / PROJECT_FILE
    where = f"{PROJECT_FILE} [tool.worchflow]"
    if project.is_file():
        tool = _parsed(project).get("tool", {})
        return _checked(tool.get("worchflow", {}), where), where
    return {}, where


def _parsed(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"{path.name} cannot be read: {error}") from error


def _checked(table: Any, where: str) -> dict[str, Any]:
    if not isinstance(table, dict):
        raise ConfigurationError(f"{where} must be a table of settings")
    settings = cast("dict[str, Any]", table)
    for name in settings:
        if name not in KINDS:
            hint = did_you_mean(name, KINDS) or ";"
            raise ConfigurationError(
                f'{where} has no setting "{name}"{hint} there are: {", ".join(KINDS)}'
            )
    if "sqlite_path" in settings and any(name in settings for name in SERVERS):
        raise ConfigurationError(
            f"{where} names two places for the data: keep sqlite_path, or redis_url "
            "and mongo_url"
        )
    return settings


def masked(name: str, value: Any) -> Any:
    """The value as it may be shown: no password, token or key of a URL."""
    if name not in SERVERS or not isinstance(value, str):
        return value
    return mask_secrets(value)
