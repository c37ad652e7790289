"""Breaks what keeps a promise and looks whether a chaos test notices.

`python -m tests.chaos.mutants` tries all, `python -m tests.chaos.mutants NAME…` some;
the table of the README is what it prints. Each mutant is made in a copy of the tree.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
SOURCE = Path("src", "worchflow")
LONGEST = 500
"""Seconds a test may take."""
SEEN = re.compile(r"VIOLATION: ([^:\n]+)")


@dataclass(frozen=True)
class Mutant:
    """One change of the library, and the test that has to notice it."""

    what: str
    file: str
    old: str
    new: str
    test: str
    says: str
    """What its test has to say: a kind of violation, or a text of its failure."""

    def apply(self, tree: Path) -> None:
        path = tree / SOURCE / self.file
        text = path.read_text()
        assert text.count(self.old) == 1, f"{self.file} has changed: {self.old}"
        path.write_text(text.replace(self.old, self.new))


MUTANTS = {
    "settle-unowned": Mutant(
        "a settlement asks for no owner and no token (MongoDB)",
        "storage/redis_mongo/statements.py",
        '{"owner": merge_key.owner, "token": merge_key.token}',
        "{}",
        "test_zombie.py::test_a_frozen_worker_harms_nothing_when_it_goes_on"
        "[redis_mongo]",
        "wrong result",
    ),
    "settle-unowned-sqlite": Mutant(
        "a settlement asks for no owner and no token (SQLite)",
        "storage/sqlite/settling.py",
        "WHERE executions.id = v.id AND executions.owner = v.owner\n        "
        "AND executions.token = v.token AND",
        "WHERE executions.id = v.id AND",
        "test_zombie.py::test_a_frozen_worker_harms_nothing_when_it_goes_on[sqlite]",
        "wrong result",
    ),
    "trust-for-ever": Mutant(
        "a lease is trusted until the store says that it is lost",
        "worker/lease.py",
        "return not self.lost and self._clock.monotonic() < self._trusted_until",
        "return not self.lost",
        "test_zombie.py::test_a_frozen_worker_harms_nothing_when_it_goes_on[sqlite]",
        r"assert \[1\] == \[\]",
    ),
    "claim-owned": Mutant(
        "a claim takes what another worker owns",
        "storage/redis_mongo/claim_updates.py",
        """            "owner": None,
            "status": {"$in": list(CLAIMABLE)},
""",
        """            "status": {"$in": [*CLAIMABLE, "processing"]},
