"""A peer that fails is left out; the others are measured."""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

from worchflow.bench import driver
from worchflow.bench.sizes import QUICK
from worchflow.bench.systems import System
from worchflow.bench.workloads import Bench

PROGRAM = """
import json, os, sys, time
from pathlib import Path

def say(**line):
    print(json.dumps(line), flush=True)

settings = json.loads(sys.argv[1])
Path(settings["folder"], str(os.getpid())).touch()
say(ready=True)
for text in sys.stdin:
    line = json.loads(text)
    if "close" in line:
        sys.exit()
    if "send" in line:
        say(sent=line["send"])
    elif settings["works"]:
        say(began=time.monotonic())
        say(done=500, last=time.monotonic(), pid=1)
"""


def peer(name: str, folder: Path, *, works: bool) -> System:
    return System(
        name=name,
        kind="queue",
        command=(sys.executable, "-c", PROGRAM),
        place=lambda: nullcontext({"folder": str(folder)}),
        compared_to="nobody",
        settings={"works": works},
        modes=frozenset(("prefilled",)),
    )


@pytest.mark.skipif(sys.platform == "win32", reason="programs are ended by group")
def test_a_peer_that_hangs_is_ended_and_the_others_are_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "STALLED", 3.0)
    peers = [
        peer("hangs", tmp_path, works=False),
        peer("works", tmp_path, works=True),
    ]
    told: list[str] = []
    bench = Bench(peers, QUICK, told.append)

    bench.run(["W1"])

    reason = "W1, queue pre-filled: it stopped after 0 of 500 executions"
    assert bench.skipped == {"hangs": reason}
    assert [each.system for each in bench.measurements] == ["works"]
    assert told[0] == f"skipped hangs: {reason}"
    pids = [int(path.name) for path in tmp_path.iterdir()]
    assert len(pids) == 4
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
