"""Which step each use of a title is."""

from __future__ import annotations

import threading
from hashlib import md5

import pytest

from worchflow import DuplicateStep
from worchflow.engine.step_ids import StepIdAllocator

TASK, OTHER = object(), object()


def digest(text: str) -> str:
    return md5(text.encode(), usedforsecurity=False).hexdigest()


def step_ids(*, reuse: bool = False) -> StepIdAllocator:
    return StepIdAllocator(reuse=reuse, execution_id="e-1")


def test_the_first_use_is_the_originals_hash_and_later_ones_count() -> None:
    uses = step_ids()

    assert [uses.identify("Charge", None, TASK) for _ in range(3)] == [
        digest("Charge"),
        digest("Charge\x1f#2"),
        digest("Charge\x1f#3"),
    ]


def test_keys_name_steps_whatever_their_order_and_user() -> None:
    uses = step_ids()

    assert uses.identify("Charge", "b", TASK) == digest("Charge\x1f:b")
    assert uses.identify("Charge", "a", OTHER) == digest("Charge\x1f:a")
    assert uses.identify("Charge", "b", OTHER) == digest("Charge\x1f:b")
    # They do not count among the uses without a key.
    assert uses.identify("Charge", None, TASK) == digest("Charge")


def test_no_title_key_and_count_mean_the_same_step() -> None:
    uses = step_ids()
    seen = {
        uses.identify("a", None, TASK),
        uses.identify("a", None, TASK),
        uses.identify("a", "#2", TASK),
        uses.identify("a", "2", TASK),
        uses.identify("a#2", None, TASK),
        uses.identify("a:2", None, TASK),
    }

    assert len(seen) == 6


def test_a_title_belongs_to_the_first_that_uses_it() -> None:
    uses = step_ids()
    uses.identify("Charge", None, TASK)
    uses.identify("Refund", None, OTHER)
    with pytest.raises(DuplicateStep, match="options\\(key=") as refused:
        uses.identify("Charge", None, OTHER)

    assert (refused.value.title, refused.value.execution_id) == ("Charge", "e-1")
    assert uses.identify("Charge", None, TASK) == digest("Charge\x1f#2")


def test_reuse_makes_every_use_the_first() -> None:
    uses = step_ids(reuse=True)
    ids = {uses.identify("Charge", None, user) for user in (TASK, TASK, OTHER)}

    assert ids == {digest("Charge")}
    assert uses.identify("Charge", "k", TASK) == digest("Charge\x1f:k")


def test_threads_that_come_together_do_not_share_a_title() -> None:
    uses = step_ids()
    barrier = threading.Barrier(8, timeout=10)
    accepted: list[str] = []
    refused: list[DuplicateStep] = []

    def use() -> None:
        barrier.wait()
        for _ in range(100):
            try:
                accepted.append(
                    uses.identify("Charge", None, threading.current_thread())
                )
            except DuplicateStep as error:
                refused.append(error)

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)

    assert len(accepted) == len(set(accepted)) == 100
    assert len(refused) == 700
