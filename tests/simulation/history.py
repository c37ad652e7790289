"""A history as text: one line for each thing that happened."""

from __future__ import annotations

from typing import Any

from worchflow.storage.redis_mongo import scripts

SCRIPTS = [each for each in vars(scripts).values() if isinstance(each, scripts.Script)]
NAMES = {script.sha: script.name for script in SCRIPTS} | {
    script.source: script.name for script in SCRIPTS
}
UNSAID = frozenset({"writeConcern", "readConcern", "ordered", "limit"})
LONGEST = 400


def shown(history: list[tuple[Any, ...]], last: int) -> str:
    """The last lines of a history."""
    return "\n".join(
        f"{at:10.4f}  " + "  ".join(_brief(part)[:LONGEST] for part in what)
        for at, *what in history[-last:]
    )


def _brief(part: Any) -> str:
    if isinstance(part, dict):
        said = {key: value for key, value in part.items() if key not in UNSAID}
        return str(said)
    if isinstance(part, list):
        words = [each.decode(errors="replace") for each in part]
        if words[0] in {"EVAL", "EVALSHA"}:
            keys = int(words[2])
            words = [NAMES[words[1]], *words[3 : 3 + keys], "|", *words[3 + keys :]]
        return " ".join(words)
    return str(part)
