"""Sends every store call of this process through an injector, for good.

The contract's methods on both stores; behind them every command of the gateways to
MongoDB and Redis, the lease's own connection, and where SQLite begins and commits.
"""

from __future__ import annotations

import inspect
import sqlite3
import threading
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

from tests.crash_points.injection import Injector
from worchflow.model.records import (
    Claim,
    NewExecution,
    StoredExecution,
    StoredStep,
)
from worchflow.model.settlement import (
    Cancelled,
    Completed,
    Failed,
    Released,
    RetryAt,
    Suspended,
)
from worchflow.storage.contract.children import ChildStore
from worchflow.storage.contract.claims import ClaimStore
from worchflow.storage.contract.events import EventStore
from worchflow.storage.contract.executions import ExecutionStore
from worchflow.storage.contract.leadership import LeadershipStore, SweepStore
from worchflow.storage.contract.listing import CountingStore, ListingStore
from worchflow.storage.contract.retention import RetentionStore
from worchflow.storage.contract.steps import StepStore
from worchflow.storage.contract.waits import WaitStore
from worchflow.storage.contract.workers import WorkerStore
from worchflow.storage.redis_mongo.backend import RedisMongoBackend
from worchflow.storage.redis_mongo.leases import OwnConnection
from worchflow.storage.redis_mongo.mongo_gateway import MongoGateway
from worchflow.storage.redis_mongo.redis_gateway import RedisGateway, RedisListener
from worchflow.storage.sqlite import connection as sqlite_connection
from worchflow.storage.sqlite.backend import SQLiteBackend

Naming = Callable[..., str]

STATEMENTS = ("BEGIN IMMEDIATE", "COMMIT")
APART = {"renew", "claims.announce"}
"""One blocks, the other waits for nothing."""
LIFE = ("open", "close", "check")
SETTLEMENTS = (Completed, Failed, RetryAt, Released, Cancelled, Suspended)
SUBJECTS: dict[str, type[Any]] = {
    "executions": ExecutionStore,
    "listing": ListingStore,
    "counting": CountingStore,
    "retention": RetentionStore,
    "steps": StepStore,
    "waits": WaitStore,
    "children": ChildStore,
    "events": EventStore,
    "claims": ClaimStore,
    "workers": WorkerStore,
    "leadership": LeadershipStore,
    "sweeping": SweepStore,
}
METHODS = {name: kind.__abstractmethods__ for name, kind in SUBJECTS.items()}


def called(subject: str, method: str) -> str:
    """What a call is named: its method, and the subject where several have it."""
    is_one_of_several = sum(method in each for each in METHODS.values()) > 1
    return f"{subject}.{method}" if is_one_of_several else method


NAMES = {
    called(subject, method) for subject, each in METHODS.items() for method in each
}
CALLS = NAMES.union(LIFE) - APART
"""Every call of the contract that may break."""


def wrap_everything(injector: Injector) -> None:
    """Wrap what this process may call."""
    for backend in (SQLiteBackend, RedisMongoBackend):
        for name in LIFE:
            _wrap(injector, backend, name, lambda *args: _subject(args))
        for name, methods in METHODS.items():
            _wrap_subject(injector, backend, name, methods)
    _wrap_gateway(injector, MongoGateway, _collection)
    _wrap_gateway(injector, RedisGateway, _scripts)
    for name in ("subscribe", "unsubscribe"):
        _wrap(injector, RedisListener, name, lambda *args: "")
    _wrap_sync(injector, OwnConnection, "run")
    _wrap_sqlite(injector)


def _wrap_subject(
    injector: Injector, backend: type, name: str, methods: frozenset[str]
) -> None:
    """Wrap what is called through a backend, not what its parts call of each other."""
    read = getattr(backend, name).fget

    class Wrapped:
        def __init__(self, part: Any) -> None:
            self._part = part

        def __getattr__(self, wanted: str) -> Any:
            method, call = getattr(self._part, wanted), called(name, wanted)
            point = f"{backend.__name__}.{call}"
            if call == "renew":
                return lambda *args: injector.in_thread(point, lambda: method(*args))
            if wanted not in methods or call in APART:
                return method
            return lambda *args, **kwargs: injector.around(
                f"{point}{_subject(args)}", lambda: method(*args, **kwargs)
            )

    setattr(backend, name, property(lambda self: Wrapped(read(self))))


def _wrap_gateway(injector: Injector, gateway: type, naming: Naming) -> None:
    for name, method in vars(gateway).items():
        if inspect.iscoroutinefunction(method) and not name.startswith("_"):
            _wrap(injector, gateway, name, naming)


def _wrap(injector: Injector, owner: type, name: str, naming: Naming) -> None:
    method: Callable[..., Awaitable[Any]] = getattr(owner, name)

    @wraps(method)
    async def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
        point = f"{owner.__name__}.{name}{naming(*args)}"
        return await injector.around(point, lambda: method(self, *args, **kwargs))

    setattr(owner, name, wrapped)


def _wrap_sync(injector: Injector, owner: type, name: str) -> None:
    method: Callable[..., Any] = getattr(owner, name)

    @wraps(method)
    def wrapped(self: Any, *args: Any) -> Any:
        point = f"{owner.__name__}.{name}"
        return injector.in_thread(point, lambda: method(self, *args))

    setattr(owner, name, wrapped)


def _wrap_sqlite(injector: Injector) -> None:
    class Connection(sqlite3.Connection):
        def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
            run = super().execute
            if sql not in STATEMENTS:
                return run(sql, *args)
            thread = threading.current_thread().name.partition("-")[2]
            thread = "lease" if thread.startswith("lease") else thread
            point = f"SQLite.{sql} ({thread or 'opening'})"
            return injector.statement(point, lambda: run(sql, *args))

    def connect(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        return sqlite3.connect(*args, **kwargs, factory=Connection)

    class Module:
        """The module `sqlite3` with another `connect`."""

        def __getattr__(self, name: str) -> Any:
            return connect if name == "connect" else getattr(sqlite3, name)

    sqlite_connection.sqlite3 = Module()  # type: ignore[assignment]


def _subject(args: tuple[Any, ...]) -> str:
    """What tells the calls of one method of the contract apart."""
    words = []
    for argument in args:
        if isinstance(argument, Claim):
            words.append(_kind(argument.execution))
        elif isinstance(argument, StoredStep):
            words.append(argument.title)
        elif isinstance(argument, SETTLEMENTS):
            words.append(type(argument).__name__)
        elif isinstance(argument, list | tuple):
            words += [_kind(e) for e in argument if isinstance(e, NewExecution)]
    return f" ({', '.join(words)})" if words else ""


def _kind(execution: NewExecution | StoredExecution) -> str:
    _, dot, kind = execution.id.rpartition(".")
    # The id of what an execution sends or starts is another one in each run.
    return kind if dot else execution.event_name


def _collection(collection: Any = "", *args: Any) -> str:
    if isinstance(collection, dict):
        return f" ({next(iter(collection))})"
    return f" ({collection})" if isinstance(collection, str) and collection else ""


def _scripts(calls: Any = (), *args: Any) -> str:
    if isinstance(calls, list | tuple):
        names = [getattr(getattr(call, "script", None), "name", "") for call in calls]
        return f" ({', '.join(dict.fromkeys(filter(None, names)))})"
    return ""
