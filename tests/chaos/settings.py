"""How one chaos run is set up, handed to its worker processes."""

from __future__ import annotations

from dataclasses import dataclass

from tests.chaos.clients import open_stores
from worchflow.model.options import BackendOptions, WorkerOptions
from worchflow.storage.contract.backend import Backend


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
    finished_ttl: float = 24 * 3600.0
    quarantine_deaths: int = 5

    def backend(self) -> Backend:
        """A backend on the stores of the run."""
        options = BackendOptions(
            queue_prefix=self.prefix,
            lease_ttl=self.lease_ttl,
            timeout=self.timeout,
            finished_ttl=self.finished_ttl,
        )
        return open_stores(self.stores, options)

    def worker_options(self) -> WorkerOptions:
        """The options of each worker process."""
        return WorkerOptions(
            concurrency=self.slots,
            heartbeat=self.lease_ttl / 4,
            upkeep_interval=self.upkeep,
            quarantine_deaths=self.quarantine_deaths,
        )
