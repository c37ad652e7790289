"""Datagrams between the processes that use one database, so that nobody has to poll."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import socket
import stat
import sys
import tempfile
import threading
from contextlib import suppress
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ...foundations import forking
from .hints import read_datagram

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ...foundations.runtime import Runtime
    from .hints import Hints

logger = logging.getLogger("worchflow.storage.sqlite")

MAX_PATH_LENGTH = 100
"""Bytes of a socket's path; systems allow 104 or 108."""
BUFFER = 1024 * 1024
LOOK_AGAIN_SECONDS = 1.0
"""Seconds after which the folder is read again even if it seems unchanged."""
UNWATCHED_SECONDS = 5.0
"""Seconds without a watcher after which notices are no longer asked for."""


class Interest(StrEnum):
    """Which notices a process wants: how the file beside its socket ends."""

    ENDS = "watch"
    PROGRESS = "progress"


class Other(NamedTuple):
    """Another process that uses the database, as the files in the folder say."""

    path: str
    watches: bool
    follows: bool


class Marker:
    """A file that says what this process wants to hear; gone when nobody does.

    Watchers put it there in threads of their own, the listener removes it.
    """

    def __init__(
        self, path: Path, is_watched: Callable[[], bool], clock: Callable[[], float]
    ) -> None:
        self.there = False
        self._lock = threading.Lock()
        self._path = path
        self._is_watched = is_watched
        self._clock = clock
        self._watched_at = 0.0

    def put(self) -> None:
        """Have it there. Blocks shortly, once."""
        with self._lock:
            self._watched_at = self._clock()
            if not self.there:
                with suppress(OSError):
                    self._path.touch(0o600)
                    self.there = True

    def remove_if_unwatched(self) -> None:
        """Remove it when nobody has watched for a while."""
        with self._lock:
            if self._is_watched():
                self._watched_at = self._clock()
            elif self.there and self._clock() - self._watched_at > UNWATCHED_SECONDS:
                self._remove()

    def remove(self) -> None:
        """Have it gone."""
        with self._lock:
            self._remove()

    def _remove(self) -> None:
        self.there = False
        with suppress(OSError):
            self._path.unlink(missing_ok=True)


