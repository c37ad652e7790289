"""Waits for an execution's result, as long as the command line says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from .failures import WaitTimedOut
from .parsing import read_duration

if TYPE_CHECKING:
    from ..client.client import WorchflowClient

DEFAULT_TIMEOUT = "30s"

WaitOption = Annotated[
    bool, typer.Option("--wait", "-w", help="Wait for the result and print it.")
]
TimeoutOption = Annotated[
    str | None,
    typer.Option(
        "--timeout",
        metavar="DURATION",
        help="Wait this long at most, then exit with 124; implies --wait.",
        show_default=DEFAULT_TIMEOUT,
    ),
]


def wait_seconds(*, wait: bool, timeout: str | None) -> float | None:
    """How long to wait; None for not at all."""
    if timeout is not None:
        return read_duration(timeout, "--timeout")
    return read_duration(DEFAULT_TIMEOUT, "--timeout") if wait else None


async def wait_for_result(
    client: WorchflowClient[Any], execution_id: str, seconds: float
) -> Any:
    """The result as plain JSON; `WaitTimedOut` when there is none in time."""
    try:
        return await client.handle(execution_id).result(timeout=seconds)
    except TimeoutError as error:
        raise WaitTimedOut(str(error), execution_id=execution_id) from None
