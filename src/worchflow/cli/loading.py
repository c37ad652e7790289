"""Imports the user's app from `module:attribute`, and says what is wrong with it."""

from __future__ import annotations

import contextlib
import importlib
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..app import Worchflow
from ..foundations.errors import ConfigurationError, WorchflowError
from ..foundations.suggestions import did_you_mean
from .failures import AppFailed

if TYPE_CHECKING:
    from types import ModuleType

    from typing_extensions import TypeIs


def load_app(target: str) -> Worchflow[Any]:
    """The app that `target` names; the working directory is importable.

    `ConfigurationError` for a target that names none, `AppFailed` with the
    user's own traceback when the module raises.
    """
    module_name, _, attribute = target.partition(":")
    if not module_name or not attribute:
        raise ConfigurationError(
            f'app "{target}" is not a module:attribute: write '
            f'"{_guess(module_name)}:app" for the variable app of the module'
        )
    if module_name.endswith(".py") or "/" in module_name:
        raise ConfigurationError(
            f'app "{target}" names a file: write the module as Python imports it, '
            f'"{_guess(module_name)}:{attribute}"'
        )
    module = _import(module_name, target)
    value = _attribute(module, attribute, target)
    if not _is_app(value):
        raise ConfigurationError(
            f'app "{target}" is an object of type {type(value).__name__}, not a '
            f"Worchflow{_apps_of(module)}"
        )
    return value


def _is_app(value: object) -> TypeIs[Worchflow[Any]]:
    return isinstance(value, Worchflow)


def _guess(module_name: str) -> str:
    return module_name.removesuffix(".py").strip("./").replace("/", ".") or "module"


def _import(name: str, target: str) -> ModuleType:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        # What the module prints is not data of the command.
        with contextlib.redirect_stdout(sys.stderr):
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            hint = did_you_mean(name, _modules_here())
            raise ConfigurationError(
                f'app "{target}": there is no module "{error.name}"'
                f"{hint or '.'} It is looked for in {here} and where Python "
                "imports from"
            ) from None
        raise _broken(name, error) from error
    except WorchflowError:
        raise
    except (Exception, SystemExit) as error:
        raise _broken(name, error) from error


def _broken(name: str, error: BaseException) -> AppFailed:
    frames = traceback.extract_tb(error.__traceback__)
    ours = [number for number, frame in enumerate(frames) if frame.filename == __file__]
    own = [
        frame
        for frame in frames[ours[-1] + 1 if ours else 0 :]
        if "importlib" not in frame.filename
    ]
    trace = "".join(
        [
            "Traceback (most recent call last):\n",
            *traceback.format_list(own),
            *traceback.format_exception_only(error),
        ]
    )
    what = type(error).__name__
    return AppFailed(
        f'the module "{name}" raised {what} while it was imported; see above',
        traceback=trace,
    )


def _modules_here() -> list[str]:
    return [
        path.stem if path.is_file() else path.name
        for path in Path.cwd().iterdir()
        if path.suffix == ".py" or (path / "__init__.py").is_file()
    ]


def _attribute(module: ModuleType, path: str, target: str) -> Any:
    value: Any = module
    for name in path.split("."):
        try:
            value = getattr(value, name)
        except AttributeError:
            hint = did_you_mean(name, [n for n in vars(module) if n[:1] != "_"])
            raise ConfigurationError(
                f'app "{target}": the module "{module.__name__}" has no "{name}"'
                f"{hint or _apps_of(module) or ''}"
            ) from None
    return value


def _apps_of(module: ModuleType) -> str:
    names = [name for name, each in vars(module).items() if _is_app(each)]
    if not names:
        return ': it has no Worchflow, make one with app = Worchflow("name")'
    return f"; its Worchflow is {' or '.join(names)}"
