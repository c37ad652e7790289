"""An explicit `Any` in a signature must not turn everything around it into `Any`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, assert_type

from pydantic import BaseModel

from worchflow import (
    Context,
    Event,
    SyncContext,
    WorchflowFunction,
    create_function,
    function,
)


class Receipt(BaseModel):
    txn: str


class Go(Event[Receipt], name="go"):
    n: int


class Dynamic(Event[dict[str, Any]], name="dynamic"):
    payload: dict[str, Any]


class DynamicResult(Event[Any], name="dynamic-result"):
    payload: Any


async def any_argument(x: dict[str, Any]) -> Receipt:
    return Receipt(txn="x")


async def any_keywords(x: int, **more: Any) -> Receipt:
    return Receipt(txn="x")


async def any_inside_result(x: int) -> dict[str, Any]:
    return {}


async def any_result(x: int) -> Any:
    return {}


def any_argument_sync(x: Any) -> Receipt:
    return Receipt(txn="x")


def any_inside_result_sync(x: int) -> dict[str, Any]:
    return {}


def any_result_sync(x: int) -> Any:
    return {}


class Service:
    async def get(self, query: Mapping[str, Any]) -> bytes:
        return b""


anything: Callable[..., Coroutine[Any, Any, Receipt]] = any_argument
anything_sync: Callable[..., Receipt] = any_argument_sync
anything_at_all: Callable[..., Any] = any_argument_sync
awaitable: Callable[[Any], Awaitable[Receipt]] = any_argument


@function(Go)
async def go(ctx: Context[Go]) -> Receipt:
    s = ctx.step
    assert_type(await s.run("t", any_argument, {}), Receipt)
    assert_type(await s.run("t", any_keywords, 1, a=2), Receipt)
    assert_type(await s.run("t", any_inside_result, 1), dict[str, Any])
    assert_type(await s.run("t", any_result, 1), Any)
    assert_type(await s.run("t", any_argument_sync, 1), Receipt)
    assert_type(await s.run("t", any_inside_result_sync, 1), dict[str, Any])
    assert_type(await s.run("t", any_result_sync, 1), Any)
    assert_type(await s.run("t", Service().get, {}), bytes)
    assert_type(await s.run("t", anything, {}), Receipt)
    assert_type(await s.run("t", anything_sync, {}), Receipt)
    assert_type(await s.run("t", anything_at_all, {}), Any)
    assert_type(await s.run("t", awaitable, {}), Receipt)
    await s.run("t", any_argument, 1)  # BAD
    wrong: int = await s.run("t", any_argument, {})  # BAD
    print(wrong)
    return await s.run("t", any_argument, {})


@function(Go)
def go_in_a_thread(ctx: SyncContext[Go]) -> Receipt:
    assert_type(ctx.step.run("t", any_argument, {}), Receipt)
    assert_type(ctx.step.run("t", any_argument_sync, 1), Receipt)
    wrong: int = ctx.step.run("t", any_argument, {})  # BAD
    print(wrong)
    return ctx.step.run("t", any_keywords, 1, a=2)


@function("by-name")
async def by_name(ctx: Context[dict[str, Any]]) -> dict[str, Any]:
    return {}


@function("by-name-any")
async def by_name_any(ctx: Context[Any]) -> Any:
    return {}


@function("by-name-sync")
def by_name_sync(ctx: SyncContext[Any]) -> dict[str, Any]:
    return {}


@function(Dynamic)
async def dynamic(ctx: Context[Dynamic]) -> dict[str, Any]:
    return ctx.data.payload


@function(DynamicResult)
async def dynamic_result(ctx: Context[DynamicResult]) -> dict[str, Any]:
    return {}


@function(DynamicResult)
def dynamic_result_sync(ctx: SyncContext[DynamicResult]) -> dict[str, Any]:
    return {}


assert_type(by_name, WorchflowFunction[dict[str, Any], dict[str, Any]])
assert_type(by_name_any, WorchflowFunction[Any, Any])
assert_type(by_name_sync, WorchflowFunction[Any, dict[str, Any]])
assert_type(dynamic, WorchflowFunction[Dynamic, dict[str, Any]])
assert_type(dynamic_result, WorchflowFunction[DynamicResult, Any])
assert_type(dynamic_result_sync, WorchflowFunction[DynamicResult, Any])
assert_type(
    create_function(Dynamic, dynamic.handler),
    WorchflowFunction[Dynamic, dict[str, Any]],
)
