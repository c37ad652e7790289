"""Sixteen executions that make every store call, and what each has to end with."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from tests.chaos.schedule import pause
from worchflow import (
    Context,
    Event,
    Execution,
    NonRetryable,
    Retry,
    StoreUnavailable,
    Worchflow,
    WorchflowClient,
    WrongState,
    event,
)
from worchflow.engine.operations.token import token_of
from worchflow.foundations.ids import new_worker_id
from worchflow.ledger import Kind, Ledger, LedgerMiddleware, read
from worchflow.model.records import WorkerRecord
from worchflow.storage.contract.backend import Backend

T = TypeVar("T")

POLL = 0.1
QUARANTINE_AFTER = 1
"""Deaths: the orphan's first one leaves it to the quarantine slot."""
PARK_FOR = 0.05
"""Seconds after which what waits longer is suspended."""
RACE_NAP = 3.0
"""Seconds in which an event wins a race that is there from the start, unless something
breaks: then the time may be over before anybody looks again."""
NAP = 1.0
"""Seconds that one sleeps, twice: much longer, however slow the machine is."""
AT_ONCE = 0.001
"""Seconds after which a token's time is over, and that of an execution with a deadline:
before it is asked for, or nearly so."""
RETRIES = Retry(max_retries=5, delay=0.05)
UNLUCKY = 2
"""Tries of one step that fail; after each it is suspended."""
TRIES = Retry(max_retries=UNLUCKY + 2, delays=[0.3])
"""A crash may cost one, and the second process another."""
ENDS: dict[str, tuple[str, Any]] = {
    "plain": ("completed", 12),
    "again": ("completed", 22),
    "mended": ("completed", 32),
    "stopped": ("cancelled", None),
    "later": ("completed", 52),
    "never": ("cancelled", None),
    "orphan": ("completed", 72),
    "slept": ("completed", 82),
    "told": ("completed", 92),
    "asked": ("completed", 102),
    "sent": ("completed", 112),
    "family": ("completed", 122),
    "many": ("completed", 132),
    "raced": ("completed", 142),
    "overdue": ("failed", None),
    "tried": ("completed", 162),
}
"""How each execution has to end, and with what."""


class Work(Event[int], name="work"):
    """`kind` is one of `ENDS`."""

    kind: str
    number: int


NEWS = event("news", int)
"""What one execution waits for; its id is the key."""


class Passed(Event[int], name="passed", key="of"):
    """What one execution sends, and then waits for."""

    of: str
    value: int


class Limited(Event[int], name="limited"):
    """What one execution has to do by its deadline, and does not."""

    number: int


class Child(Event[int], name="child"):
    """What one execution starts, and invokes."""

    number: int
    fails: bool
    """Whether it fails until all is mended."""


class Broken(Exception):
    """A failure on purpose."""


def make_app(backend: Backend, ledger: Ledger, mended: Path) -> Worchflow[Any]:
    """The app; without the files that `mended` begins some fail for good."""
    app = Worchflow(
        "crash points", backend=backend, middleware=[LedgerMiddleware(ledger)]
    )

    def second(number: int) -> int:
        return number + 1

    async def wait() -> int:
        await asyncio.get_running_loop().create_future()
        return 0

    @app.function(Work, retries=RETRIES)
    async def work(ctx: Context[Work]) -> int:
        kind = ctx.data.kind
        value = await ctx.step.run(f"First of {kind}", first, ctx.data.number)
        if kind == "again" and ctx.attempt == 1:
            raise Broken
        if kind == "mended" and not is_mended(mended, kind):
            raise NonRetryable("not mended yet")
        if kind == "tried":
            step = ctx.step.options(retries=TRIES)
            value = await step.run("Try", try_until, mended.with_suffix(".tries"))
        elif kind in WAYS:
            value = await WAYS[kind](ctx, value)
        if kind == "stopped":
            return await ctx.step.run("Wait to be stopped", wait)
        return await ctx.step.run(f"Second of {kind}", second, value)

    app.function(Child, retries=RETRIES)(make_child(mended))
    app.function(Limited, retries=RETRIES, deadline=AT_ONCE)(limited)
    app.function(Passed, retries=RETRIES)(passed)
    return app


def make_child(mended: Path) -> Callable[[Context[Child]], Awaitable[int]]:
    """What children do."""

    async def child(ctx: Context[Child]) -> int:
        value = await ctx.step.run("First of a child", first, ctx.data.number)
        if ctx.data.fails and not is_mended(mended, "family"):
            raise NonRetryable("not mended yet")
        return value

    return child


