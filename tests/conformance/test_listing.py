"""Looking for executions: pages that neither skip nor repeat, filters, counts."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tests.stores import (
    ERROR,
    EVENT,
    MakeBackend,
    claim_many,
    claim_one,
    claimed,
    counted,
    ids,
    ignore,
    insert,
    insert_one,
    joined,
    new_execution,
    new_worker,
    now,
    settle,
    stored,
)
from tests.waiting import until
from worchflow.foundations.errors import InvalidInput
from worchflow.model.records import (
    ExecutionQuery,
    ExecutionStatus,
    NewExecution,
    Parent,
)
from worchflow.model.settlement import Completed, Failed, Released, RetryAt, Suspended
from worchflow.storage.contract.backend import Backend
from worchflow.storage.redis_mongo import counting

S = ExecutionStatus
START = now()
QUEUED = frozenset({S.QUEUED})


def aged(seconds: float, **fields: Any) -> NewExecution:
    """An execution created so many seconds after the first."""
    return new_execution(created_at=START + timedelta(seconds=seconds), **fields)


async def listed(backend: Backend, **query: Any) -> list[str]:
    """The ids of one page without a next one."""
    page = await backend.listing.page(ExecutionQuery(**query))
    assert page.cursor is None
    return ids(page.items)


async def test_an_empty_store_has_an_empty_page(backend: Backend) -> None:
    assert await listed(backend) == []
    await counted(backend, {})


async def test_the_newest_come_first(backend: Backend) -> None:
    news = [aged(seconds) for seconds in (3, 1, 2)]
    await insert(backend, *news)

    assert await listed(backend) == [news[0].id, news[2].id, news[1].id]


async def test_a_listed_execution_is_the_stored_one(backend: Backend) -> None:
    worker = await joined(backend)
    await insert_one(backend)
    claim = await claim_one(backend, worker)
    await settle(backend, claim, RetryAt(error=ERROR, delay=60.0))

    page = await backend.listing.page(ExecutionQuery())

    assert list(page.items) == [await stored(backend, claim.execution.id)]


async def test_executions_of_one_moment_are_ordered_by_id(backend: Backend) -> None:
    news = [aged(0, id=f"id-{n}") for n in range(9)]
    await insert(backend, *news)

    assert await listed(backend) == [f"id-{n}" for n in reversed(range(9))]


@pytest.mark.parametrize("limit", [1, 3, 7, 20])
async def test_pages_cover_everything_once(backend: Backend, limit: int) -> None:
    # Several share a moment, so a page may end in the middle of one.
    news = [aged(n // 4) for n in range(20)]
    await insert(backend, *news)

    found, cursor = [], None
    while True:
        page = await backend.listing.page(ExecutionQuery(limit=limit, cursor=cursor))
        assert len(page.items) <= limit
        found += ids(page.items)
        cursor = page.cursor
        if cursor is None:
            break

    expected = sorted(news, key=lambda new: (new.created_at, new.id), reverse=True)
    assert found == [new.id for new in expected]


async def test_what_arrives_while_paging_neither_repeats_nor_hides_others(
    backend: Backend,
) -> None:
    news = [aged(n) for n in range(10)]
    await insert(backend, *news)
    first = await backend.listing.page(ExecutionQuery(limit=4))

    await insert(backend, *(aged(100 + n) for n in range(5)))

    second = await backend.listing.page(ExecutionQuery(limit=50, cursor=first.cursor))
    found = ids(first.items) + ids(second.items)
    assert found == [new.id for new in reversed(news)]
    assert second.cursor is None


async def test_by_status(backend: Backend) -> None:
    worker = await joined(backend)
    made = {}
    for status, settlement in (
        (S.COMPLETED, Completed(result="1")),
        (S.FAILED, Failed(error=ERROR)),
        (S.RETRYING, RetryAt(error=ERROR, delay=60.0)),
        (S.SLEEPING, Suspended(status=S.SLEEPING, wakeups=0)),
        (S.WAITING, Suspended(status=S.WAITING, wakeups=0)),
        (S.PROCESSING, None),
    ):
        made[status] = await insert_one(backend)
        claim = await claim_one(backend, worker)
        if settlement is not None:
            await settle(backend, claim, settlement)
    made[S.QUEUED] = await insert_one(backend)
    made[S.CANCELLED] = await insert_one(backend)
    await backend.executions.cancel(made[S.CANCELLED], None)

    for status in ExecutionStatus:
        assert await listed(backend, statuses=frozenset({status})) == [made[status]]
    await counted(backend, dict.fromkeys(ExecutionStatus, 1))


async def test_by_event_name(backend: Backend) -> None:
    pay = await insert_one(backend, event="pay")
    ship = await insert_one(backend, event="ship")

    assert await listed(backend, function="pay") == [pay]
    assert await listed(backend, function="ship") == [ship]
    assert await listed(backend, function="none") == []


async def test_by_function_id(backend: Backend) -> None:
    worker = new_worker(functions={"pay": "payments", "refund": "payments", "x": "y"})
    await backend.workers.join(worker, ignore)
    claimed = await insert(backend, aged(1, event="pay"), aged(2, event="refund"))
    other = await insert_one(backend, event="x")
    await claim_many(backend, worker, 3)
    waiting = await insert_one(backend, event="pay")

    assert await listed(backend, function="payments") == list(reversed(claimed))
    assert await listed(backend, function="y") == [other]
    found = await listed(backend, function="pay")
    assert sorted(found) == sorted([claimed[0], waiting])


async def test_by_age(backend: Backend) -> None:
    news = [aged(n) for n in range(6)]
    ids_ = await insert(backend, *news)
    at = [new.created_at for new in news]

    assert await listed(backend, since=at[4]) == [ids_[5], ids_[4]]
    assert await listed(backend, until=at[2]) == [ids_[1], ids_[0]]
    assert await listed(backend, since=at[2], until=at[4]) == [ids_[3], ids_[2]]
    assert await listed(backend, since=at[5] + timedelta(seconds=1)) == []


async def test_by_the_beginning_of_the_id(backend: Backend) -> None:
    names = ["abc1", "abc2", "abd", "ab", "b", "abc"]
    await insert(backend, *(aged(n, id=name) for n, name in enumerate(names)))

    assert await listed(backend, id_prefix="abc") == ["abc", "abc2", "abc1"]
    assert await listed(backend, id_prefix="b") == ["b"]
    assert await listed(backend, id_prefix="zz") == []
    assert await listed(backend, id_prefix="a%") == []
    assert await listed(backend, id_prefix="a.c") == []
    page = await backend.listing.page(ExecutionQuery(id_prefix="ab", limit=3))
    rest = await backend.listing.page(
        ExecutionQuery(id_prefix="ab", limit=3, cursor=page.cursor)
    )
    assert ids(page.items) + ids(rest.items) == ["abc", "ab", "abd", "abc2", "abc1"]


async def test_filters_add_up(backend: Backend) -> None:
    worker = await joined(backend, "pay", "ship")
    news = [
        aged(n, id=f"{'ab'[n % 2]}-{n}", event=("pay", "ship")[n // 4])
        for n in range(8)
    ]
    await insert(backend, *news)
    for claim in await claim_many(backend, worker, 8):
        number = int(claim.execution.id[2:])
        done = number in {1, 3, 4, 5}
        settlement = Completed(result="1") if done else Released(delay=60.0)
        await settle(backend, claim, settlement)

    query: dict[str, Any] = {
        "statuses": frozenset({S.COMPLETED}),
        "function": "pay",
        "id_prefix": "b-",
    }
    assert await listed(backend, **query) == ["b-3", "b-1"]
    assert await listed(backend, **query, since=news[2].created_at) == ["b-3"]
    page = await backend.listing.page(ExecutionQuery(**query, limit=1))
    rest = await backend.listing.page(
        ExecutionQuery(**query, limit=1, cursor=page.cursor)
    )
    assert [*ids(page.items), *ids(rest.items)] == ["b-3", "b-1"]


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "x",
        "é",
        "====",
        "bm9uc2Vuc2U=",
        "W10=",
        "e30=",
        "WzEsMl0=",
        "A" * 5000,
        "\x00",
    ],
)
async def test_a_cursor_of_somebody_else_is_refused(
    backend: Backend, cursor: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        await backend.listing.page(ExecutionQuery(cursor=cursor))

    assert caught.value.field == "cursor"


async def test_counts_follow_every_move(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "COUNTS_AGE", 200)
    worker = await joined(backend)
    id_ = await insert_one(backend)
    await counted(backend, {S.QUEUED: 1})
    claim = await claim_one(backend, worker)
    await counted(backend, {S.PROCESSING: 1})
    await settle(backend, claim, Failed(error=ERROR))
    await counted(backend, {S.FAILED: 1})
    await backend.executions.retry(id_)
    await counted(backend, {S.QUEUED: 1})
    await backend.executions.cancel(id_, None)
    await counted(backend, {S.CANCELLED: 1})


async def test_another_prefix_is_neither_listed_nor_counted(
    make_backend: MakeBackend, prefix: str
) -> None:
    ours, theirs = await make_backend(), await make_backend(queue_prefix=f"{prefix}-2")
    our_id = await insert_one(ours, id="same-1")
    their_id = await insert_one(theirs, id="same-2")

    assert await listed(ours) == [our_id]
    assert await listed(theirs) == [their_id]
    assert await listed(ours, id_prefix="same") == [our_id]
    assert await listed(ours, statuses=QUEUED) == [our_id]
    await counted(ours, {S.QUEUED: 1})
    await counted(theirs, {S.QUEUED: 1})


async def test_a_page_holds_about_eight_mebibytes(backend: Backend) -> None:
    large = f'"{"x" * (3 * 1024 * 1024)}"'
    news = [aged(number, event_data=large) for number in range(4)]
    await insert(backend, *news)

    first = await backend.listing.page(ExecutionQuery(limit=200))
    second = await backend.listing.page(ExecutionQuery(limit=200, cursor=first.cursor))

    assert len(first.items) == 3
    assert first.cursor is not None
    assert second.cursor is None
    assert ids((*first.items, *second.items)) == ids(news[::-1])


async def test_one_execution_has_room_on_a_page_however_large(backend: Backend) -> None:
    larger = f'"{"x" * (9 * 1024 * 1024)}"'
    news = [aged(number, event_data=larger) for number in range(2)]
    await insert(backend, *news)

    page = await backend.listing.page(ExecutionQuery(limit=2))
    rest = await backend.listing.page(ExecutionQuery(limit=2, cursor=page.cursor))

    assert ids((*page.items, *rest.items)) == ids(news[::-1])
    assert len(page.items) == 1


@pytest.mark.parametrize("filters", [{}, {"id_prefix": "a"}, {"function": EVENT}])
async def test_a_listing_without_payloads_reads_none(
    backend: Backend, filters: dict[str, Any]
) -> None:
    claim = await claimed(backend, id="a1", event_data='"data"')
    await settle(backend, claim, Completed(result='"result"'))
    full = await backend.listing.page(ExecutionQuery(**filters))

    bare = await backend.listing.page(ExecutionQuery(payloads=False, **filters))

    assert [each.result for each in full.items] == ['"result"']
    assert bare.items == [
        replace(each, event_data="null", result=None, attempts=())
        for each in full.items
    ]


def tagged(age: int, *tags: str, **fields: Any) -> NewExecution:
    return aged(age, tags=tags, **fields)


async def test_by_tag(backend: Backend) -> None:
    news = [
        tagged(0, "blue", "tall"),
        tagged(1, "blue", event="other"),
        aged(2),
        tagged(3, "tall"),
        tagged(4, "blu"),
    ]
    await insert(backend, *news)
    await backend.executions.cancel(news[0].id, None)

    assert await listed(backend, tag="blue") == [news[1].id, news[0].id]
    assert await listed(backend, tag="tall") == [news[3].id, news[0].id]
    assert await listed(backend, tag="none") == []
    assert await listed(backend, tag="blue", statuses=QUEUED) == [news[1].id]
    assert await listed(backend, tag="blue", function=EVENT) == [news[0].id]
    assert await listed(backend, tag="blue", id_prefix=news[1].id[:-1]) == [news[1].id]
    since = news[1].created_at
    assert await listed(backend, tag="blue", since=since) == [news[1].id]


async def test_by_several_statuses(backend: Backend) -> None:
    news = [aged(0), aged(1, event="other"), aged(2), aged(3)]
    await insert(backend, *news)
    await backend.executions.cancel(news[0].id, None)
    await backend.executions.cancel(news[2].id, None)
    worker = await joined(backend, "other")
    await claim_one(backend, worker)

    ended = frozenset({S.CANCELLED, S.COMPLETED})
    not_ended = frozenset({S.QUEUED, S.PROCESSING})
    assert await listed(backend, statuses=ended) == [news[2].id, news[0].id]
    assert await listed(backend, statuses=not_ended) == [news[3].id, news[1].id]
    mixed = frozenset({S.PROCESSING, S.CANCELLED})
    assert await listed(backend, statuses=mixed) == [news[n].id for n in (2, 1, 0)]
    assert await listed(backend, statuses=mixed, function=EVENT) == [
        *(news[2].id, news[0].id)
    ]
    id_prefix = news[1].id[:-1]
    assert await listed(backend, statuses=mixed, id_prefix=id_prefix) == [news[1].id]
    first = await backend.listing.page(ExecutionQuery(statuses=mixed, limit=2))
    rest = ExecutionQuery(statuses=mixed, limit=2, cursor=first.cursor)
    assert ids((await backend.listing.page(rest)).items) == [news[0].id]


async def test_by_parent(backend: Backend) -> None:
    of = Parent("p", "n", "s", 1)
    news = [
        replace(tagged(0, "blue"), parent=of),
        replace(aged(1, event="other"), parent=of),
        aged(2),
        replace(aged(3), parent=replace(of, id="p-2")),
        replace(aged(4), parent=of),
    ]
    await insert(backend, *news)
    await backend.executions.cancel(news[4].id, None)

    children = [news[4].id, news[1].id, news[0].id]
    assert await listed(backend, parent="p") == children
    assert await listed(backend, parent="none") == []
    assert await listed(backend, parent="p", statuses=QUEUED) == children[1:]
    assert await listed(backend, parent="p", function="other") == [news[1].id]
    assert await listed(backend, parent="p", tag="blue") == [news[0].id]
    assert await listed(backend, parent="p", id_prefix=news[1].id[:-1]) == [news[1].id]
    assert await listed(backend, parent="p", since=news[1].created_at) == children[:2]
    page = await backend.listing.page(ExecutionQuery(parent="p", limit=2))
    rest = ExecutionQuery(parent="p", limit=2, cursor=page.cursor)
    assert ids((await backend.listing.page(rest)).items) == children[2:]


@pytest.mark.parametrize("limit", [1, 3])
async def test_pages_of_a_tag_cover_everything_once(
    backend: Backend, limit: int
) -> None:
    news = [tagged(n // 3, "blue" if n % 2 else "red") for n in range(20)]
    await insert(backend, *news)

    found, cursor = [], None
    while True:
        query = ExecutionQuery(tag="blue", limit=limit, cursor=cursor)
        page = await backend.listing.page(query)
        found += ids(page.items)
        cursor = page.cursor
        if cursor is None:
            break

    blue = [new for new in news if new.tags == ("blue",)]
    expected = sorted(blue, key=lambda new: (new.created_at, new.id), reverse=True)
    assert found == [new.id for new in expected]


async def test_what_is_removed_is_listed_by_no_tag(backend: Backend) -> None:
    worker = await joined(backend)
    new = new_execution(tags=("blue",))
    await insert(backend, new)
    claim = await claim_one(backend, worker)
    await settle(backend, claim, Completed(result="1"))
    await until(lambda: backend.retention.prune(S.COMPLETED, 0, 10))

    assert await listed(backend, tag="blue") == []
    await insert(backend, new_execution(new.id, tags=("red",)))
    assert await listed(backend, tag="red") == [new.id]
    assert await listed(backend, tag="blue") == []
