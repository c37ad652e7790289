"""One worker process of a chaos run."""

from __future__ import annotations

import asyncio
import logging

from tests.chaos.fenced import FencedRegister
from tests.chaos.settings import Settings
from tests.chaos.troublemakers import Freezer, add_troublemakers
from tests.chaos.workload import add_work
from worchflow import Worchflow
from worchflow.ledger import Ledger


def main(settings: Settings) -> None:
    """Work until told to stop."""
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(process)d %(levelname)s %(name)s %(message)s",
    )
    ledger = Ledger(settings.ledger)
    freezer = Freezer()
    app = Worchflow("chaos", backend=settings.backend(), middleware=[freezer])
    add_work(app, ledger, settings.pace)
    add_troublemakers(
        app, ledger, FencedRegister(f"{settings.ledger}.register"), freezer
    )
    asyncio.run(app.worker(options=settings.worker_options()).run())
