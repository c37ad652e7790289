"""What an execution costs now, and what it cost at an earlier commit.

    .venv/bin/python -m benchmarks.compare COMMIT [--pairs 20] [--executions 1500]
                                                  [--store sqlite] [--instructions]

Runs `three_steps.py` on the working tree and on the commit, both at once on a core
each, which they exchange from pair to pair; prints the median of the pairs' ratios of
CPU for each execution. With `--instructions` valgrind counts the instructions instead:
two runs of different lengths, whose difference leaves out everything but executions.
Starts its own servers on 127.0.0.1.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.servers import MongoServer, RedisServer

ROOT = Path(__file__).parent.parent
PROGRAM = ROOT / "benchmarks" / "three_steps.py"
STORES = ("sqlite", "redis-mongo")
DISK = Path("/var/tmp")  # noqa: S108 - each run makes its own folder there
"""Where data goes: /tmp may be memory, where a flush costs nothing."""
SHORT = 100
"""Executions of the shorter run of two whose instructions are counted."""

NewStore = Callable[[], dict[str, Any]]


@dataclass(frozen=True)
class Tree:
    """One version of the library."""

    name: str
    folder: Path

    def start(
        self, store: dict[str, Any], count: int, *before: str
    ) -> subprocess.Popen[str]:
        """Run the program on this version; `before` is put before its command."""
        return subprocess.Popen(
            [*before, sys.executable, str(PROGRAM), json.dumps(store), str(count)],
            # Sets have an order that hangs on it, and the work may hang on that.
            env={**os.environ, "PYTHONPATH": str(self.folder), "PYTHONHASHSEED": "0"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


def cpu(trees: list[Tree], new_store: NewStore, count: int, pair: int) -> list[float]:
    """Microseconds of CPU for each execution, of each version."""
    cores = sorted(os.sched_getaffinity(0))
    running = [
        tree.start(new_store(), count, "taskset", "-c", str(core(cores, pair + number)))
        for number, tree in enumerate(trees)
    ]
    return [float(ended(process)[0]) for process in running]


def core(cores: list[int], number: int) -> int:
    """One of the cores, in turn."""
    return cores[number % len(cores)]


def instructions(
    trees: list[Tree], new_store: NewStore, count: int, _: int
) -> list[float]:
    """Instructions for each execution, of each version."""
    found: list[float] = []
    for tree in trees:
        short, long = (
            counted(tree, new_store(), SHORT + extra) for extra in (0, count)
        )
        found.append((long - short) / count)
    return found


def counted(tree: Tree, store: dict[str, Any], count: int) -> int:
    """The instructions of a whole run."""
    process = tree.start(
        store, count, "valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"
    )
    _, said = ended(process)
    found = re.search(r"Collected : (\d+)", said)
    assert found is not None, said
    return int(found[1])


def ended(process: subprocess.Popen[str]) -> tuple[str, str]:
    """What a process has said; a failure ends this program with it."""
    said = process.communicate()
    if process.returncode:
        sys.exit(f"a run failed: {said[1]}")
    return said


@contextmanager
def checked_out(commit: str) -> Iterator[Tree]:
    """The library as it was at a commit."""
    with tempfile.TemporaryDirectory(prefix="worchflow-compare-") as folder:
        archive = subprocess.run(
            ["git", "archive", commit, "src"],
            cwd=ROOT,
            capture_output=True,
            check=False,
        )
        if archive.returncode:
            sys.exit(f"no library at {commit}: {archive.stderr.decode()}")
        subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
        yield Tree(commit, Path(folder) / "src")


@contextmanager
def opened(store: str) -> Iterator[NewStore]:
    """Makes the arguments of an empty store each time it is called."""
    with ExitStack() as stack:
        made = 0
        if store == "sqlite":
            folder = stack.enter_context(
                tempfile.TemporaryDirectory(prefix="worchflow-compare-", dir=DISK)
            )
        else:
            redis_server = stack.enter_context(RedisServer())
            mongo = stack.enter_context(MongoServer())

        def new_store() -> dict[str, Any]:
            nonlocal made
            made += 1
            if store == "sqlite":
                return {"sqlite": f"{folder}/{made}.db"}
            return {
                "redis_url": redis_server.url,
                "mongo_url": mongo.database_url(f"compare-{made}"),
                "queue_prefix": f"compare-{made}",
            }

        yield new_store


def positive(text: str) -> int:
    """A whole number from 1 on."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} must be 1 or more")
    return number


def main() -> None:
    """Compare on each store that was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("commit")
    parser.add_argument("--pairs", type=positive, help="20, or 1 with --instructions")
    parser.add_argument("--executions", type=positive, default=1500)
    parser.add_argument("--store", choices=STORES, help="both, one after the other")
    parser.add_argument("--instructions", action="store_true")
    options = parser.parse_args()
    tool = "valgrind" if options.instructions else "taskset"
    if shutil.which(tool) is None:
        parser.error(f"{tool} is not installed")
    pairs = options.pairs or (1 if options.instructions else 20)
    measure = instructions if options.instructions else cpu
    unit = "instructions" if options.instructions else "µs of CPU"

    with checked_out(options.commit) as before:
        trees = [before, Tree("now", ROOT / "src")]
        for store in [options.store] if options.store else STORES:
            with opened(store) as new_store:
                found = [
                    measure(trees, new_store, options.executions, pair)
                    for pair in range(pairs)
                ]
            for tree, values in zip(trees, zip(*found, strict=True), strict=True):
                print(f"{store:12} {tree.name:12} {statistics.median(values):14,.0f}")
            ratio = statistics.median(after / before for before, after in found)
            print(f"{store:12} {ratio:.3f} times the {unit}, median of {pairs}")


if __name__ == "__main__":
    main()
