"""What a function, a value or a task is to the event loop."""

from __future__ import annotations

import asyncio
import inspect
from inspect import CO_COROUTINE
from types import FunctionType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine


def is_coroutine_function(function: Callable[..., Any]) -> bool:
    """Whether it is an `async def` itself, so that calling it runs nothing."""
    # Most step functions are plain `async def`, which the flag alone tells.
    if type(function) is FunctionType and function.__code__.co_flags & CO_COROUTINE:
        return True
    return inspect.iscoroutinefunction(function)


def is_being_cancelled() -> bool:
    """Whether somebody has asked to cancel the task that this runs in."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def has_not_begun(coroutine: Coroutine[Any, Any, Any]) -> bool:
    """Whether it can still begin; a cancelled task may have closed it."""
    return inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED


def discard(value: object) -> None:
    """Close what nobody will await; Python would warn of a forgotten await."""
    if inspect.iscoroutine(value):
        value.close()
