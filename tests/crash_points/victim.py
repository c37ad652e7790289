"""One process of a crash point: client, worker and stores, and a fault in them."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import resource
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.crash_points.injection import Injection, Injector
from tests.crash_points.workload import PARK_FOR, QUARANTINE_AFTER, Driver, make_app
from tests.crash_points.wrapping import wrap_everything
from worchflow import WorchflowError, open_backend
from worchflow.ledger import Ledger
from worchflow.model.options import BackendOptions, WorkerOptions
from worchflow.storage.redis_mongo import events, leadership, sweeper
from worchflow.storage.sqlite import events as sqlite_events
from worchflow.worker import claiming

logger = logging.getLogger("tests.crash_points")

DIE_WITH_PARENT = 1
"""PR_SET_PDEATHSIG."""
ENDED, WORKER_ENDED = 0, 3
"""Exit codes: everything has ended; the worker ended before that, and said so."""

LEASE_TTL = 2.0
TIMEOUT = 10.0
STOP_TIMEOUT = 5.0


@dataclass(frozen=True)
class Place:
    """The stores, the prefix and the folder of one crash point."""

    stores: tuple[str, ...]
    prefix: str
    folder: Path

    @property
    def ledger(self) -> Path:
        """Where the ledger is."""
        return self.folder / "ledger"

    @property
    def seen(self) -> Path:
        """Where the points are that the first process saw."""
        return self.folder / "seen"


def main(place: Place, injection: Injection | None, seen: Path, log: Path) -> None:
    """Run until everything has ended, the worker has, or the injection strikes."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.dup2(output, 1)
    os.dup2(output, 2)
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(process)d %(levelname)s %(name)s %(message)s",
    )
    ledger = Ledger(place.ledger)
    wrap_everything(Injector(injection, seen, ledger))
    # What waits between a death and the next sweep: seconds for half a minute.
    leadership.LOCK_TTL, sweeper.GRACE_MILLISECONDS = 3000, 1000
    events.GRACE_MILLISECONDS = sqlite_events.GRACE = 1000
    # What waits for the quarantine slot is asked for between two claims.
    claiming.CLAIM_WAIT_SECONDS = 0.3
    sys.exit(asyncio.run(live(place, ledger)))


async def live(place: Place, ledger: Ledger) -> int:
    """The client drives while the worker works; says how it ended."""
    options = BackendOptions(
        queue_prefix=place.prefix, lease_ttl=LEASE_TTL, timeout=TIMEOUT
    )
    mended = place.folder / "mended"
    backend = open_backend(*place.stores, options=options)
    app = make_app(backend, ledger, mended)
    worker = app.worker(
        options=WorkerOptions(
            heartbeat=LEASE_TTL / 4,
            upkeep_interval=0.3,
            prune_interval=0.15,
            park_for=PARK_FOR,
            quarantine_after=QUARANTINE_AFTER,
        )
    )
    client = app.client()
    driver = Driver(client, backend, ledger, place.prefix, mended)
    await driver.leave_an_orphan()
    working = asyncio.create_task(worker.run())
    driving = asyncio.create_task(driver.drive())
    await asyncio.wait({working, driving}, return_when=asyncio.FIRST_COMPLETED)
    if not driving.done():
        logger.error("the worker ended", exc_info=_error(working))
        os._exit(WORKER_ENDED)  # the driver would not let itself be cancelled
    driving.result()
    with suppress(WorchflowError, asyncio.CancelledError):
        await worker.stop(STOP_TIMEOUT)
    await asyncio.wait({working})
    with suppress(WorchflowError, asyncio.CancelledError):
        await client.close()
        await backend.close()
    return ENDED


def _error(task: asyncio.Task[object]) -> BaseException | None:
    return None if task.cancelled() else task.exception()
