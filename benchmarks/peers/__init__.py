"""The peers, each at its best sensible settings.

Found by trying: more or fewer processes, threads and executions at once did worse on
two processors. `share` is the part of Worchflow's executions a peer is given, so that
each runs for two seconds or so; on a slow machine a run ends after `AT_MOST`, and what
is complete by then counts.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import redis

import worchflow.bench.programs
from benchmarks.environments import PEERS, python_of, restate_server
from benchmarks.goals import SQLITE_TWO, STRICT_TWO
from benchmarks.servers import PostgresServer, RestateServer
from tests.servers import RedisServer, free_port
from worchflow.bench.driver import Program
from worchflow.bench.systems import COMPARABLE, Kind, Mode, System

SPEECH = Path(worchflow.bench.programs.__file__).parent
NPM_PACKAGE = PEERS / "restate" / "npm-package.txt"
NO_QUEUE: frozenset[Mode] = COMPARABLE - {"prefilled"}
AT_MOST = 5.0
"""Seconds of a run."""


@dataclass(frozen=True, kw_only=True)
class Peer:
    """How a peer is run and measured."""

    name: str
    label: str
    package: str
    needs: str
    """"redis", "postgres", "sqlite" or "restate"."""
    share: float
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    folder: str = ""
    kind: Kind = "durable"
    workers: int = 2
    modes: frozenset[Mode] = COMPARABLE
    prepares: bool = False
    """Whether its program makes tables first, as the role "prepare"."""

    def system(self, servers: Servers) -> System:
        """Install it, start its server, and describe it; `Unavailable` if it cannot."""
        folder = self.folder or self.name
        python = python_of(folder)
        place, processes = servers.place(self)
        command = (str(python), str(PEERS / folder / "program.py"))
        environment = {"PYTHONPATH": str(SPEECH), "PYTHONWARNINGS": "ignore"}
        if self.prepares:
            place = partial(_prepared, place, command, environment, self.settings)
        return System(
            name=self.label,
            kind=self.kind,
            command=command,
            place=place,
            compared_to=SQLITE_TWO if self.needs == "sqlite" else STRICT_TWO,
            workers=self.workers,
            servers=processes,
            settings=self.settings,
            environment=environment,
            modes=self.modes,
            share=self.share,
            at_most=AT_MOST,
            steps=3 if self.kind == "durable" else 0,
            note=self.note,
        )

    @property
    def note(self) -> str:
        """Its settings, for people."""
        processes = "1 process" if self.workers == 1 else f"{self.workers} processes"
        told = [processes if self.workers else "in the process that sends"]
        for name, words in SETTINGS.items():
            if name in self.settings:
                told.append(f"{words} {self.settings[name]}")
        return ", ".join(told)


SETTINGS = {
    "concurrency": "concurrency",
    "prefetch": "prefetch",
    "poll": "seconds between polls",
    "threads": "threads that send",
    "in_flight": "sends in flight",
}


class Servers:
    """The servers of a run; those that only peers need are started on demand."""

    def __init__(self, redis_server: RedisServer, running: ExitStack) -> None:
        self._redis = redis_server
        self._running = running
        self._postgres: PostgresServer | None = None
        self._restate: RestateServer | None = None
        self.versions: dict[str, str] = {}

    def place(self, peer: Peer) -> tuple[Any, Callable[[], dict[str, int]]]:
        """What gives a peer an empty place, and the pids of the servers it uses."""
        if peer.needs == "redis":
            return self._empty_redis, lambda: {"redis": self._redis.pid}
        if peer.needs == "sqlite":
            return _sqlite_file, dict
        if peer.needs == "restate":
            binary = restate_server()
            self.versions["restate-server"] = (
                NPM_PACKAGE.read_text().split("@")[-1].strip()
            )
            return lambda: self._new_restate(binary), self._restate_pid
        postgres = self._one_postgres()
        return lambda: _database(postgres), lambda: {"postgres": postgres.pid}

    def _one_postgres(self) -> PostgresServer:
        if self._postgres is None:
            self._postgres = self._running.enter_context(PostgresServer())
            self.versions["postgres"] = self._postgres.version
        return self._postgres

    @contextmanager
    def _new_restate(self, binary: Path) -> Iterator[dict[str, Any]]:
        """What it keeps cannot be removed otherwise."""
        with RestateServer(binary) as server:
            self._restate = server
            yield {
                "admin_url": server.url,
                "ingress_url": server.ingress_url,
                "port": free_port(),
            }

    def _restate_pid(self) -> dict[str, int]:
        return {} if self._restate is None else {"restate": self._restate.pid}

    @contextmanager
    def _empty_redis(self) -> Iterator[dict[str, Any]]:
        try:
            yield {"redis_url": self._redis.url}
        finally:
            with redis.Redis.from_url(self._redis.url) as client:
                client.flushall()


@contextmanager
def _sqlite_file() -> Iterator[dict[str, Any]]:
    with tempfile.TemporaryDirectory(prefix="worchflow-bench-") as folder:
        yield {"database_url": f"sqlite:///{folder}/bench.db"}


@contextmanager
def _database(server: PostgresServer) -> Iterator[dict[str, Any]]:
    with server.database() as url:
        yield {"database_url": url}


@contextmanager
def _prepared(
    place: Callable[[], AbstractContextManager[dict[str, Any]]],
    command: tuple[str, ...],
    environment: Mapping[str, str],
    settings: Mapping[str, Any],
) -> Iterator[dict[str, Any]]:
    with place() as made:
        prepare = {**made, **settings, "role": "prepare"}
        with Program(command, prepare, environment=environment) as program:
            program.answer()
        yield made


PEERS_BY_NAME: dict[str, Peer] = {
    each.name: each
    for each in (
        Peer(
            name="restate",
            label="Restate",
            package="restate-sdk",
            needs="restate",
            share=0.2,
            workers=1,
            settings={"in_flight": 100},
            modes=NO_QUEUE,
        ),
        Peer(
            name="redflow",
            label="redflow",
            package="redflow",
            needs="redis",
            share=0.1,
            settings={"concurrency": 50, "in_flight": 50},
        ),
        Peer(
            name="absurd",
            label="Absurd (PostgreSQL)",
            package="absurd-sdk",
            needs="postgres",
            share=0.1,
            workers=4,
            prepares=True,
            settings={"concurrency": 20, "poll": 0.01},
        ),
        Peer(
            name="dbos",
            label="DBOS (PostgreSQL), by its queue",
            package="dbos",
            needs="postgres",
            share=0.04,
            prepares=True,
            settings={"concurrency": 20, "poll": 0.01, "threads": 8, "direct": False},
        ),
        Peer(
            name="dbos-direct",
            label="DBOS (PostgreSQL), called directly",
            package="dbos",
            folder="dbos",
            needs="postgres",
            share=0.04,
            workers=0,
            prepares=True,
            settings={"threads": 8, "direct": True},
            modes=NO_QUEUE,
        ),
        Peer(
            name="dbos-sqlite",
            label="DBOS (SQLite), by its queue",
            package="dbos",
            folder="dbos",
            needs="sqlite",
            share=0.025,
            workers=1,
            prepares=True,
            settings={"concurrency": 8, "poll": 0.1, "threads": 1, "direct": False},
            modes=COMPARABLE - {"latency"},
        ),
        Peer(
            name="dbos-sqlite-direct",
            label="DBOS (SQLite), called directly",
            package="dbos",
            folder="dbos",
            needs="sqlite",
            share=0.025,
            workers=0,
            prepares=True,
            settings={"threads": 1, "direct": True},
            modes=NO_QUEUE,
        ),
        Peer(
            name="saq",
            label="SAQ",
            package="saq",
            needs="redis",
            share=0.5,
            kind="queue",
            settings={"concurrency": 100, "in_flight": 50},
        ),
        Peer(
            name="taskiq",
            label="taskiq (Redis stream)",
            package="taskiq",
            needs="redis",
            share=0.4,
            kind="queue",
            settings={"concurrency": 100, "in_flight": 50},
        ),
        Peer(
            name="arq",
            label="arq",
            package="arq",
            needs="redis",
            share=0.3,
            kind="queue",
            workers=1,
            settings={"concurrency": 100, "in_flight": 50},
        ),
        Peer(
            name="dramatiq",
            label="Dramatiq",
            package="dramatiq",
            needs="redis",
            share=0.6,
            kind="queue",
            settings={"concurrency": 4},
        ),
        Peer(
            name="streaq",
            label="streaQ",
            package="streaq",
            needs="redis",
            share=0.3,
            kind="queue",
            settings={"concurrency": 100},
        ),
        Peer(
            name="celery",
            label="Celery (Redis, acks late)",
            package="celery",
            needs="redis",
            share=0.2,
            kind="queue",
            workers=1,
            settings={"concurrency": 2, "prefetch": 64},
        ),
        Peer(
            name="rq",
            label="RQ (SimpleWorker)",
            package="rq",
            needs="redis",
            share=0.15,
            kind="queue",
        ),
    )
}
