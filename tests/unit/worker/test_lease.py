"""How long a lease is trusted, and when a worker may take others for dead."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.runtimes import ManualRuntime
from tests.waiting import until
from worchflow import StoreUnavailable
from worchflow.engine.ownership import Interrupted
from worchflow.foundations.runtime import Runtime
from worchflow.model.records import WorkerRecord
from worchflow.storage.contract.workers import Renewal
from worchflow.worker.lease import Lease, LeaseKeeper

TTL = 20.0


class FakeClock(Runtime):
    """Stands still until it is moved; threads wait by the machine's clock."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def monotonic(self) -> float:
        return self.seconds


def record() -> WorkerRecord:
    return WorkerRecord(
        id="w-1",
        functions={},
        concurrency=1,
        host="here",
        pid=1,
        started_at=datetime.now(UTC),
    )


def joined(clock: FakeClock) -> Lease:
    lease = Lease(record(), TTL, clock)
    lease.renewed(clock.monotonic())
    return lease


def test_a_lease_nobody_renewed_does_not_hold() -> None:
    lease = Lease(record(), TTL, FakeClock())

    assert not lease.holds()
    assert not lease.unbroken_for_a_ttl()


def test_trust_ends_a_margin_before_the_lease() -> None:
    clock = FakeClock()
    lease = joined(clock)
    clock.seconds += TTL * 0.8 - 0.001
    assert lease.holds()
    clock.seconds += 0.001

    assert not lease.holds()


def test_trust_counts_from_when_the_renewal_was_asked_for() -> None:
    clock = FakeClock()
    lease = joined(clock)
    asked_at = clock.monotonic()
    clock.seconds += 10  # the answer took this long
    lease.renewed(asked_at)
    clock.seconds += 5.9
    assert lease.holds()
    clock.seconds += 0.1

    assert not lease.holds()


def test_trust_comes_back_with_the_next_renewal() -> None:
    clock = FakeClock()
    lease = joined(clock)
    clock.seconds += 100
    assert not lease.holds()
    lease.renewed(clock.monotonic())

    assert lease.holds()


def test_a_lost_lease_never_holds_again() -> None:
    clock = FakeClock()
    lease = joined(clock)
    lease.lost = True
    assert not lease.holds()
    lease.renewed(clock.monotonic())

    assert not lease.holds()
    assert not lease.unbroken_for_a_ttl()


def test_a_ttl_of_renewals_without_a_gap_shows_that_the_store_answered() -> None:
    clock = FakeClock()
    lease = joined(clock)
    for _ in range(3):
        clock.seconds += 5
        assert not lease.unbroken_for_a_ttl()
        lease.renewed(clock.monotonic())
    clock.seconds += 4.9
    lease.renewed(clock.monotonic())
    assert not lease.unbroken_for_a_ttl()
    clock.seconds += 0.1

    assert lease.unbroken_for_a_ttl()


def test_a_gap_starts_the_count_anew() -> None:
    clock = FakeClock()
    lease = joined(clock)
    for _ in range(4):
        clock.seconds += 5
        lease.renewed(clock.monotonic())
    assert lease.unbroken_for_a_ttl()
    clock.seconds += TTL * 0.8  # an outage: trust has just run out
    assert not lease.unbroken_for_a_ttl()
    lease.renewed(clock.monotonic())
    assert not lease.unbroken_for_a_ttl()
    for _ in range(3):
        clock.seconds += 5
        lease.renewed(clock.monotonic())
        assert not lease.unbroken_for_a_ttl()
    clock.seconds += 5

    assert lease.unbroken_for_a_ttl()


def unbroken(clock: FakeClock) -> Lease:
    """A lease that was renewed for a TTL, each time at a quarter of it."""
    lease = joined(clock)
    for _ in range(4):
        clock.seconds += TTL / 4
        lease.renewed(clock.monotonic())
    assert lease.unbroken_for_a_ttl()
    return lease


def test_a_lease_that_ought_to_have_been_renewed_shows_no_answering_store() -> None:
    clock = FakeClock()
    lease = unbroken(clock)
    clock.seconds += TTL / 2
    assert lease.unbroken_for_a_ttl()
    clock.seconds += 0.001

    assert lease.holds()
    assert not lease.unbroken_for_a_ttl()


def test_a_gap_that_costs_no_trust_may_have_cost_others_their_lease() -> None:
    clock = FakeClock()
    lease = unbroken(clock)
    clock.seconds += TTL * 0.6
    assert lease.holds()
    lease.renewed(clock.monotonic())

    assert not lease.unbroken_for_a_ttl()


async def test_regaining_waits_for_a_renewal_and_gives_up_when_it_is_lost() -> None:
    clock = FakeClock()
    lease = joined(clock)
    clock.seconds += 100
    waiting = asyncio.ensure_future(lease.regain())
    await asyncio.sleep(0)
    assert not waiting.done()
    lease.renewed(clock.monotonic())
    await asyncio.wait_for(waiting, 10)

    clock.seconds += 100
    lost = asyncio.ensure_future(lease.regain())
    await asyncio.sleep(0)
    lease.lost = True
    with pytest.raises(Interrupted):
        await asyncio.wait_for(lost, 10)


