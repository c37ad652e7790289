"""Recorded steps: written once, returned to whoever writes them again."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from tests.stores import (
    ERROR,
    MakeBackend,
    claim_one,
    claimed,
    everything,
    joined,
    new_step,
    now,
    settle,
)
from worchflow.model.records import StepStatus
from worchflow.model.settlement import Completed, Released, RetryAt
from worchflow.model.step_kind import StepKind
from worchflow.storage.contract.backend import Backend


async def test_a_recorded_step_is_returned_and_stored_as_it_is(
    backend: Backend,
) -> None:
    claim = await claimed(backend)
    step = new_step(attempts=3)

    recorded = await backend.steps.checkpoint(claim, step)

    assert recorded == step
    assert await backend.steps.all(claim.execution.id) == [step]


async def test_the_key_of_a_step_comes_back(backend: Backend) -> None:
    claim = await claimed(backend)
    keyed, other = new_step(1, title="Notify", key="ü 3"), new_step(2, title="Notify")
    for step in (keyed, other):
        await backend.steps.checkpoint(claim, step)

    steps = await backend.steps.all(claim.execution.id)
    found = {step.step_id: step.key for step in steps}

    assert found == {keyed.step_id: "ü 3", other.step_id: None}


async def test_a_failed_step_is_recorded_with_its_error(backend: Backend) -> None:
    claim = await claimed(backend)
    step = new_step(status=StepStatus.FAILED, result=None, error=ERROR)

    assert await backend.steps.checkpoint(claim, step) == step

    assert await backend.steps.all(claim.execution.id) == [step]


@pytest.mark.parametrize(
    "result",
    [
        "null",
        "false",
        '"é😀 \\u0000 $where"',
        '{"a.b":{"$c":[1e400]}}',
        f'"{"x" * 900_000}"',
    ],
    ids=["null", "false", "odd text", "odd keys", "large"],
)
async def test_a_step_result_comes_back_unchanged(
    backend: Backend, result: str
) -> None:
    claim = await claimed(backend)

    recorded = await backend.steps.checkpoint(claim, new_step(result=result))

    assert recorded.result == result
    (step,) = await backend.steps.all(claim.execution.id)
    assert step.result == result


async def test_the_first_write_of_a_step_wins(backend: Backend) -> None:
    claim = await claimed(backend)
    first = await backend.steps.checkpoint(claim, new_step(result='"first"'))
    before = await everything(backend, claim.execution.id)

    second = await backend.steps.checkpoint(
        claim, new_step(result='"second"', title="other", attempts=9)
    )
    failed = await backend.steps.checkpoint(
        claim, new_step(status=StepStatus.FAILED, result=None, error=ERROR)
    )

    assert second == failed == first
    assert await everything(backend, claim.execution.id) == before


async def test_a_recorded_failure_is_not_overwritten_by_a_result(
    backend: Backend,
) -> None:
    claim = await claimed(backend)
    failure = new_step(status=StepStatus.FAILED, result=None, error=ERROR)
    await backend.steps.checkpoint(claim, failure)

    recorded = await backend.steps.checkpoint(claim, new_step(result='"late"'))

    assert recorded == failure
    assert await backend.steps.all(claim.execution.id) == [failure]


async def test_concurrent_writers_of_one_step_all_get_the_same_record(
    make_backend: MakeBackend,
) -> None:
    backends = [await make_backend(), await make_backend()]
    claim = await claimed(backends[0])

    recorded = await asyncio.gather(
        *(
            backends[n % 2].steps.checkpoint(claim, new_step(result=f'"writer {n}"'))
            for n in range(50)
        )
    )

    (stored,) = await backends[0].steps.all(claim.execution.id)
    assert recorded == [stored] * 50


async def test_many_steps_at_once_are_all_recorded(backend: Backend) -> None:
    claim = await claimed(backend)
    steps = [new_step(n) for n in range(150)]

    recorded = await asyncio.gather(
        *(backend.steps.checkpoint(claim, step) for step in steps)
    )

    assert recorded == steps
    stored = await backend.steps.all(claim.execution.id)
    assert sorted(stored, key=lambda step: step.step_id) == steps


async def test_steps_come_in_the_order_in_which_they_started(backend: Backend) -> None:
    claim = await claimed(backend)
    start = now()
    for number, seconds in ((1, 2), (2, 0), (3, 1), (4, 1)):
        started_at = start + timedelta(seconds=seconds)
        await backend.steps.checkpoint(claim, new_step(number, started_at=started_at))

    steps = await backend.steps.all(claim.execution.id)

    assert [step.title for step in steps] == ["step 2", "step 3", "step 4", "step 1"]


async def test_equal_step_ids_of_two_executions_are_two_steps(backend: Backend) -> None:
    one, two = await claimed(backend), await claimed(backend)

    await backend.steps.checkpoint(one, new_step(result='"one"'))
    await backend.steps.checkpoint(two, new_step(result='"two"'))

    assert [s.result for s in await backend.steps.all(one.execution.id)] == ['"one"']
    assert [s.result for s in await backend.steps.all(two.execution.id)] == ['"two"']


async def test_ids_that_begin_alike_do_not_share_steps(backend: Backend) -> None:
    long, short = await claimed(backend, id="a:b:c"), await claimed(backend, id="a:b")
    await backend.steps.checkpoint(long, new_step(1))
    await backend.steps.checkpoint(short, new_step(2))

    assert [s.title for s in await backend.steps.all("a:b")] == ["step 2"]
    assert [s.title for s in await backend.steps.all("a:b:c")] == ["step 1"]


async def test_a_finished_execution_keeps_its_steps(backend: Backend) -> None:
    claim = await claimed(backend)
    step = await backend.steps.checkpoint(claim, new_step())

    await settle(backend, claim, Completed(result="1"))

    assert await backend.steps.all(claim.execution.id) == [step]


async def test_recording_a_step_keeps_the_claim(backend: Backend) -> None:
    claim = await claimed(backend)
    await backend.steps.checkpoint(claim, new_step())

    renewal = await asyncio.to_thread(backend.workers.renew, claim.worker_id)

    assert renewal.owned == {claim.execution.id}
    other = await joined(backend)
    assert not await backend.claims.claim(other, 1, 0.1)
    assert (await settle(backend, claim, Completed(result="1"))).applied


async def test_steps_written_through_another_backend_reach_the_next_claim(
    make_backend: MakeBackend,
) -> None:
    first, second = await make_backend(), await make_backend()
    claim = await claimed(first)
    step = await second.steps.checkpoint(claim, new_step())

    await settle(first, claim, Released())

    again = await claim_one(second, await joined(second))
    assert again.steps == {step.step_id: step}


async def test_the_kind_of_a_step_comes_back(backend: Backend) -> None:
    claim = await claimed(backend)
    slept = new_step(kind=StepKind.SLEEP, result="null")

    assert await backend.steps.checkpoint(claim, slept) == slept

    assert await backend.steps.all(claim.execution.id) == [slept]


async def test_a_failure_that_counts_for_an_attempt_is_void_after_it(
    pair: tuple[Backend, Backend],
) -> None:
    first, second = pair
    claim = await claimed(first)
    id_ = claim.execution.id
    failed = new_step(
        status=StepStatus.FAILED,
        result=None,
        error=ERROR,
        attempt=1,
        error_class="builtins:ValueError",
    )
    assert await first.steps.checkpoint(claim, failed) == failed
    await settle(first, claim, Released())
    worker = await joined(second)

    # It is still the same attempt, and the first write wins.
    same = await claim_one(second, worker)
    assert same.steps == {failed.step_id: failed}
    assert await second.steps.checkpoint(same, new_step()) == failed
    await settle(second, same, RetryAt(error=ERROR, delay=0.0))

    following = await claim_one(second, worker)
    assert following.execution.attempt_count == 1
    assert following.steps == {}
    assert await first.steps.all(id_) == []
    done = new_step(result='"done"')
    assert await second.steps.checkpoint(following, done) == done
    assert await first.steps.all(id_) == [done]
    assert await first.steps.checkpoint(claim, failed) == done
