"""Writes what long runs measured into docs/reliability.md.

`python -m tests.chaos.figures` writes the page anew from docs/reliability.jsonl;
`python -m tests.chaos.figures RECORDS…` first takes over what runs recorded, in place
of what is there of the same tests. `./scripts/prove` does both.
"""

from __future__ import annotations

import json
import os
import platform
import re
import sqlite3
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

from tests.servers import find_mongod, find_redis_server

Line: TypeAlias = dict[str, Any]

DOCS = Path(__file__).parent.parent.parent / "docs"
PAGE = DOCS / "reliability.md"
RECORDED = DOCS / "reliability.jsonl"
BEGIN, END = "<!-- figures: begin -->\n", "<!-- figures: end -->\n"
MACHINE = "machine"

CHAOS = {
    "test_killed_workers_lose_nothing": "workers killed with SIGKILL, some stopped",
    "test_a_frozen_worker_harms_nothing_when_it_goes_on": "workers frozen past their "
    "lease, then resumed",
    "test_a_blocked_loop_keeps_its_lease_and_is_reported": "event loop blocked",
    "test_a_poison_payload_is_stopped_and_harms_no_other": "a payload that aborts "
    "its worker",
    "test_a_full_disk_is_waited_out": "disk full, then room again",
    "test_a_wiped_or_restarted_redis_loses_nothing": "Redis wiped, crashed, cut off",
    "test_work_goes_on_while_redis_is_away": "Redis away for 10 s",
    "test_a_full_redis_is_drained": "Redis full",
    "test_a_crashed_mongod_loses_nothing_that_was_accepted": "mongod crashed",
    "test_an_outage_longer_than_the_lease_is_waited_out": "mongod away for 20 s",
    "test_step_downs_of_the_primary_lose_nothing": "step-downs of the primary",
    "test_elections_in_a_replica_set_lose_nothing": "primary of three members killed",
    "test_a_promoted_replica_of_a_cluster_loses_nothing": "master of a Redis Cluster "
    "killed",
    "test_a_failover_that_loses_the_last_writes_loses_no_execution": "Sentinel "
    "failover to a replica that lacks the last writes",
    "test_spoiled_connections_lose_nothing": "eleven ways to spoil a connection",
}
SOAK = {
    "test_a_worker_holds_no_more_after_executions_and_reconnects": "MongoDB + Redis",
    "test_a_worker_on_a_file_holds_no_more_after_executions": "SQLite",
}
ON_A_FILE = {"test_a_full_disk_is_waited_out"}
COLUMNS = (
    *("What was broken", "Store", "Faults", "Executions", "Steps begun"),
    *("Begun again", "Violations", "Minutes", "Seconds to drain"),
)
HELD = {
    "memory": "memory in MiB",
    "objects": "Python objects",
    "descriptors": "file descriptors",
    "threads": "threads",
    "tasks": "tasks",
    "connections": "connections through the proxies",
}
TEST = re.compile(r"::(?P<name>\w+)(\[(?P<case>.*)\])?$")
CASES = {"sqlite": "", "redis_mongo": "", None: ""}


def main(recorded: Sequence[str]) -> None:
    """Take over what was recorded, if anything, and write the page."""
    lines = read(RECORDED)
    if recorded:
        new = [line for path in recorded for line in read(Path(path))]
        replaced = {line["test"] for line in new} | {MACHINE}
        lines = [line for line in lines if line["test"] not in replaced]
        lines = sorted([machine(), *lines, *new], key=_place)
        text = "".join(json.dumps(line) + "\n" for line in lines)
        RECORDED.write_text(text)
    PAGE.write_text(page(PAGE.read_text(), lines))


def read(path: Path) -> list[Line]:
    """The recorded lines of a file; none if there is no file."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]


def page(text: str, lines: Iterable[Line]) -> str:
    """The page with the figures of these lines between its marks."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError("the page has lost the marks of its figures")
    figures = "\n".join(section(lines))
    return f"{before}{begin}\n{figures}\n\n{end}{after}"


