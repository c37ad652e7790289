"""The servers of a benchmark, on free loopback ports."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self
from uuid import uuid4

from benchmarks.environments import Unavailable, apt_install
from tests.servers import START_TIMEOUT, MongoServer, Server, free_port

UNPRIVILEGED = "postgres"
"""Who runs PostgreSQL when this is root, which it refuses to be run by."""


def find_postgres() -> Path:
    """The folder of PostgreSQL's programs, installed if need be; or `Unavailable`."""
    if (found := _postgres_folder()) is None:
        apt_install("postgresql")
        found = _postgres_folder()
    if found is None:
        raise Unavailable("the package postgresql brings no initdb")
    return found


def _postgres_folder() -> Path | None:
    on_path = shutil.which("initdb")
    if on_path:
        return Path(on_path).resolve().parent
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return installed[-1].parent if installed else None


class LargeMongoServer(MongoServer):
    """With room for a million executions, where the tests' own is small."""

    def command(self) -> list[str]:
        command = super().command()
        for option, value in {"wiredTigerCacheSizeGB": "1", "oplogSize": "990"}.items():
            command[command.index(f"--{option}") + 1] = value
        return command


class PostgresServer(Server):
    """A real PostgreSQL with its own data, synchronous commits as by default."""

    name = "postgres"

    def __init__(self) -> None:
        self._programs = find_postgres()
        super().__init__()

    @property
    def version(self) -> str:
        """As its program tells it."""
        return self._run("postgres", "--version").split()[2]

    def start(self) -> Self:
        """Make the data if there is none, then start."""
        data = self.folder / "data"
        if not data.exists():
            if self._as_user():
                shutil.chown(self.folder, UNPRIVILEGED)
            self._run("initdb", "-D", str(data), "-U", "bench", "-A", "trust")
        return super().start()

    @property
    def url(self) -> str:
        return self.database_url("postgres")

    def database_url(self, name: str) -> str:
        return f"postgresql://bench@127.0.0.1:{self.port}/{name}"

    def command(self) -> list[str]:
        options = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "shared_buffers": "512MB",
            "max_connections": "300",
        }
        pairs = [each for name in options for each in ("-c", f"{name}={options[name]}")]
        data = str(self.folder / "data")
        return [*self._as_user(), str(self._programs / "postgres"), "-D", data, *pairs]

    def answers(self) -> bool:
        try:
            self._sql("SELECT 1")
        except Unavailable:
            return False
        return True

    @contextmanager
    def database(self) -> Iterator[str]:
        """The URL of a new database, dropped at the end."""
        name = f"bench_{uuid4().hex[:12]}"
        self._sql(f"CREATE DATABASE {name}")
        try:
            yield self.database_url(name)
        finally:
            self._sql(f"DROP DATABASE {name} WITH (FORCE)")

    def stop(self) -> None:
        """End it in order, so that it removes its shared memory."""
        if self.running:
            self._end(signal.SIGINT)
        super().stop()

    def _sql(self, statement: str) -> None:
        self._run("psql", "-qX", "-d", self.url, "-c", statement)

    def _run(self, program: str, *arguments: str) -> str:
        command = [*self._as_user(), str(self._programs / program), *arguments]
        try:
            done = subprocess.run(
                command,
                cwd=self.folder,
                capture_output=True,
                text=True,
                timeout=START_TIMEOUT,
                check=True,
            )
        except subprocess.TimeoutExpired as error:
            raise Unavailable(str(error)) from None
        except subprocess.CalledProcessError as error:
            reason = f"{program} failed: {error.stderr.strip()[-500:]}"
            raise Unavailable(reason) from None
        return done.stdout.strip()

    @staticmethod
    def _as_user() -> list[str]:
        if os.geteuid() != 0:
            return []
        user = UNPRIVILEGED
        return ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"]


class RestateServer(Server):
    """A real `restate-server` of one node."""

    name = "restate"

    def __init__(self, binary: Path) -> None:
        self._binary = binary
        super().__init__()
        self.ingress, self._node = free_port(), free_port()

    @property
    def url(self) -> str:
        """The URL of its admin API."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def ingress_url(self) -> str:
        """The URL to which invocations are sent."""
        return f"http://127.0.0.1:{self.ingress}"

    def command(self) -> list[str]:
        config = self.folder / "restate.toml"
        config.write_text(
            f"""node-name = "bench"
base-dir = "{self.folder / "data"}"
disable-telemetry = true
listen-mode = "tcp"
bind-ip = "127.0.0.1"
bind-port = {self._node}
log-filter = "warn"
[ingress]
bind-port = {self.ingress}
[admin]
bind-port = {self.port}
"""
        )
        return [str(self._binary), "--no-logo", "-c", str(config)]

    def answers(self) -> bool:
        try:
            for url in (f"{self.url}/health", f"{self.ingress_url}/restate/health"):
                urllib.request.urlopen(url, timeout=2).close()  # noqa: S310 - loopback
        except (OSError, urllib.error.URLError):
            return False
        return True
