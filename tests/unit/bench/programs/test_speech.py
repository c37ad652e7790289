"""A measured program ends with its driver."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

PROGRAM = """
import threading
from worchflow.bench.programs.speech import run_sender, say

def one():
    say(busy=True)
    threading.Event().wait()

run_sender(one, one)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="programs are ended by group")
def test_even_a_program_that_is_busy_ends_with_its_driver() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as busy:
        assert busy.stdin is not None
        assert busy.stdout is not None
        assert "ready" in busy.stdout.readline()
        busy.stdin.write('{"rounds": 1}\n')
        busy.stdin.flush()
        assert "busy" in busy.stdout.readline()

        busy.stdin.close()

        try:
            assert busy.wait(20) == -signal.SIGKILL
        finally:
            busy.kill()