def section(lines: Iterable[Line]) -> Iterator[str]:
    """What stands between the marks."""
    runs: dict[str, list[Line]] = defaultdict(list)
    for line in lines:
        runs[line["test"]].append(line)
    if MACHINE in runs:
        yield from wrapped(runs.pop(MACHINE)[0])
    yield f"| {' | '.join(COLUMNS)} |"
    yield f"|{'---|' * len(COLUMNS)}"
    soaks = {}
    for test, ledgers in runs.items():
        match = TEST.search(test)
        assert match, test
        if match["name"] in SOAK:
            soaks[SOAK[match["name"]]] = ledgers[-1]
        else:
            yield row(match["name"], match["case"], ledgers)
    yield ""
    yield from soaked(soaks)


def wrapped(line: Line) -> Iterator[str]:
    yield f"Measured on {line['day']} with Python {line['python']}, SQLite"
    yield f"{line['sqlite']}, MongoDB {line['mongod']} and Redis {line['redis']} on"
    yield f"{line['cores']} cores of {line['system']}."
    yield ""


def row(name: str, case: str | None, ledgers: Sequence[Line]) -> str:
    """One test: its ledgers, if it has several, together."""
    store = "MongoDB + Redis"
    if case == "sqlite" or name in ON_A_FILE:
        store = "SQLite"
    what = CHAOS[name]
    if case not in CASES:
        what += f", {case}"
    faults: Counter[str] = Counter()
    for ledger in ledgers:
        for key, count in ledger.items():
            if key.startswith("faults: "):
                faults[key.removeprefix("faults: ")] += count
    drains = [each["seconds to drain"] for each in ledgers]
    cells = (
        what,
        store,
        told(faults),
        total(ledgers, "executions accepted"),
        total(ledgers, "steps started"),
        total(ledgers, "steps started again"),
        total(ledgers, "violations"),
        f"{max(each['seconds'] for each in ledgers) / 60:.1f}",
        f"{max(drains):.1f}",
    )
    return f"| {' | '.join(cells)} |"


def told(faults: Mapping[str, int]) -> str:
    if len(faults) > 8:
        return f"{sum(faults.values())} of {len(faults)} kinds"
    return ", ".join(f"{count:,} {fault}" for fault, count in faults.items()) or "1"


def total(ledgers: Iterable[Line], figure: str) -> str:
    return f"{sum(each[figure] for each in ledgers):,}"


def soaked(soaks: Mapping[str, Line]) -> Iterator[str]:
    """The second table: what a worker held before and after."""
    head = ("What one worker held", *(f"{s}: warm | at the end" for s in soaks))
    yield f"| {' | '.join(head)} |"
    yield f"|---|{'---|---|' * len(soaks)}"
    for held, words in HELD.items():
        cells = [words]
        for line in soaks.values():
            cells += [amount(held, line[when][held]) for when in ("warm", "last")]
        yield f"| {' | '.join(cells)} |"
    yield ""
    for store, line in soaks.items():
        yield from told_of_soak(store, line)


def told_of_soak(store: str, line: Line) -> Iterator[str]:
    yield f"- {store}: {line['executions']:,} executions,"
    if "reconnects" in line:
        yield f"  {line['reconnects']:,} times cut off from its servers,"
        left = line["keys left in Redis"]
        yield f"  {left:,} key(s) left in Redis once the finished ones had expired,"
    grown = line["bytes grown for each thousand"]
    yield f"  {grown:,} bytes of growth for each thousand executions once it was warm."


def amount(held: str, value: int) -> str:
    return f"{value / 2**20:.1f}" if held == "memory" else f"{value:,}"


def machine() -> Line:
    """What the figures were measured on."""
    return {
        "test": MACHINE,
        "day": datetime.now(UTC).date().isoformat(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "mongod": version(find_mongod()),
        "redis": version(find_redis_server()),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def version(binary: str) -> str:
    done = subprocess.run(
        [binary, "--version"], capture_output=True, text=True, check=True
    )
    match = re.search(r"\d+\.\d+\.\d+", done.stdout)
    assert match, done.stdout
    return match[0]


def _place(line: Line) -> tuple[int, str, str]:
    """The machine, then the tests in the order of the tables."""
    match = TEST.search(line["test"])
    if not match:
        return -1, "", ""
    names = [*CHAOS, *SOAK]
    return names.index(match["name"]), match["case"] or "", line.get("ledger", "")


if __name__ == "__main__":
    main(sys.argv[1:])
