"""What processes have used."""

from __future__ import annotations

import subprocess
import sys

import pytest

from worchflow.bench.usage import usage_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="read from /proc")

HELD = 50 * 2**20
WITH_A_CHILD = f"""
import subprocess, sys
child = "held = b'x' * {HELD}; sum(range(10**6)); print(flush=True); input()"
subprocess.run([sys.executable, "-c", child])
"""


def test_the_children_of_a_process_count() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WITH_A_CHILD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()  # the child has worked by now
        used = usage_of(process.pid)
        process.communicate(b"\n")

    assert used is not None
    assert used.memory > HELD
    assert used.cpu > 0


def test_of_a_process_that_is_gone_nothing_is_told() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()

    assert usage_of(process.pid) is None
