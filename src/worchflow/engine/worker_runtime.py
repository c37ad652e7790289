"""What every attempt of a worker shares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..definitions.middleware import Middleware
    from ..foundations.repeated_lines import RepeatedLines
    from ..foundations.runtime import Runtime
    from ..serialization.payloads import Payloads
    from ..storage.contract.backend import Backend
    from .emitter import Emitter
    from .sending import Sender
    from .slot import ParkingCounts
    from .threads import Threads


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerRuntime:
    """The worker's side of an attempt."""

    store: Backend
    payloads: Payloads
    middleware: Sequence[Middleware]
    emitter: Emitter
    handler_threads: Threads
    step_threads: Threads
    clock: Runtime
    random: Callable[[], float]
    """Uniform in [0, 1), for jitter."""
    repeated: RepeatedLines
    """For lines that every execution would log while a store does not answer."""
    parking: ParkingCounts
    sender: Sender
    """For what executions send."""
