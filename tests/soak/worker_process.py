"""The worker of a soak: it tells what it holds when it gets SIGUSR1."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import signal
import threading
from pathlib import Path

from tests.chaos.settings import Settings
from tests.soak.workload import add_work
from worchflow import Worchflow

PAGE = os.sysconf("SC_PAGE_SIZE")


def main(settings: Settings) -> None:
    """Work until told to stop."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    asyncio.run(work(settings))


async def work(settings: Settings) -> None:
    """Work until told to stop; SIGUSR1 appends a sample to the ledger's place."""
    app = Worchflow("soak", backend=settings.backend())
    add_work(app)
    samples = Path(settings.ledger)
    asyncio.get_running_loop().add_signal_handler(
        signal.SIGUSR1, lambda: append(samples)
    )
    await app.worker(options=settings.worker_options()).run()


def append(samples: Path) -> None:
    """Write down what this process holds."""
    gc.collect()
    with samples.open("a") as file:
        file.write(
            json.dumps(
                {
                    "memory": resident(),
                    "objects": len(gc.get_objects()),
                    "descriptors": len(list(Path("/proc/self/fd").iterdir())),
                    "threads": threading.active_count(),
                    "tasks": len(asyncio.all_tasks()),
                }
            )
            + "\n"
        )


def resident() -> int:
    """Resident memory in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE
