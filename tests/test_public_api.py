"""The public interface as it stands: its names, their docstrings and annotations."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import pytest

import worchflow
from worchflow import ExecutionHandle, WorchflowClient
from worchflow.client.sync_client import SyncClient, SyncExecutionHandle
from worchflow.engine.emitter import Emitter

# Changing this list is changing the interface: docs and changelog have to say so.
NAMES = [
    *("AttemptRecord", "BackendOptions", "ChildHandle", "ConfigurationError"),
    *("Context", "DeadlineExceeded"),
    *("DuplicateStep", "ErrorInfo"),
    *("Event", "EventConflict", "EventRef", "EventValidationError"),
    *("Execution", "ExecutionCancelled"),
    *("ExecutionConflict", "ExecutionFailed", "ExecutionHandle", "ExecutionNotFound"),
    *("ExecutionStatus", "FunctionAlreadyRegistered", "InvalidInput"),
    *(
        "Middleware",
        "NestedStep",
        "NonRetryable",
        "Page",
        "PayloadLimits",
        "PayloadTooLarge",
    ),
    *("Retention", "Retry", "RetryAfter", "SchemaTooNew", "SchemaTooOld"),
    "SerializationError",
    *("Serializer", "Step", "StepError", "StepFailed", "StepRecord"),
    *("StepResultChanged", "StepsFailed", "StoreUnavailable", "SyncChildHandle"),
    "SyncContext",
    "SyncToken",
    *("Token", "UnknownEvent", "WaitRecord"),
    *("Worcher", "Worchflow", "WorchflowClient", "WorchflowError", "WorchflowFunction"),
    *("WorkerOptions", "WrongState", "Zoned", "__version__", "create_function"),
    *("event", "function", "open_backend"),
]


def public_objects() -> Iterator[tuple[str, Any]]:
    """Every public name, and what is public on the classes among them."""
    for name in NAMES:
        value = getattr(worchflow, name)
        if name != "__version__":
            yield name, value
        if isinstance(value, type):
            for member, found in vars(value).items():
                if not member.startswith("_") and is_ours(found):
                    yield f"{name}.{member}", found


def is_ours(member: object) -> bool:
    function = unwrapped(member)
    return inspect.isfunction(function) and function.__module__.startswith("worchflow")


def unwrapped(member: Any) -> Any:
    if isinstance(member, property):
        return member.fget
    if isinstance(member, classmethod | staticmethod):
        return member.__func__
    return member


def test_the_names_are_frozen() -> None:
    assert worchflow.__all__ == NAMES


def test_tracebacks_name_the_errors_as_they_are_imported() -> None:
    names = [name for name in NAMES if is_error(getattr(worchflow, name))]

    assert "StepFailed" in names
    assert {getattr(worchflow, name).__module__ for name in names} == {"worchflow"}


def is_error(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, worchflow.WorchflowError)


def test_star_import_gives_the_names_and_nothing_else() -> None:
    found: dict[str, Any] = {}
    exec("from worchflow import *", found)  # noqa: S102 - there is no other way
    found.pop("__builtins__")

    assert sorted(found) == NAMES


def test_other_names_of_the_package_are_its_modules() -> None:
    others = {
        name
        for name in vars(worchflow)
        if name not in NAMES and not name.startswith("__")
    }
    modules = {name for name in others if inspect.ismodule(vars(worchflow)[name])}

    assert others - modules <= {"annotations"}  # of `from __future__`


@pytest.mark.parametrize(
    ("name", "value"), [pytest.param(*each, id=each[0]) for each in public_objects()]
)
def test_everything_public_is_documented(name: str, value: Any) -> None:
    doc = unwrapped(value).__doc__

    assert doc, f"{name} has no docstring"
    first = doc.strip().splitlines()[0]
    assert first[0].isupper() or first[0] in "`'", first
    assert not doc.startswith(("str(object", "Create a new")), name


def callables() -> Iterator[tuple[str, Any]]:
    for name, value in public_objects():
        function = unwrapped(value)
        if inspect.isfunction(function):
            yield name, function
        elif isinstance(function, type) and "__init__" in vars(function):
            init = vars(function)["__init__"]
            if init.__module__.startswith("worchflow"):
                yield f"{name}()", init


@pytest.mark.parametrize(
    ("name", "function"), [pytest.param(*each, id=each[0]) for each in callables()]
)
def test_everything_callable_is_annotated(name: str, function: Any) -> None:
    signature = inspect.signature(function)
    first, *_ = [*signature.parameters, None]
    missing = [
        each.name
        for each in signature.parameters.values()
        if each.annotation is inspect.Parameter.empty
        and not (each.name == first and first in {"self", "cls"})
    ]

    assert missing == []
    assert signature.return_annotation is not inspect.Signature.empty


PAIRS = ((WorchflowClient, SyncClient), (ExecutionHandle, SyncExecutionHandle))


def twins() -> Iterator[tuple[str, Any, Any]]:
    """Every method that works on stores, with the one that blocks."""
    for asynchronous, blocking in PAIRS:
        for name, method in inspect.getmembers(asynchronous, inspect.isfunction):
            if not name.startswith("_") and not hasattr(Emitter, name):
                label = f"{asynchronous.__name__}.{name}"
                yield label, method, getattr(blocking, name, None)


@pytest.mark.parametrize(
    ("method", "twin"), [pytest.param(*each[1:], id=each[0]) for each in twins()]
)
def test_a_method_and_the_one_that_blocks_are_called_alike(
    method: Any, twin: Any
) -> None:
    def called(function: Any) -> list[tuple[str, Any, Any]]:
        parameters = inspect.signature(function).parameters.values()
        return [(each.name, each.kind, each.default) for each in parameters]

    assert called(twin) == called(method)


def test_errors_are_one_family_with_codes_of_their_own() -> None:
    errors = [
        value
        for name in NAMES
        if isinstance(value := getattr(worchflow, name), type)
        and issubclass(value, Exception)
    ]
    codes = {error.code for error in errors}

    assert all(issubclass(error, worchflow.WorchflowError) for error in errors)
    assert len(codes) == len(errors)


def test_the_version_is_that_of_the_distribution() -> None:
    assert version("worchflow") == worchflow.__version__


def test_importing_it_loads_no_store() -> None:
    code = (
        "import sys, worchflow; stores = {'redis', 'pymongo', 'sqlite3'}; "
        "print((stores | {'typer', 'starlette'}) & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )

    assert done.stdout.strip() == "set()"
