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
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from .hints import read_datagram

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .hints import Hints

logger = logging.getLogger("worchflow.storage.sqlite")

LONGEST_PATH = 100
"""Bytes of a socket's path; systems allow 104 or 108."""
BUFFER = 1024 * 1024
LOOK_AGAIN = 1.0
"""Seconds after which the folder is read again even if it seems unchanged."""
UNWATCHED = 5.0
"""Seconds without a watcher after which notices are no longer asked for."""


class Peers:
    """This process's socket in the folder of a database, and those of the others.

    A file `<name>.watch` beside a socket says that its process wants notices too.
    Everything here may fail or be lost: it only saves time.
    """

    def __init__(
        self,
        database: Path,
        receive: Callable[[Hints], None],
        is_watching: Callable[[], bool],
    ) -> None:
        self._receive = receive
        self._is_watching = is_watching
        self._folder = _folder(database)
        self._name = f"{uuid.uuid4().hex[:12]}.sock"
        self._marker = self._folder / f"{self._name}.watch"
        self._others: list[tuple[str, bool]] = []
        self._looked_at: tuple[int, float] = (0, 0.0)
        self._marked = False
        self._watched_at = 0.0
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
            hints.work or hints.cancelled or hints.happenings
        ):
            return
        others = self._look()
        self._send_all([path for path, _ in others], hints.urgent_datagrams)
        watching = [path for path, watches in others if watches]
        if hints.happenings:
            self._send_all(watching, hints.notice_datagrams)

    def ask_for_notices(self) -> None:
        """Let the others send notices too. Blocks shortly, once."""
        self._watched_at = time.monotonic()
        if self._inbox is not None and not self._marked:
            with suppress(OSError):
                self._marker.touch(0o600)
                self._marked = True

    @property
    def asked_for_notices(self) -> bool:
        """Whether there is nothing left to ask for."""
        return self._marked or self._inbox is None

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
            self._marker.unlink(missing_ok=True)
            (self._folder / self._name).unlink(missing_ok=True)
            self._folder.rmdir()

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
            hints = read_datagram(message)
            self._receive(hints)
            if hints.happenings:
                self._stop_asking_if_unwatched()

    def _stop_asking_if_unwatched(self) -> None:
        if self._is_watching():
            self._watched_at = time.monotonic()
        elif self._marked and time.monotonic() - self._watched_at > UNWATCHED:
            self._marked = False
            with suppress(OSError):
                self._marker.unlink(missing_ok=True)

    def _look(self) -> list[tuple[str, bool]]:
        """The other sockets in the folder, and whether their processes watch."""
        try:
            changed_at = self._folder.stat().st_mtime_ns
            before, looked_at = self._looked_at
            now = time.monotonic()
            if changed_at != before or now - looked_at > LOOK_AGAIN:
                names = {path.name for path in self._folder.iterdir()}
                self._others = [
                    (str(self._folder / name), f"{name}.watch" in names)
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
                    for left in (path, f"{path}.watch"):
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


def _folder(database: Path) -> Path:
    """A folder beside the database, or a short one where temporary files go."""
    beside = database.with_name(f"{database.name}.sockets")
    if sys.platform == "win32":
        return beside
    if len(os.fsencode(beside)) + len("/0123456789ab.sock") <= LONGEST_PATH:
        return beside
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
