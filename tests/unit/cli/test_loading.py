"""The app that a command names: found, or refused with what is wrong."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from worchflow import Worchflow
from worchflow.cli.failures import AppFailed
from worchflow.cli.loading import load_app
from worchflow.foundations.errors import ConfigurationError, InvalidInput

APP = 'from worchflow import Worchflow\nshop = Worchflow("shop")\n'

Module = Callable[[str], str]


@pytest.fixture
def module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], str]]:
    """Writes the module `loaded_app` into the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def write(text: str) -> str:
        (tmp_path / "loaded_app.py").write_text(text)
        return "loaded_app"

    yield write
    sys.modules.pop("loaded_app", None)


def refusal(target: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load_app(target)
    return caught.value.message


def test_an_app_is_found_in_its_module_and_what_that_prints_is_no_data(
    module: Module, capsys: pytest.CaptureFixture[str]
) -> None:
    name = module(f"{APP}print('hello')\nclass inner:\n    app = shop\n")

    app = load_app(f"{name}:shop")

    assert isinstance(app, Worchflow)
    assert load_app(f"{name}:inner.app") is app
    assert capsys.readouterr() == ("", "hello\n")


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("", 'write "module:app"'),
        ("loaded_app", 'write "loaded_app:app"'),
        ("loaded_app:", 'write "loaded_app:app"'),
        (":shop", 'write "module:app"'),
        ("loaded_app.py:shop", '"loaded_app:shop"'),
        ("./src/loaded_app.py:shop", '"src.loaded_app:shop"'),
        ("loaded_ap:shop", 'no module "loaded_ap", did you mean "loaded_app"?'),
        ("loaded_app.inner:shop", 'no module "loaded_app.inner"'),
        ("loaded_app:shpo", 'has no "shpo", did you mean "shop"?'),
        ("loaded_app:x", 'has no "x"; its Worchflow is shop'),
        ("loaded_app:number", "an object of type int, not a Worchflow; its Worchfl"),
        ("loaded_app:Worchflow", "an object of type type, not a Worchflow"),
    ],
)
def test_what_names_no_app_is_refused_with_the_way_out(
    module: Module, target: str, says: str
) -> None:
    module(f"{APP}number = 5\n")

    assert says in refusal(target)


def test_a_module_without_an_app_is_told_how_to_make_one(module: Module) -> None:
    name = module("number = 5\n")

    assert refusal(f"{name}:zzz").endswith('make one with app = Worchflow("name")')


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("1 / 0", "ZeroDivisionError"),
        ("raise SystemExit(3)", "SystemExit"),
        ("import nothing_of_this_name", "ModuleNotFoundError"),
        ("def f(:", "SyntaxError"),
    ],
)
def test_a_module_that_raises_is_told_with_its_own_traceback(
    module: Module, text: str, what: str
) -> None:
    name = module(text)

    with pytest.raises(AppFailed, match=f'"{name}" raised {what}') as caught:
        load_app(f"{name}:app")

    assert "loaded_app.py" in caught.value.traceback
    assert "importlib" not in caught.value.traceback
    assert "cli/loading.py" not in caught.value.traceback


def test_what_worchflow_refuses_in_the_module_is_told_as_it_is(module: Module) -> None:
    name = module('from worchflow import Worchflow\napp = Worchflow("")\n')

    with pytest.raises(InvalidInput, match="name=''"):
        load_app(f"{name}:app")
