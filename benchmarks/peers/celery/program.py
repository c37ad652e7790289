"""Celery on Redis: one no-op task, acknowledged late, nothing durable."""

from __future__ import annotations

from celery import Celery
from speech import Completions, read_settings, run_sender, wait_for_go

SETTINGS = read_settings()
completions = Completions()
app = Celery("bench", broker=SETTINGS["redis_url"], backend=SETTINGS["redis_url"])
app.conf.update(
    task_acks_late=True,
    worker_prefetch_multiplier=SETTINGS["prefetch"],
    worker_hijack_root_logger=False,
    worker_redirect_stdouts=False,
    broker_connection_retry_on_startup=True,
    result_expires=3600,
)


@app.task(name="no_op")
def no_op() -> int:
    completions.add()
    return 1


def worker() -> None:
    wait_for_go()
    app.worker_main(
        [
            "worker",
            "--pool=prefork",
            f"--concurrency={SETTINGS['concurrency']}",
            "--loglevel=ERROR",
            "--without-gossip",
            "--without-mingle",
            "--without-heartbeat",
        ]
    )


def sender() -> None:
    with app.connection_for_write() as connection:
        producer = app.amqp.Producer(connection)

        def send(count: int) -> None:
            for _ in range(count):
                no_op.apply_async(producer=producer, ignore_result=True)

        def one() -> None:
            no_op.apply_async(producer=producer).get(timeout=30)

        run_sender(send, one)


if __name__ == "__main__":
    {"worker": worker, "sender": sender}[SETTINGS["role"]]()
