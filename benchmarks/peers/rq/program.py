"""RQ: one no-op task in a worker that forks nothing, nothing durable."""

from __future__ import annotations

from redis import Redis
from rq import Queue, SimpleWorker
from rq.timeouts import BaseDeathPenalty
from speech import Completions, read_settings, run_sender, wait_for_go

SETTINGS = read_settings()
SENT_AT_ONCE = 500
completions = Completions()


def no_op() -> int:
    completions.add()
    return 1


class NoTimeout(BaseDeathPenalty):
    """Not a signal and a timer for each task."""

    def setup_death_penalty(self) -> None:
        """Nothing."""

    def cancel_death_penalty(self) -> None:
        """Nothing."""


class QuickWorker(SimpleWorker):
    death_penalty_class = NoTimeout


def worker() -> None:
    connection = Redis.from_url(SETTINGS["redis_url"])
    one = QuickWorker([Queue(connection=connection)], connection=connection)
    wait_for_go()
    one.work(logging_level="ERROR")


def sender() -> None:
    queue = Queue(connection=Redis.from_url(SETTINGS["redis_url"]))

    def send(count: int) -> None:
        for start in range(0, count, SENT_AT_ONCE):
            part = min(SENT_AT_ONCE, count - start)
            queue.enqueue_many([Queue.prepare_data(NAME) for _ in range(part)])

    def one() -> None:
        job = queue.enqueue(NAME)
        job.latest_result(timeout=30)

    run_sender(send, one)


# The worker finds the function by this name in the program it runs itself.
NAME = "__main__.no_op"

if __name__ == "__main__":
    {"worker": worker, "sender": sender}[SETTINGS["role"]]()
