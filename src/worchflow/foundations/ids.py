"""The identities of executions, steps, workers and writes."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .runtime import Runtime

SEPARATOR = "\x1f"
"""Stands between a title and its count or key; no title can contain it."""


def new_execution_id(runtime: Runtime) -> str:
    """A random id; 8 characters of it tell executions apart in practice."""
    return str(runtime.uuid())


def new_worker_id(runtime: Runtime) -> str:
    """A fresh id for every start of a worker, and again after it lost its lease."""
    return runtime.uuid().hex


def new_nonce(runtime: Runtime) -> str:
    """Marks one write, so that its author recognises it after an unknown outcome."""
    return runtime.uuid().hex


def step_id(title: str, *, use: int = 1, key: str | None = None) -> str:
    """The md5 under which a step's result is recorded.

    The first use of a title hashes the title alone, as the TypeScript original
    does; later uses add their number, keyed ones their key.
    """
    if key is not None:
        text = f"{title}{SEPARATOR}:{key}"
    elif use > 1:
        text = f"{title}{SEPARATOR}#{use}"
    else:
        text = title
    return _md5(text)


def derived_id(life: str, step_id: str, number: int = 0) -> str:
    """The id of an execution that a step makes: the same however often it is done.

    `life` tells the execution of the step from others that have had its id.
    """
    text = f"{life}{SEPARATOR}{step_id}{SEPARATOR}{number}"
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def part_id(step_id: str, part: str) -> str:
    """The identity of what belongs to a step and is recorded by itself."""
    return _md5(f"{step_id}{SEPARATOR}{part}")


def item_name(key: str | None, number: int, item_key: str | None) -> str:
    """The key under which an item of a step is shown, whose own key is `key`."""
    if item_key is None:
        return f"{key or ''}[{number}]"
    return item_key if key is None else f"{key}:{item_key}"


def step_name(title: str, key: str | None) -> str:
    """What messages call a step: its title in quotes, and its key if it has one."""
    return f'"{title}"' if key is None else f'"{title}" (key {key})'


@lru_cache(maxsize=4096)
def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