def is_mended(mended: Path, kind: str) -> bool:
    """Whether executions of a kind do not fail any more."""
    return mended.with_suffix(f".{kind}").exists()


async def first(number: int) -> int:
    """The first step of everything."""
    return number + 1


def try_until(tries: Path) -> int:
    """Fail so often, over all processes."""
    with tries.open("a") as file:
        file.write(".")
    if len(tries.read_text()) <= UNLUCKY:
        raise Broken
    return 161


async def limited(ctx: Context[Limited]) -> int:
    """Wait for longer than there is time, if it is called at all."""
    await ctx.step.sleep("Nap for ever", 3600)
    return ctx.data.number


async def passed(ctx: Context[Passed]) -> int:
    """What was sent."""
    return ctx.data.value


async def insist(call: Callable[[], Awaitable[T]]) -> T:
    """Call until the store answers, as a careful program would."""
    while True:
        try:
            return await call()
        except StoreUnavailable:
            await pause(POLL)
        except asyncio.CancelledError:
            # The injection's: nobody else cancels this task.
            task = asyncio.current_task()
            assert task is not None
            task.uncancel()


async def _waited(ctx: Context[Work], value: int) -> int:
    """Wait for a time, or for an event, an answer or children that have the value."""
    if ctx.data.kind == "told":
        return await ctx.step.wait_for_event("News", NEWS, key=ctx.execution_id)
    if ctx.data.kind == "asked":
        # Nobody answers the first: its time is over, and the log says so.
        if await (await ctx.step.token("Clerk", int, timeout=AT_ONCE)) is not None:
            raise NonRetryable("an answer that nobody gave")
        return await (await ctx.step.token("Manager", int))
    if ctx.data.kind == "sent":
        of = ctx.execution_id
        await ctx.step.send("Pass on", Passed(of=of, value=value))
        return (await ctx.step.wait_for_event("Passed", Passed, key=of)).value
    if ctx.data.kind == "family":
        before = value - 1
        started = await ctx.step.start("Start", Child(number=before, fails=False))
        # It fails, and so does this one; a retry of this one retries it.
        value = await ctx.step.invoke("Invoke", Child(number=before, fails=True))
        if await started.result() != value:
            raise NonRetryable("another value than the child's")
        return value
    # Twice: the second suspension removes the wait that was over.
    await ctx.step.sleep("Nap", NAP)
    await ctx.step.sleep("Nap", NAP)
    return value


async def _raced(ctx: Context[Work], _: int) -> int:
    """Wait for an event, and once more if a sleep was over before.

    After a crash both may have ended, and what lost may have taken the event.
    """
    early = ctx.step.wait_for_event("Early", NEWS, key=ctx.execution_id)
    late = ctx.step.sleep("Late", RACE_NAP)
    _, news = await ctx.step.race("First", event=early, late=late)
    if isinstance(news, int):
        return news
    return await ctx.step.wait_for_event("After all", NEWS, key=ctx.execution_id)


async def _many(ctx: Context[Work], value: int) -> int:
    """Do a step for each of two, and invoke two children."""

    async def item(number: int) -> int:
        return number + 1

    numbers = [value - 2, value - 1]
    items = await ctx.step.map("Map", item, numbers, concurrency=1)
    children = [Child(number=number - 1, fails=False) for number in items]
    values = await ctx.step.invoke_many("Invoke many", children)
    if values != items:
        raise NonRetryable(f"the children gave {values}, not {items}")
    return values[-1]


WAYS = {
    **dict.fromkeys(("slept", "told", "asked", "sent", "family"), _waited),
    "raced": _raced,
    "many": _many,
}
"""What some do between their first and their last step."""


