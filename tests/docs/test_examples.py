"""The examples run on their own, on the embedded store, and say what they promise.

Some of them run on Redis and MongoDB too.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pymongo
import pytest

from tests.docs.pages import ROOT

EXAMPLES = ROOT / "examples"
SAYS = {
    "smallest.py": ["txn-cust_1-100"],
    "payment_saga.py": [
        "was killed with SIGKILL in the middle of a step",
        "recorded so far: Charge card -> payment-40",
        "the result: cancelled and paid back: nobody collects from shelf-7/lamp today",
        "completed, 1 recovery, 0 failed attempts",
        "reserved, charged, refunded and released once each",
    ],
    "parallel_images.py": ["12 steps recorded, 2 titles"],
    "onboarding.py": [
        'no worker runs, and it is sleeping: the end of sleep "Wait for days"',
        "4 mails sent, 4 of them different",
        "resumed 3 times, 1 attempt",
    ],
    "approval.py": [
        'no worker runs, and it is waiting: event "decision" (key o-1) at "Decision"',
        "charged o-1",
        "o-1: approved by Ada",
        "o-2: dropped: nobody decided in three days",
    ],
    "import_pages.py": [
        "cats     250 pages   1000 words",
        "1000 pages in ",
        "1006 steps recorded, 2 titles",
    ],
    "agent.py": [
        'no worker runs, and it is waiting: the answer to token "Owner"',
        "make room: old.log is deleted",
        "calls: model, list, model, delete, model",
    ],
    "fastapi_app.py": [
        "202 {'id': 'payment-1', 'duplicate': True}",
        "409 {'detail': 'the payment failed'}",
    ],
}

# Of the parcel that nobody collects, which the handler makes up for, and of the payment
# over the limit.
TRACEBACKS = {"payment_saga.py": 1, "fastapi_app.py": 1}

ON_SERVERS = ["onboarding.py", "approval.py", "import_pages.py"]


@pytest.mark.timeout(90)
@pytest.mark.parametrize("name", SAYS)
def test_an_example_runs_by_itself(name: str, tmp_path: Path) -> None:
    run(name, tmp_path)


@pytest.mark.timeout(90)
@pytest.mark.parametrize("name", ON_SERVERS)
def test_an_example_runs_on_redis_and_mongodb(
    name: str, tmp_path: Path, redis_url: str, mongo_url: str, prefix: str
) -> None:
    run(
        name,
        tmp_path,
        WORCHFLOW_REDIS_URL=redis_url,
        WORCHFLOW_MONGO_URL=mongo_url,
        WORCHFLOW_PREFIX=prefix,
    )

    client: pymongo.MongoClient[dict[str, Any]]
    with pymongo.MongoClient(mongo_url) as client:
        assert client.get_default_database().list_collection_names() != []


def run(name: str, folder: Path, **variables: str) -> None:
    environment = {
        variable: value
        for variable, value in os.environ.items()
        if not variable.startswith("WORCHFLOW_")
    }

    done = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / name)],
        cwd=folder,
        env=environment | variables,
        capture_output=True,
        text=True,
        timeout=80,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert [line for line in SAYS[name] if line not in done.stdout] == []
    assert done.stderr.count("Traceback") == TRACEBACKS.get(name, 0), done.stderr


def test_every_example_is_run() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(SAYS)


@pytest.mark.timeout(120)
def test_a_strict_type_checker_accepts_the_examples() -> None:
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", *map(str, EXAMPLES.glob("*.py"))],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert checked.returncode == 0, checked.stdout
