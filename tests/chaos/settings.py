"""How one chaos run is set up, handed to its worker processes by the environment."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Self

from worchflow import open_backend
from worchflow.options import BackendOptions, WorkerOptions
from worchflow.storage.base import Backend

VARIABLE = "WORCHFLOW_CHAOS_RUN"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The stores of a run, the worker's options and where the ledger is.

    `pace` is about how many seconds a step takes.
    """

    stores: tuple[str, ...]
    prefix: str
    ledger: str
    lease_ttl: float = 3.0
    timeout: float = 5.0
    slots: int = 8
    upkeep: float = 0.5
    pace: float = 0.1

    def backend(self) -> Backend:
        """A backend on the stores of the run."""
        options = BackendOptions(
            queue_prefix=self.prefix, lease_ttl=self.lease_ttl, timeout=self.timeout
        )
        return open_backend(*self.stores, options=options)

    def worker_options(self) -> WorkerOptions:
        """The options of each worker process."""
        return WorkerOptions(
            concurrency=self.slots,
            heartbeat=self.lease_ttl / 4,
            upkeep_interval=self.upkeep,
        )

    def environment(self) -> dict[str, str]:
        """The environment of a worker process of this run."""
        return {**os.environ, VARIABLE: json.dumps(asdict(self))}

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Self:
        """The settings of the run this process belongs to."""
        fields = json.loads(environment[VARIABLE])
        return cls(**{**fields, "stores": tuple(fields["stores"])})
