"""How long a command waits for a result."""

from __future__ import annotations

import pytest

from worchflow.cli.results import wait_seconds
from worchflow.foundations.errors import WorchflowError


@pytest.mark.parametrize(
    ("wait", "timeout", "seconds"),
    [(False, None, None), (True, None, 30.0), (False, "5s", 5.0), (True, "0s", 0.0)],
)
def test_a_timeout_implies_waiting_and_waiting_has_one(
    *, wait: bool, timeout: str | None, seconds: float | None
) -> None:
    assert wait_seconds(wait=wait, timeout=timeout) == seconds


def test_what_is_no_timeout_is_refused_with_its_option() -> None:
    with pytest.raises(WorchflowError, match="--timeout"):
        wait_seconds(wait=True, timeout="")
