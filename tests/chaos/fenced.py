"""A resource outside the stores that refuses whoever comes with an old token."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path
from typing import Any


class FencedRegister:
    """Keeps one value for each key in a file, and the highest token it has seen.

    It stands for what a user fences with `ctx.token`: a row with a version, an
    object with a generation.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._path.touch()

    def write(self, key: str, token: int, value: str) -> bool:
        """Store a value unless a higher token has been here; say whether it was."""
        with self._path.open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            content = json.loads(file.read() or "{}")
            entry = content.setdefault(key, {"token": 0, "value": None, "refused": []})
            accepted: bool = token >= entry["token"]
            if accepted:
                entry |= {"token": token, "value": value}
            else:
                entry["refused"].append(token)
            file.seek(0)
            file.truncate()
            file.write(json.dumps(content))
        return accepted

    def read(self, key: str) -> dict[str, Any]:
        """The token, the value and the refused tokens of a key."""
        content: dict[str, dict[str, Any]] = json.loads(self._path.read_text() or "{}")
        return content[key]
