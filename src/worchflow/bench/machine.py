"""The machine and the versions that figures were measured with."""

from __future__ import annotations

import os
import platform
import sqlite3
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from .measurements import percentile

PACKAGES = ("worchflow", "pymongo", "redis", "hiredis", "uvloop")
FLUSHES = 200


def describe_machine(folder: Path) -> dict[str, Any]:
    """Processors, memory, system, versions, and what a flush to `folder` takes."""
    return {
        "processors": os.cpu_count(),
        "processor": _processor(),
        "memory GiB": round(_memory() / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "load before": round(os.getloadavg()[0], 2),
        "fdatasync ms": _flush_milliseconds(folder),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        **{name: version(name) for name in PACKAGES},
    }


def version(package: str) -> str | None:
    """The installed version of a package."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def machine_line(machine: dict[str, Any]) -> str:
    """All of it on one line."""
    flush = machine["fdatasync ms"]
    told = [
        f"worchflow {machine['worchflow']}",
        f"{machine['processors']} x {machine['processor']}",
        f"{machine['memory GiB']} GiB",
        str(machine["system"]),
        f"load {machine['load before']} before",
        f"fdatasync of 4 KiB {flush['p50']} ms (p99 {flush['p99']})",
        f"Python {machine['python']}",
        f"SQLite {machine['sqlite']}",
        *(f"{name} {machine[name]}" for name in PACKAGES[1:] if machine[name]),
        *(f"{name} {number}" for name, number in machine.get("servers", {}).items()),
    ]
    return ", ".join(told)


def _flush_milliseconds(folder: Path) -> dict[str, float]:
    """What every durable write waits for, at least once."""
    seconds: list[float] = []
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(FLUSHES):
            file.write(b"x" * 4096)
            file.flush()
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            seconds.append(time.perf_counter() - began)
    return {f"p{each}": round(percentile(seconds, each) * 1e3, 2) for each in (50, 99)}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2] for line in lines if line.startswith("model name")]
    return names[0].strip() if names else platform.machine()


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