""",
        "test_topologies.py::"
        "test_a_failover_that_loses_the_last_writes_loses_no_execution",
        "taken from a live owner",
    ),
    "same-token": Mutant(
        "a claim keeps the token of the one before",
        "storage/sqlite/claim_sql.py",
        "THEN token + 1 ELSE token END",
        "THEN max(token, 1) ELSE token END",
        "test_kill.py::test_killed_workers_lose_nothing[sqlite]",
        "two processes under one token",
    ),
    "last-write-wins": Mutant(
        "a step that is recorded is recorded anew",
        "storage/sqlite/steps.py",
        "DO UPDATE SET {_REPLACED} WHERE {_IS_OVER}\n",
        "DO UPDATE SET {_REPLACED}\n",
        "test_zombie.py::test_a_frozen_worker_harms_nothing_when_it_goes_on[sqlite]",
        "recorded value changed",
    ),
    "no-replay": Mutant(
        "an execution that changes hands brings no recorded steps",
        "storage/redis_mongo/claim_updates.py",
        "        if with_steps:\n",
        "        if with_steps and replay:\n",
        "test_poison.py::"
        "test_a_poison_payload_is_stopped_and_harms_no_other[redis_mongo]",
        "recorded step started again",
    ),
    "no-replay-sqlite": Mutant(
        "an execution that changes hands brings no recorded steps (SQLite)",
        "storage/sqlite/claim_sql.py",
        "    if execution.token != FIRST_TOKEN:\n",
        "    if execution.token < FIRST_TOKEN:\n",
        "test_poison.py::test_a_poison_payload_is_stopped_and_harms_no_other[sqlite]",
        "recorded step started again",
    ),
    "no-reap": Mutant(
        "nobody takes over from the dead",
        "storage/redis_mongo/reaper.py",
        '{"queuePrefix": self._stores.options.queue_prefix, "dead": True},',
        '{"queuePrefix": self._stores.options.queue_prefix, "dead": 1},',
        "test_zombie.py::test_a_frozen_worker_harms_nothing_when_it_goes_on"
        "[redis_mongo]",
        "Timeout",
    ),
    "no-leases": Mutant(
        "nobody looks at ended leases (SQLite)",
        "storage/sqlite/worker_sql.py",
        "or (request.expired and not in_time)",
        "",
        "test_zombie.py::test_a_frozen_worker_harms_nothing_when_it_goes_on[sqlite]",
        "Timeout",
    ),
    "no-sweep": Mutant(
        "what Redis lost is not looked for",
        "worker/upkeep.py",
        "swept = await self._store.sweeping.sweep(lease.worker.id)",
        "swept = 0",
        "test_redis_faults.py::test_a_wiped_or_restarted_redis_loses_nothing"
        "[without AOF]",
        "accepted and lost",
    ),
    "first-journal": Mutant(
        "a write is acknowledged by one server alone",
        "storage/redis_mongo/mongo_gateway.py",
        '"w": "majority", "j": True',
        '"w": 1, "j": False',
        "test_topologies.py::test_elections_in_a_replica_set_lose_nothing",
        "accepted and lost",
    ),
    "lease-on-the-loop": Mutant(
        "a blocked event loop gives up its lease",
        "worker/membership.py",
        "        if limit is None or self._watch is None:\n            return True\n",
        "        if self._watch is None:\n            return True\n"
        "        limit = limit or 0.5\n",
        "test_blocked_loop.py::"
        "test_a_blocked_loop_keeps_its_lease_and_is_reported[sqlite]",
        "taken from a live owner",
    ),
    "no-room": Mutant(
        "a full disk is taken for a mistake in what was asked",
        "storage/sqlite/sessions.py",
        "    sqlite3.SQLITE_FULL,\n",
        "",
        "test_full_disk.py::test_a_full_disk_is_waited_out",
        r"assert \('SQLITE_FULL' in",
    ),
    "no-quarantine": Mutant(
        "an execution may kill any number of workers",
        "worker/execution_slots.py",
        "if deaths >= self._options.quarantine_deaths:",
        "if deaths >= 10**6:",
        "test_poison.py::test_a_poison_payload_is_stopped_and_harms_no_other[sqlite]",
        "accepted and lost",
    ),
}


def main(names: list[str]) -> int:
    """Try the mutants; how many were not noticed."""
    missed = 0
    tell("| Mutant | What is broken | Which test notices | What it says |")
    tell("|---|---|---|---|")
    for name in names or list(MUTANTS):
        mutant = MUTANTS[name]
        said = noticed(mutant)
        missed += not said
        test = mutant.test.partition("::")
        told = f"`{test[0]}`, `{test[2]}`"
        cells = (f"`{name}`", mutant.what, told, said or "**nothing**")
        tell(f"| {' | '.join(cells)} |")
    return missed


def tell(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - the table


def noticed(mutant: Mutant) -> str:
    """What the test says of the mutant; nothing if it passes or says other things."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        for part in ("src", "tests", "pyproject.toml"):
            copy(ROOT / part, tree / part)
        mutant.apply(tree)
        command = (
            "-m",
            "pytest",
            "-p",
            "no:cacheprovider",
            "-q",
            "--timeout=400",
            "--basetemp",
        )
        done = subprocess.run(
            [
                *("timeout", str(LONGEST), sys.executable, *command, tree / "run"),
                f"tests/chaos/{mutant.test}",
            ],
            cwd=tree,
            env={**os.environ, "PYTHONPATH": str(tree / "src")},
            capture_output=True,
            text=True,
            check=False,
        )
    if not re.search(mutant.says, done.stdout):
        sys.stderr.write(done.stdout + done.stderr)
        return ""
    violations = dict.fromkeys(SEEN.findall(done.stdout))
    return "; ".join(violations) or mutant.says


def copy(source: Path, to: Path) -> None:
    ignore = shutil.ignore_patterns("__pycache__")
    if source.is_dir():
        shutil.copytree(source, to, ignore=ignore)
    else:
        shutil.copy(source, to)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