class Script:
    """Answers renewals as a test says, one after another."""

    def __init__(self, *answers: Renewal | Exception) -> None:
        self.answers = list(answers)
        self.asked = threading.Semaphore(0)
        self.workers = self
        """The subject under which a backend renews."""

    def renew(self, worker_id: str) -> Renewal:
        assert worker_id == "w-1"
        self.asked.release()
        answer = self.answers.pop(0) if self.answers else Renewal(alive=True)
        if isinstance(answer, Exception):
            raise answer
        return answer


async def renewals(
    script: Script, lease: Lease, clock: FakeClock, until: Callable[[list[Any]], bool]
) -> list[Any]:
    """Run a keeper until it has told enough."""
    told: list[Any] = []
    enough = asyncio.Event()

    def tell(_: Lease, renewal: Renewal) -> None:
        told.append(renewal.alive)
        if until(told):
            enough.set()

    backend: Any = script
    keeper = LeaseKeeper(backend, lease, 0.001, clock, lambda: True)
    keeper.start(asyncio.get_running_loop(), tell)
    await asyncio.wait_for(enough.wait(), 10)
    await keeper.stop()
    return told


async def test_the_keeper_goes_on_whatever_the_store_does(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = FakeClock()
    lease = joined(clock)
    script = Script(
        StoreUnavailable("away"),
        StoreUnavailable("still away"),
        RuntimeError("a bug"),
        Renewal(alive=True),
    )
    told = await renewals(script, lease, clock, lambda told: len(told) >= 2)

    assert all(told)
    assert lease.holds()
    # An outage is told once, and its end too.
    assert caplog.text.count("could not be renewed") == 1
    assert "failed unexpectedly" in caplog.text


async def test_the_keeper_ends_with_the_lease() -> None:
    clock = FakeClock()
    lease = joined(clock)
    script = Script(Renewal(alive=True), Renewal(alive=False))
    told = await renewals(script, lease, clock, lambda told: not told[-1])

    assert told == [True, False]
    assert lease.lost
    assert not lease.holds()


async def test_the_keeper_renews_by_the_clock_of_the_runtime() -> None:
    runtime = ManualRuntime()
    lease = Lease(record(), TTL, runtime)
    script: Any = Script()
    keeper = LeaseKeeper(script, lease, 5.0, runtime, lambda: True)
    keeper.start(asyncio.get_running_loop(), lambda _, __: None)
    await until(lambda: bool(runtime.waiting))
    assert not script.asked.acquire(blocking=False)
    runtime.seconds += 5.0

    assert await asyncio.to_thread(script.asked.acquire, timeout=10)
    await until(lease.holds)
    await keeper.stop()


async def test_the_keeper_asks_nobody_while_it_may_not() -> None:
    clock = FakeClock()
    lease = joined(clock)
    allowed = threading.Event()
    asked_whether = threading.Semaphore(0)

    def may_renew() -> bool:
        asked_whether.release()
        return allowed.is_set()

    script: Any = Script()
    keeper = LeaseKeeper(script, lease, 0.001, clock, may_renew)
    keeper.start(asyncio.get_running_loop(), lambda _, __: None)
    for _ in range(3):
        assert await asyncio.to_thread(asked_whether.acquire, timeout=10)
    assert not script.asked.acquire(blocking=False)
    allowed.set()
    assert await asyncio.to_thread(script.asked.acquire, timeout=10)
    await keeper.stop()


async def test_the_keeper_goes_on_when_it_cannot_tell_whether_it_may(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = FakeClock()
    answers = iter([RuntimeError("broken on purpose")])

    def may_renew() -> bool:
        for error in answers:
            raise error
        return True

    script: Any = Script()
    keeper = LeaseKeeper(script, joined(clock), 0.001, clock, may_renew)
    keeper.start(asyncio.get_running_loop(), lambda _, __: None)
    assert await asyncio.to_thread(script.asked.acquire, timeout=10)
    await keeper.stop()
    assert "failed unexpectedly" in caplog.text


def test_the_keeper_beats_four_times_in_a_ttl_at_least() -> None:
    clock = FakeClock()
    backend: Any = Script()
    lazy = LeaseKeeper(backend, joined(clock), 3600.0, clock, lambda: True)
    eager = LeaseKeeper(backend, joined(clock), 0.5, clock, lambda: True)

    assert lazy._heartbeat == TTL / 4
    assert eager._heartbeat == 0.5


@pytest.mark.parametrize("ttl", [0.5, 3.0, 20.0])
def test_a_renewal_that_hung_leaves_time_for_another(ttl: float) -> None:
    clock = FakeClock()
    backend: Any = Script()
    lease = Lease(record(), ttl, clock)
    keeper = LeaseKeeper(backend, lease, 3600.0, clock, lambda: True)

    longest = ttl / 2  # that a store lets a renewal take
    assert keeper._heartbeat + longest + keeper._soon <= ttl * 0.85
