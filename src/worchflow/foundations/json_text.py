"""Values of the library itself as JSON text; those of users are for `serialization`."""

from __future__ import annotations

import json
from typing import Any


def json_text(value: Any) -> str:
    """A value that JSON can hold, as compact text; what is not ASCII stays readable."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
