"""The registry: one function per event and per id."""

from __future__ import annotations

from textwrap import indent
from typing import Any

import pytest

from worchflow import Worchflow
from worchflow.definitions.context import SyncContext
from worchflow.definitions.events import Event
from worchflow.definitions.function import create_function
from worchflow.definitions.registry import FunctionRegistry
from worchflow.foundations.errors import ConfigurationError, FunctionAlreadyRegistered


def handle(ctx: SyncContext[Any]) -> None: ...
def handle_too(ctx: SyncContext[Any]) -> None: ...


pay = create_function("pay", handle, id="pay-function")
mail = create_function("mail", handle_too)


class Lost(Event["Nowhere"], name="lost"): ...  # type: ignore[name-defined]


lost = create_function(Lost, handle)


def test_functions_are_found_by_event_and_by_id() -> None:
    registry = FunctionRegistry([pay, mail])
    assert registry.for_event("pay") is pay
    assert registry.by_id("pay-function") is pay
    assert registry.for_event("pay-function") is None
    assert registry.by_id("pay") is None
    assert list(registry) == [pay, mail]
    assert len(registry) == 2


def test_the_events_name_the_functions_that_serve_them() -> None:
    registry = FunctionRegistry()
    events = registry.events
    assert events == {}
    registry.add(pay)
    assert events == {"pay": "pay-function"}
    with pytest.raises(TypeError):
        events["mail"] = "x"  # type: ignore[index]


def test_a_second_function_on_one_event_is_refused() -> None:
    registry = FunctionRegistry([mail])
    other = create_function("mail", handle, id="other")
    with pytest.raises(FunctionAlreadyRegistered) as caught:
        registry.add(other)
    assert 'the event "mail" has a function already' in caught.value.message
    assert "test_registry.handle_too; " in caught.value.message
    assert "test_registry.handle needs its own event" in caught.value.message
    assert caught.value.function_id == "other"
    assert list(registry) == [mail]
    assert registry.by_id("other") is None


def test_a_second_function_of_one_id_is_refused() -> None:
    registry = FunctionRegistry([mail])
    other = create_function("other", handle, id="mail")
    with pytest.raises(FunctionAlreadyRegistered) as caught:
        registry.add(other)
    assert 'the id "mail" belongs to' in caught.value.message
    assert 'with id="…"' in caught.value.message
    assert caught.value.function_id == "mail"
    assert registry.for_event("other") is None


def test_one_function_given_twice_is_refused() -> None:
    with pytest.raises(FunctionAlreadyRegistered):
        FunctionRegistry([mail, mail])


def defined(text: str, app: Worchflow[Any], module: str = "__main__") -> None:
    """Run the code of a notebook's cell."""
    exec(text, {"__name__": module, "app": app})  # noqa: S102 - what a cell does


CELL = """
@app.function("{event}", id="{id}")
async def {name}(ctx):
    return {value}
"""


def cell(value: int, *, event: str = "e", id: str = "i", name: str = "f") -> str:
    return CELL.format(event=event, id=id, name=name, value=value)


@pytest.mark.parametrize(
    "change", [{}, {"event": "other"}, {"id": "other"}], ids=["same", "event", "id"]
)
async def test_a_definition_run_again_replaces_the_first(
    change: dict[str, str],
) -> None:
    app = Worchflow("notebook")
    defined(cell(1), app)

    defined(cell(2, **change), app)

    (function,) = app.functions
    assert await function.handler(None) == 2
    assert dict(app.registry.events) == {function.event_name: function.id}
    assert app.registry.by_id(function.id) is function


@pytest.mark.parametrize(
    ("text", "module"),
    [
        (cell(2, name="g"), "__main__"),
        (cell(2), "elsewhere"),
        (f"def make():\n{indent(cell(2), '    ')}\nmake()", "__main__"),
    ],
    ids=["another name", "another module", "inside a function"],
)
async def test_another_definition_is_refused(text: str, module: str) -> None:
    app = Worchflow("notebook")
    defined(cell(1), app)

    with pytest.raises(FunctionAlreadyRegistered):
        defined(text, app, module)

    (function,) = app.functions
    assert await function.handler(None) == 1


async def test_a_definition_never_replaces_two() -> None:
    """Its event is that of one function, its id that of another one."""
    app = Worchflow("notebook")
    defined(cell(1), app)
    defined(cell(2, event="other", id="other", name="g"), app)

    with pytest.raises(FunctionAlreadyRegistered):
        defined(cell(3, event="e", id="other"), app)

    assert len(app.functions) == 2


def test_a_result_type_that_is_nowhere_is_refused_before_work_starts() -> None:
    registry = FunctionRegistry()
    registry.add(lost)
    with pytest.raises(ConfigurationError, match="Lost cannot be read from 'Nowhere'"):
        FunctionRegistry(registry)


@pytest.mark.parametrize(
    ("functions", "reason"),
    [
        (mail, "functions must be a list of functions, not one WorchflowFunction"),
        (None, "functions must be a list of functions, not one NoneType"),
        ([mail, handle], "handle among the functions: make it one of them with @fun"),
        ([Lost], "Lost among the functions"),
        ([3], "int among the functions"),
        ("mail", "str among the functions"),
    ],
)
def test_what_is_no_list_of_functions_is_refused(functions: Any, reason: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        FunctionRegistry(functions)
    assert reason in caught.value.message


def test_a_mistyped_name_gets_a_suggestion() -> None:
    registry = FunctionRegistry([pay, mail])
    assert registry.suggest("mial") == ', did you mean "mail"?'
    assert registry.suggest("pay-functoin") == ', did you mean "pay-function"?'
    assert registry.suggest("zebra") == ""