class Peers:
    """This process's socket in the folder of a database, and those of the others.

    A file `<name>.watch` beside a socket says that its process wants notices too, a
    file `<name>.progress` that it wants those of mere progress as well.
    Everything here may fail or be lost: it only saves time.
    """

    def __init__(
        self,
        database: Path,
        receive: Callable[[Hints], None],
        is_watching: Callable[[Interest], bool],
        runtime: Runtime,
    ) -> None:
        self._clock = runtime.monotonic
        self._receive = receive
        self._folder = folder_of(database)
        self._name = f"{runtime.uuid().hex[:12]}.sock"
        self._markers = {
            interest: Marker(
                self._folder / f"{self._name}.{interest}",
                partial(is_watching, interest),
                runtime.monotonic,
            )
            for interest in Interest
        }
        self._others: list[Other] = []
        self._looked_at: tuple[int, float] = (0, 0.0)
        self._closing = False
        self._inbox: socket.socket | None = None
        self._outbox: socket.socket | None = None
        self._thread = threading.Thread(
            target=self._listen, name="worchflow-sqlite-peers", daemon=True
        )

    def start(self) -> None:
        """Open the socket and listen; without one, the others poll and so do we."""
        if sys.platform == "win32":
            return
        try:
            self._inbox = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._inbox.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
            self._bind(self._inbox)
            self._outbox = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._outbox.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
            self._outbox.settimeout(0)
            forking.watch(self)
        except OSError as error:
            logger.warning(
                "processes cannot wake each other through %s (%s): they find new work "
                "by looking four times a second",
                self._folder,
                error,
            )
            self._close_sockets()
            return
        self._thread.start()

    def send(self, hints: Hints) -> None:
        """Tell the other processes."""
        if self._outbox is None or not (
            hints.work or hints.cancelled or hints.woken or hints.happenings
        ):
            return
        others = self._look()
        self._send_all([one.path for one in others], hints.urgent_datagrams)
        if hints.happenings:
            follow = [one.path for one in others if one.follows]
            wait = [one.path for one in others if one.watches and not one.follows]
            self._send_all(follow, hints.all_datagrams)
            self._send_all(wait, hints.end_datagrams)

    def ask_for(self, interest: Interest) -> None:
        """Let the others send notices too. Blocks shortly, once."""
        if self._inbox is not None:
            self._markers[interest].put()

    def asked_for(self, interest: Interest) -> bool:
        """Whether there is nothing left to ask for."""
        return self._markers[interest].there or self._inbox is None

    def close(self) -> None:
        """Stop listening and remove the socket. Blocks shortly."""
        self._closing = True
        if self._thread.is_alive():
            # A datagram of our own ends the wait for the next one.
            with (
                suppress(OSError),
                socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as own,
            ):
                own.settimeout(1.0)
                own.sendto(b"", str(self._folder / self._name))
            self._thread.join(2.0)
        self._close_sockets()
        with suppress(OSError):
            for marker in self._markers.values():
                marker.remove()
            (self._folder / self._name).unlink(missing_ok=True)
            self._folder.rmdir()

    def after_fork(self) -> None:
        """Close the child's sockets: nobody there reads what is sent to the parent."""
        self._close_sockets()

    def _bind(self, inbox: socket.socket) -> None:
        # The last process to leave may remove the folder between the two calls.
        for attempt in range(5):
            _make_private(self._folder)
            try:
                return inbox.bind(str(self._folder / self._name))
            except FileNotFoundError:
                if attempt == 4:
                    raise
        return None

    def _listen(self) -> None:
        inbox = self._inbox
        while inbox is not None and not self._closing:
            try:
                message = inbox.recv(BUFFER)
            except OSError as error:
                if not self._closing:
                    logger.warning("the wake-up socket failed (%s): polling now", error)
                return
            try:
                self._received(message)
            except Exception:
                # One message must not end the thread that reads all others.
                logger.exception("a message of another process was not passed on")

    def _received(self, message: bytes) -> None:
        hints = read_datagram(message)
        self._receive(hints)
        if hints.happenings:
            for marker in self._markers.values():
                marker.remove_if_unwatched()

    def _look(self) -> list[Other]:
        """The other processes, by the files in the folder."""
        try:
            changed_at = self._folder.stat().st_mtime_ns
            before, looked_at = self._looked_at
            now = self._clock()
            if changed_at != before or now - looked_at > LOOK_AGAIN_SECONDS:
                names = {path.name for path in self._folder.iterdir()}
                self._others = [
                    Other(
                        str(self._folder / name),
                        watches=f"{name}.{Interest.ENDS}" in names,
                        follows=f"{name}.{Interest.PROGRESS}" in names,
                    )
                    for name in names
                    if name.endswith(".sock") and name != self._name
                ]
                self._looked_at = (changed_at, now)
        except OSError:
            self._others = []
        return self._others

    def _send_all(
        self, paths: Sequence[str], messages: Callable[[], Sequence[bytes]]
    ) -> None:
        if not paths or self._outbox is None:
            return
        for message in messages():
            for path in paths:
                try:
                    self._outbox.sendto(message, path)
                except ConnectionRefusedError:
                    # Its process died without removing it.
                    for left in (
                        path,
                        *(f"{path}.{interest}" for interest in Interest),
                    ):
                        with suppress(OSError):
                            Path(left).unlink()
                except OSError:
                    # Its process is behind, or has just gone: it looks by itself.
                    continue

    def _close_sockets(self) -> None:
        for one in (self._inbox, self._outbox):
            if one is not None:
                one.close()
        self._inbox = self._outbox = None


def folder_of(database: Path) -> Path:
    """A folder beside the database, or a short one where temporary files go."""
    sidecars = database.with_name(f"{database.name}.sockets")
    if sys.platform == "win32":
        return sidecars
    if len(os.fsencode(sidecars)) + len("/0123456789ab.sock") <= MAX_PATH_LENGTH:
        return sidecars
    digest = hashlib.sha256(os.fsencode(database)).hexdigest()[:16]
    return Path(tempfile.gettempdir(), f"worchflow-{os.getuid()}-{digest}")


def _make_private(folder: Path) -> None:
    """Make a folder that only this user can use; `OSError` when it is another's."""
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise PermissionError(errno.EPERM, "the folder belongs to somebody else")
    if stat.S_IMODE(found.st_mode) & 0o077:
        folder.chmod(0o700)
