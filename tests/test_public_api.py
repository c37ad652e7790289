"""The public names, frozen: a change here is a change for every user."""

from __future__ import annotations

import inspect
import typing

import pytest

import worchflow

NAMES = (
    "ConfigurationError",
    "Context",
    "DuplicateStep",
    "Event",
    "EventRef",
    "EventValidationError",
    "Execution",
    "ExecutionCancelled",
    "ExecutionConflict",
    "ExecutionFailed",
    "ExecutionHandle",
    "ExecutionNotFound",
    "ExecutionStatus",
    "FunctionAlreadyRegistered",
    "InvalidInput",
    "Middleware",
    "NestedStep",
    "NonRetryable",
    "PayloadTooLarge",
    "Retry",
    "RetryAfter",
    "SchemaTooNew",
    "SerializationError",
    "Serializer",
    "Step",
    "StepError",
    "StepFailed",
    "StepRecord",
    "StepResultChanged",
    "StoreUnavailable",
    "SyncContext",
    "UnknownEvent",
    "Worcher",
    "Worchflow",
    "WorchflowClient",
    "WorchflowError",
    "WorchflowFunction",
    "WrongState",
    "__version__",
    "create_function",
    "event",
    "function",
    "open_backend",
]


def test_the_public_names_are_these() -> None:
    assert sorted(worchflow.__all__) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_public_name_is_there_and_documented(name: str) -> None:
    value = getattr(worchflow, name)

    if name != "__version__":
        assert inspect.getdoc(value)


def test_every_error_is_a_worchflow_error_with_a_code_of_its_own() -> None:
    errors = [
        value
        for name in NAMES
        if inspect.isclass(value := getattr(worchflow, name))
        and issubclass(value, Exception)
    ]

    assert all(issubclass(each, worchflow.WorchflowError) for each in errors)
    codes = [each.code for each in errors]
    assert len(set(codes)) == len(codes)


@pytest.mark.parametrize(
    "owner",
    [
        worchflow.Worchflow,
        worchflow.WorchflowClient,
        worchflow.Worcher,
        worchflow.ExecutionHandle,
    ],
)
def test_every_public_method_has_a_contract_and_types(owner: type) -> None:
    for name, method in inspect.getmembers(owner, inspect.isfunction):
        if name.startswith("_"):
            continue
        assert inspect.getdoc(method), name
        for form in typing.get_overloads(method) or [method]:
            assert "return" in form.__annotations__, name
