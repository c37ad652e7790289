"""What is known of an execution whose code begins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..foundations.types import value

if TYPE_CHECKING:
    from datetime import datetime


@value
class Begun:
    """The answer to the record that the code of an execution begins."""

    deadline_at: datetime | None
    """When it fails unless it has ended, by the store's clock."""
    deadline_left: float | None
    """Seconds that were left until then when the store gave this answer; 0 once it has
    passed."""
