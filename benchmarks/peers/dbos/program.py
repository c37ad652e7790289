"""DBOS: three steps, each recorded in the system database.

By its queue, or with `direct` called in the process that sends, which takes no queue.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from dbos import DBOS, DBOSClient
from speech import Completions, read_settings, run_sender, say, wait_for_go

SETTINGS = read_settings()
QUEUE = "bench"
completions = Completions()


@DBOS.step()
def no_op(value: int) -> int:
    return value


@DBOS.workflow()
def three_steps() -> int:
    completions.begin()
    total = no_op(1) + no_op(1) + no_op(1)
    completions.add()
    return total


def launch(*, serving: bool) -> None:
    """Open the system database; who does not serve the queue listens to none."""
    DBOS(
        config={
            "name": "bench",
            "application_version": "1",
            "system_database_url": SETTINGS["database_url"],
            "log_level": "ERROR",
        }
    )
    if not serving:
        DBOS.listen_queues([])
    DBOS.launch()
    if not SETTINGS["direct"]:
        DBOS.register_queue(
            QUEUE,
            worker_concurrency=SETTINGS["concurrency"],
            polling_interval_sec=SETTINGS["poll"],
        )


def prepare() -> None:
    """Make the tables and the queue."""
    launch(serving=False)
    say(ready=True)


def worker() -> None:
    wait_for_go()
    launch(serving=True)
    threading.Event().wait()


def sender() -> None:
    if SETTINGS["direct"]:
        launch(serving=False)
        run_sender(send_with(three_steps), three_steps)
        return
    client = DBOSClient(system_database_url=SETTINGS["database_url"])
    options = {
        "workflow_name": three_steps.__qualname__,
        "queue_name": QUEUE,
        "app_version": "1",
    }

    def one() -> None:
        client.enqueue(options).get_result(polling_interval_sec=SETTINGS["poll"])

    run_sender(send_with(lambda: client.enqueue(options)), one)


def send_with(call: Callable[[], object]) -> Callable[[int], None]:
    def send(count: int) -> None:
        with ThreadPoolExecutor(SETTINGS["threads"]) as threads:
            list(threads.map(lambda _: call(), range(count)))

    return send


if __name__ == "__main__":
    {"prepare": prepare, "worker": worker, "sender": sender}[SETTINGS["role"]]()
    os._exit(0)
