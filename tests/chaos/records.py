"""What a run measured, kept for the page that tells it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

VARIABLE = "WORCHFLOW_CHAOS_RECORDS"
"""The file to which each run appends its figures; unset: none."""


def record(figures: Mapping[str, Any]) -> None:
    """Append the figures of the test that runs, as one line of JSON."""
    path = os.environ.get(VARIABLE)
    if path:
        # The node's id and, behind a space, its phase.
        test = os.environ["PYTEST_CURRENT_TEST"].rpartition(" ")[0]
        with Path(path).open("a") as file:
            file.write(json.dumps({"test": test, **figures}) + "\n")
