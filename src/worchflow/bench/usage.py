"""What processes of this machine have used so far, read from /proc."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU time in seconds so far, and resident memory in bytes."""

    cpu: float
    memory: int


def usage_of(pid: int) -> Usage | None:
    """Of a process and all below it; None where the system does not tell.

    A page that several processes share counts in parts, so that a server of many
    processes does not seem to hold its shared memory many times.
    """
    pids = _tree(pid)
    used = [each for each in map(_usage, pids) if each is not None]
    if not used:
        return None
    return Usage(sum(each.cpu for each in used), sum(each.memory for each in used))


def _usage(pid: int) -> Usage | None:
    try:
        fields = _stat(pid)
        memory = (PROC / str(pid) / "smaps_rollup").read_text()
    except OSError:
        return None
    # utime, stime, and those of children that have ended; see proc(5).
    ticks = sum(int(each) for each in fields[11:15])
    shares = [line.split() for line in memory.splitlines() if line.startswith("Pss:")]
    held = sum(int(kibibytes) for _, kibibytes, _ in shares) * 1024
    return Usage(ticks / os.sysconf("SC_CLK_TCK"), held)


def _tree(root: int) -> Iterable[int]:
    children: dict[int, list[int]] = {}
    for path in PROC.glob("[0-9]*"):
        pid = int(path.name)
        try:
            children.setdefault(int(_stat(pid)[1]), []).append(pid)
        except OSError:
            continue  # it has just ended
    found = [root]
    for pid in found:
        found.extend(children.get(pid, []))
    return found


def _stat(pid: int) -> list[str]:
    """The fields of /proc/<pid>/stat behind the name, which may hold anything."""
    return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
