"""Dramatiq on Redis: one no-op task, nothing durable."""

from __future__ import annotations

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend
from speech import Completions, read_settings, run_sender, wait_for_go

SETTINGS = read_settings()
completions = Completions()
broker = RedisBroker(url=SETTINGS["redis_url"])
broker.add_middleware(Results(backend=RedisBackend(url=SETTINGS["redis_url"])))
dramatiq.set_broker(broker)


@dramatiq.actor
def no_op() -> None:
    completions.add()


@dramatiq.actor(store_results=True)
def with_result() -> int:
    completions.add()
    return 1


def worker() -> None:
    wait_for_go()
    one = dramatiq.Worker(broker, worker_threads=SETTINGS["concurrency"])
    one.start()
    one.join()
    while True:
        one.workers[0].join()


def sender() -> None:
    def send(count: int) -> None:
        for _ in range(count):
            no_op.send()

    def one() -> None:
        with_result.send().get_result(block=True, timeout=30_000)

    run_sender(send, one)


if __name__ == "__main__":
    {"worker": worker, "sender": sender}[SETTINGS["role"]]()
