"""Handlers that ask somebody outside, and whoever answers."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from tests.scenarios.conftest import MakeApp, StoreContent
from tests.waiting import until
from worchflow import (
    ConfigurationError,
    Context,
    EventValidationError,
    ExecutionNotFound,
    ExecutionStatus,
    InvalidInput,
    NonRetryable,
    SyncContext,
    Worchflow,
    WorkerOptions,
    WrongState,
    event,
)
from worchflow.worker.execution_slots import ExecutionSlots

S = ExecutionStatus
ROOT = Path(__file__).parent.parent.parent


class Decision(BaseModel):
    ok: bool
    by: str = "somebody"


class Asking:
    """A function that asks a manager, and the ids of the tokens it has made."""

    def __init__(
        self, app: Worchflow[Any], *, sync: bool = False, timeout: Any = None
    ) -> None:
        self.tokens: dict[str, str] = {}
        self.calls: list[str] = []
        self.failures = 0
        if sync:

            @app.function("ask", retries=0)
            def in_a_thread(ctx: SyncContext[Any]) -> str | None:
                token = ctx.step.token("Manager", Decision, timeout=timeout)
                self.asked(ctx.execution_id, token.id)
                ctx.step.run("Mail", lambda: self.calls.append(token.id))
                answer: Decision | None = token.result()
                return self.answered(answer)

        else:

            @app.function("ask", retries=0)
            async def ask(ctx: Context[Any]) -> str | None:
                token = await ctx.step.token("Manager", Decision, timeout=timeout)
                self.asked(ctx.execution_id, token.id)
                await ctx.step.run("Mail", lambda: self.calls.append(token.id))
                return self.answered(await token)

    def asked(self, execution: str, token: str) -> None:
        assert self.tokens.setdefault(execution, token) == token

    def answered(self, answer: Decision | None) -> str | None:
        if self.failures:
            self.failures -= 1
            raise ConnectionError
        return answer and answer.by

    async def token(self, handle: Any) -> str:
        """The token of an execution, once it was made."""
        await until(lambda: handle.id in self.tokens)
        return self.tokens[handle.id]


BOTH = pytest.mark.parametrize("sync", [False, True], ids=["async", "sync"])
ASK = {"name": "ask", "data": None}


async def _is(handle: Any, status: ExecutionStatus) -> bool:
    return bool(await handle.status() is status)


@BOTH
@pytest.mark.parametrize("park_for", [0.1, 60], ids=["suspended", "parked"])
async def test_an_answer_continues_the_execution(
    app: Worchflow[Any], make_app: MakeApp, sync: bool, park_for: float
) -> None:
    asking = Asking(app, sync=sync)
    elsewhere = make_app("elsewhere")
    worker = app.worker(options=WorkerOptions(park_for=park_for))
    async with worker, app.client() as client, elsewhere.client() as other:
        handle = await client.send(ASK)
        token = await asking.token(handle)
        if park_for < 1:
            await until(lambda: _is(handle, S.WAITING))
            waiting = await client.get(handle.id)
            assert waiting.reason == 'the answer to token "Manager"'
        else:
            await until(lambda: worker.parking.parked == 1)

        await other.complete(token, Decision(ok=True, by="Ada"))

        assert await handle.result(timeout=30) == "Ada"
        steps = await client.steps(handle.id)
    assert asking.calls == [token]
    assert [(step.title, step.kind) for step in steps] == [
        *(("Mail", "run"), ("Manager", "token")),
    ]
    assert steps[1].result == {"ok": True, "by": "Ada"}
    assert worker.parking.replayed == (park_for < 1)


async def test_it_is_answered_without_a_loop_and_before_anybody_waits(
    app: Worchflow[Any],
) -> None:
    mailed = asyncio.Event()
    tokens: list[str] = []

    @app.function("ask")
    async def ask(ctx: Context[Any]) -> str:
        token = await ctx.step.token("Manager", Decision)
        tokens.append(token.id)
        await mailed.wait()
        return (await token).by

    async with app.client() as client, app.worker():
        handle = await client.send(ASK)
        await until(lambda: bool(tokens))
        answer = {"ok": False, "by": "Bo"}
        await asyncio.to_thread(client.sync.complete, tokens[0], answer)
        mailed.set()
        assert await handle.result(timeout=30) == "Bo"


async def test_nothing_is_lost_when_nobody_is_told(
    app: Worchflow[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ExecutionSlots, "woken", lambda *_: None)
    asking = Asking(app)
    worker = app.worker(options=WorkerOptions(park_for=0.3))
    async with worker, app.client() as client:
        handle = await client.send(ASK)
        await until(lambda: worker.parking.parked == 1)
        await client.complete(await asking.token(handle), Decision(ok=True, by="Ada"))

        assert await handle.result(timeout=30) == "Ada"


async def test_its_time_is_over_without_an_answer_and_stays_so(
    app: Worchflow[Any],
) -> None:
    asking = Asking(app, timeout="200ms")
    asking.failures = 1
    async with app.client() as client:
        async with app.worker(options=WorkerOptions(park_for=0.05)):
            handle = await client.send(ASK)
            await until(lambda: _is(handle, S.FAILED))
            token = asking.tokens[handle.id]
            with pytest.raises(WrongState, match="its execution is failed"):
                await client.complete(token, Decision(ok=True))
            await client.retry(handle.id)
            assert await handle.result(timeout=30) is None
        with pytest.raises(WrongState, match="its execution is completed"):
            await client.complete(token, Decision(ok=True))


async def test_a_retried_execution_still_has_its_token(app: Worchflow[Any]) -> None:
    asking = Asking(app)
    async with app.client() as client, app.worker():
        handle = await client.send(ASK)
        token = await asking.token(handle)
        await client.cancel(handle.id)
        await until(lambda: _is(handle, S.CANCELLED))
        with pytest.raises(WrongState, match="its execution is cancelled") as late:
            await client.complete(token, Decision(ok=True))
        assert (late.value.execution_id, late.value.status) == (handle.id, "cancelled")

        await client.retry(handle.id)
        await until(lambda: _is(handle, S.WAITING))
        await client.complete(token, Decision(ok=True, by="Ada"))

        assert await handle.result(timeout=30) == "Ada"
    assert asking.calls == [token]


async def test_of_many_who_answer_one_is_heard(app: Worchflow[Any]) -> None:
    asking = Asking(app)
    count = 20
    async with app.client() as client, app.worker(concurrency=count):
        handles = await client.send_many(ASK for _ in range(count))
        tokens = [await asking.token(handle) for handle in handles]

        async def answer(token: str, by: str) -> str | None:
            try:
                await client.complete(token, Decision(ok=True, by=by))
            except WrongState:
                return None
            return by

        heard = await asyncio.gather(
            *(answer(token, by) for token in tokens for by in ("Ada", "Bo"))
        )
        results = [await handle.result(timeout=30) for handle in handles]

    pairs = [heard[2 * n : 2 * n + 2] for n in range(count)]
    assert [[by for by in pair if by] for pair in pairs] == [[by] for by in results]


async def test_an_answer_races_with_the_end_of_its_time(app: Worchflow[Any]) -> None:
    asking = Asking(app, timeout=0.4)
    count = 20
    async with app.client() as client:
        worker = app.worker(options=WorkerOptions(concurrency=count, park_for=0.1))
        async with worker:
            handles = await client.send_many(ASK for _ in range(count))
            tokens = [await asking.token(handle) for handle in handles]

            async def answer(token: str, after: float) -> str | None:
                await asyncio.sleep(after)
                try:
                    await client.complete(token, Decision(ok=True, by="Ada"))
                except WrongState:
                    return None
                return "Ada"

            heard = await asyncio.gather(
                *(answer(token, 0.2 + n * 0.02) for n, token in enumerate(tokens))
            )
            results = [await handle.result(timeout=30) for handle in handles]

    assert heard == results


async def test_what_it_waits_for_can_be_read(app: Worchflow[Any]) -> None:
    @app.function("ask")
    async def ask(ctx: Context[Any]) -> None:
        first = await ctx.step.token("First", Decision, timeout="1h")
        second = await ctx.step.token("Second", Decision)
        said = ctx.step.wait_for_event("News", news, key="k")
        nap = ctx.step.sleep("Nap", "1m")
        await asyncio.gather(first.result(), second.result(), said, nap)

    news = event("news", str)
    worker = app.worker(options=WorkerOptions(park_for=0.1))
    async with app.client() as client, worker:
        handle = await client.send(ASK)
        await until(lambda: _is(handle, S.WAITING))
        waits = {each.title: each for each in await client.waits(handle.id)}
        assert [*waits][:2] == ["Nap", "First"]
        assert (waits["News"].event, waits["News"].key) == ("news", "k")
        assert waits["News"].deadline is waits["Second"].deadline is None
        assert waits["Nap"].kind == "sleep"
        assert waits["First"].event is waits["First"].key is None
        assert waits["First"].deadline is not None

        token = waits["Second"].token
        assert token is not None
        await client.complete(token, Decision(ok=True))
        await until(lambda: _recorded(client, handle.id, "Second"))

        assert {each.title for each in await client.waits(handle.id)} == {
            *("Nap", "First", "News"),
        }
        await client.cancel(handle.id)
        await until(lambda: _is(handle, S.CANCELLED))
        assert await client.waits(handle.id) == []
        with pytest.raises(ExecutionNotFound):
            await client.waits("nobody")


async def _recorded(client: Any, id: str, title: str) -> bool:
    return title in {step.title for step in await client.steps(id)}


async def test_bad_input_is_refused_before_anything_is_stored(
    app: Worchflow[Any], store_content: StoreContent
) -> None:
    tokens: list[str] = []
    refused: list[str] = []

    @app.function("ask")
    async def ask(ctx: Context[Any]) -> bool:
        step: Any = ctx.step
        for way, title, answer, options, wanted in (
            (step, "", Decision, {}, "title"),
            (step, "x", "Decision", {}, "answer='Decision' is not a type"),
            (step, "x", Decision, {"timeout": -1}, "timeout"),
            (step, "x", Decision | None, {"timeout": 1}, "may be None"),
            (step, "x", Decision, {"timeout": b""}, "timeout"),
            (step.options(retries=1), "x", Decision, {}, "options\\(retries"),
        ):
            with pytest.raises((ConfigurationError, InvalidInput), match=wanted):
                way.token(title, answer, **options)
            refused.append(wanted)
        with pytest.raises(ConfigurationError, match="JSON"):
            await step.token("No JSON", asyncio.Event)
        token = await ctx.step.token("Manager", Decision)
        tokens.append(token.id)
        if not (await token).ok:
            raise NonRetryable("no")
        return True

    async with app.client() as client, app.worker():
        handle = await client.send(ASK)
        await until(lambda: _is(handle, S.WAITING))
        assert len(refused) == 6
        before = events_in(store_content())
        for token, answer, error, wanted in (
            ("x", {"ok": True}, InvalidInput, "token_id='x'"),
            (tokens[0], {"ok": "maybe"}, EventValidationError, "has to be of type"),
            (tokens[0], {"okay": True}, EventValidationError, "lacks ok|not known"),
            (tokens[0], {"ok": True, "noet": 1}, EventValidationError, "not known"),
            (tokens[0], None, EventValidationError, "is null"),
            (tokens[0], b"raw", EventValidationError, "the answer"),
            ("0" * 32, {"ok": True}, WrongState, "no execution has the token"),
        ):
            with pytest.raises(error, match=wanted):
                await client.complete(token, answer)
        assert events_in(store_content()) == before == []
        await client.complete(tokens[0], Decision(ok=True))
        assert await handle.result(timeout=30) is True


def events_in(content: Any) -> Any:
    """The log of events in what a store holds."""
    tables = content if isinstance(content, dict) else content[0]
    return tables.get("events", [])


PROGRAM = """
    import asyncio, json, os, sys
    from worchflow import Context, Worchflow, WorkerOptions

    app = Worchflow("program", **json.loads(sys.argv[1]))

    @app.function("ask")
    async def ask(ctx: Context[int]) -> list[str]:
        answers = []
        for number in range(ctx.data):
            token = await ctx.step.options(key=number).token("Ask", str)
            print(number, token.id, flush=True)
            answers.append(await token)
        return answers

    async def main() -> None:
        async with app.worker(options=WorkerOptions(park_for=0.05)):
            await asyncio.sleep(600)

    asyncio.run(main())
"""


async def test_workers_that_are_killed_lose_and_change_no_token(
    app: Worchflow[Any], where: dict[str, Any], tmp_path: Path
) -> None:
    count = 8
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(PROGRAM))
    settings = json.dumps({name: str(value) for name, value in where.items()})
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}

    def start() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, str(program), settings],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )

    async def next_token(process: subprocess.Popen[str], number: int) -> str:
        assert process.stdout is not None
        while True:
            line = await asyncio.to_thread(process.stdout.readline)
            said, _, token = line.strip().partition(" ")
            if int(said) == number:
                return token

    async with app.client() as client:
        handle = await client.send({"name": "ask", "data": count})
        running = start()
        try:
            for number in range(count):
                token = await next_token(running, number)
                kill = number % 3 == 1
                if kill:
                    # Owned by nobody: no lease has to end before it continues.
                    await until(lambda: _is(handle, S.WAITING))
                    running.send_signal(signal.SIGKILL)
                    running.communicate()
                await client.complete(token, f"answer {number}")
                if kill:
                    running = start()
            expected = [f"answer {number}" for number in range(count)]
            assert await handle.result(timeout=60) == expected
        finally:
            running.kill()
            running.communicate()
