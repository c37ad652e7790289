"""A worker that has nothing to run."""

from __future__ import annotations

import logging

import pytest

from worchflow import Worcher, open_backend


async def test_a_worker_without_functions_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING, "worchflow.worker"):
        async with Worcher([], backend=open_backend("sqlite://:memory:")):
            pass

    assert "this worker has no functions" in caplog.text
