"""The fixtures every test leans on do what they promise."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from blockbuster import BlockingError

import worchflow

# Code that looks as if it stood in a module of the library.
BLOCKING_CODE = compile(
    "import time\ntime.sleep(0)",
    str(Path(worchflow.__file__).with_name("blocking_example.py")),
    "exec",
)


async def test_a_blocking_call_of_the_library_in_the_event_loop_fails() -> None:
    with pytest.raises(BlockingError, match=r"time\.sleep"):
        exec(BLOCKING_CODE, {})  # noqa: S102


async def test_a_blocking_call_of_the_library_in_a_thread_is_fine() -> None:
    await asyncio.to_thread(exec, BLOCKING_CODE, {})


@pytest.mark.allow_blocking("the subject of this test")
async def test_the_marker_allows_blocking_calls() -> None:
    exec(BLOCKING_CODE, {})  # noqa: S102
