"""One worker process of a chaos run: `python -m tests.chaos.worker_process`."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import resource
import signal
import sys

from tests.chaos.fenced import FencedRegister
from tests.chaos.ledger import Ledger
from tests.chaos.settings import Settings
from tests.chaos.troublemakers import Freezer, add_troublemakers
from tests.chaos.workload import add_work
from worchflow import Worchflow

DIE_WITH_PARENT = 1
"""PR_SET_PDEATHSIG: a frozen process ends too when the test run does."""


def main() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(process)d %(levelname)s %(name)s %(message)s",
    )
    settings = Settings.of(os.environ)
    ledger = Ledger(settings.ledger)
    freezer = Freezer()
    app = Worchflow("chaos", backend=settings.backend(), middleware=[freezer])
    add_work(app, ledger, settings.pace)
    add_troublemakers(
        app, ledger, FencedRegister(f"{settings.ledger}.register"), freezer
    )
    asyncio.run(app.worker(options=settings.worker_options()).run())


if __name__ == "__main__":
    main()