class Driver:
    """Sends, cancels, mends and reads. A second one continues where a first died."""

    def __init__(
        self,
        client: WorchflowClient[Any],
        backend: Backend,
        ledger: Ledger,
        prefix: str,
        mended: Path,
    ) -> None:
        self._client = client
        self._backend = backend
        self._ledger = ledger
        self._prefix = prefix
        self._mended = mended

    async def leave_an_orphan(self) -> None:
        """Let a worker begin an execution and go without ending it.

        To be called before there is another worker. The next process may so lose any
        execution that waits, but none that has killed a worker.
        """
        await self._send("orphan")
        await insist(self._backend.open)
        doomed = WorkerRecord(
            id=new_worker_id(self._backend.options.runtime),
            functions={"work": "work"},
            concurrency=1,
            host="test",
            pid=0,
            started_at=datetime.now(UTC),
            quarantine_after=QUARANTINE_AFTER,
        )
        await insist(lambda: self._backend.workers.join(doomed, lambda *_: None))
        for claim in await insist(lambda: self._backend.claims.claim(doomed, 1, POLL)):
            await insist(lambda claim=claim: self._backend.claims.begin(claim))
        # The way to be gone that other workers notice the soonest.
        await insist(lambda: self._backend.workers.leave(doomed.id))

    async def drive(self) -> None:
        """Return once everything has ended and was read."""
        for kind in ENDS:
            if kind != "orphan":
                await self._send(kind)
        await self._tell("raced", 141)
        # It is not suspended, so nothing depends on when that is.
        await insist(lambda: self._backend.waits.wake([self._id("never")]))
        await insist(lambda: self._backend.waits.wakeups(self._id("never")))
        await insist(lambda: self._backend.waits.all(self._id("slept")))
        await insist(lambda: self._client.cancel(self._id("never")))
        while not await self._all_ended():
            await pause(POLL)
        for kind in ENDS:
            await self._read(kind)
        await insist(self._client.counts)
        page = await insist(lambda: self._client.list(limit=2 * len(ENDS)))
        # And what they have sent and started, once.
        others = {each.id for each in page.items} - set(map(self._id, ENDS))
        assert len(page.items) == len(ENDS) + 5
        assert [len(each) for each in others] == 5 * [32]

    def _id(self, kind: str) -> str:
        return f"{self._prefix}.{kind}"

    async def _send(self, kind: str) -> None:
        number = 10 * (list(ENDS).index(kind) + 1)
        message: Work | Limited = Work(kind=kind, number=number)
        if kind == "overdue":
            message = Limited(number=number)
        delay = {"later": 0.3, "never": 3600}.get(kind, 0)
        await insist(
            lambda: self._client.send(message, id=self._id(kind), delay=delay or None)
        )
        status, value = ENDS[kind]
        self._ledger.write(
            Kind.ACCEPTED, execution=self._id(kind), status=status, value=value
        )

    async def _get(self, kind: str) -> Execution:
        return await insist(lambda: self._client.get(self._id(kind)))

    async def _all_ended(self) -> bool:
        live = False
        for kind in ENDS:
            execution = await self._get(kind)
            if kind in ("mended", "family") and execution.status == "failed":
                live = True
                await self._mend(kind)
            elif kind == "told" and execution.status == "waiting":
                await self._tell("told", 91)
                await insist(lambda: self._backend.events.prune(3600, 1))
            elif kind == "asked" and execution.status == "waiting":
                await self._answer()
            elif kind == "stopped" and self._waits(execution):
                await insist(lambda: self._client.cancel(self._id("stopped")))
            live = live or not execution.status.is_terminal
        return not live

    def _waits(self, execution: Execution) -> bool:
        return execution.status == "processing" and any(
            line.kind is Kind.START and line.step.startswith("Wait to be stopped")
            for line in read(self._ledger.path)[0]
        )

    async def _tell(self, kind: str, value: int) -> None:
        """Emit what an execution waits for."""
        id_ = self._id(kind)
        await insist(lambda: self._client.emit(NEWS(value), key=id_, id=f"{id_}.news"))

    async def _answer(self) -> None:
        """Complete what an execution waits for; it is suspended until then."""
        waits = await insist(lambda: self._backend.waits.all(self._id("asked")))
        for token_id in [token_of(each) for each in waits if each.title == "Manager"]:
            # An earlier call may have been applied although it had failed.
            with suppress(WrongState):
                await insist(lambda id_=token_id: self._client.complete(id_, 101))

    async def _mend(self, kind: str) -> None:
        self._mended.with_suffix(f".{kind}").touch()
        try:
            await insist(lambda: self._client.retry(self._id(kind)))
        except WrongState:
            # An earlier call was applied although it had failed.
            return

    async def _read(self, kind: str) -> None:
        execution = await self._get(kind)
        self._ledger.write(
            Kind.ENDED,
            execution=execution.id,
            status=execution.status,
            value=execution.result,
        )
        recorded = await insist(lambda: self._client.steps(execution.id))
        assert kind in ("never", "overdue") or recorded
        if kind == "overdue":
            assert execution.error is not None
            assert execution.error.type == "DeadlineExceeded"
