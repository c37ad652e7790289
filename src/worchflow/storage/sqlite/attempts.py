"""The attempts of an execution as the text of their column."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from ...foundations.json_text import json_text
from ...foundations.milliseconds import to_milliseconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...model.records import AttemptRecord


def attempts_text(attempts: Sequence[AttemptRecord] | None) -> str | None:
    """The value of the column `attempts`; None for None."""
    if attempts is None:
        return None
    return f"[{','.join(map(_attempt_text, attempts))}]"


def _attempt_text(attempt: AttemptRecord) -> str:
    # One is made for every execution: this takes a quarter of `json.dumps`.
    error = "null" if attempt.error is None else json_text(asdict(attempt.error))
    return (
        f'{{"number":{attempt.number},"worker":{json_text(attempt.worker)},'
        f'"started_at":{to_milliseconds(attempt.started_at)},'
        f'"ended_at":{to_milliseconds(attempt.ended_at)},'
        f'"outcome":"{attempt.outcome.value}","error":{error}}}'
    )
