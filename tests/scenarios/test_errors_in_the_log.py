"""What fails reaches the log as an exception, once; error trackers live by it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import uuid
from typing import Any

import pytest
from cryptography.fernet import Fernet

from worchflow import (
    Context,
    ExecutionFailed,
    Retry,
    StepFailed,
    SyncContext,
    Worchflow,
)
from worchflow.model.notices import StepCompleted


class Encryption:
    def __init__(self) -> None:
        self._fernet = Fernet(Fernet.generate_key())

    def encode(self, data: bytes) -> bytes:
        return self._fernet.encrypt(data)

    def decode(self, data: bytes) -> bytes:
        return self._fernet.decrypt(data)


class CardError(Exception):
    pass


def raised(log: pytest.LogCaptureFixture) -> list[tuple[int, BaseException | None]]:
    """Level and exception of the lines that carry one, in order."""
    return [
        (record.levelno, record.exc_info[1])
        for record in log.records
        if record.exc_info is not None and record.name.startswith("worchflow")
    ]


async def run(app: Worchflow[Any], name: str) -> Any:
    """Send an event without data and wait; an `ExecutionFailed` is what it gives."""
    async with app.client() as client, app.worker():
        handle = await client.send({"name": name, "data": None})
        try:
            await handle.result(timeout=10)
        except ExecutionFailed as failed:
            return failed, await client.get(handle.id)
        return None, await client.get(handle.id)


async def test_each_failed_attempt_carries_its_exception_once(
    app: Worchflow[Any], caplog: pytest.LogCaptureFixture
) -> None:
    errors: list[CardError] = []

    @app.function("pay", retries=1, retry_delay=0)
    async def pay(ctx: Context[None]) -> None:
        errors.append(CardError(f"declined {ctx.attempt}"))
        raise errors[-1]

    await run(app, "pay")

    assert raised(caplog) == [(logging.WARNING, errors[0]), (logging.ERROR, errors[1])]


async def test_the_last_try_of_a_step_carries_its_exception(
    app: Worchflow[Any], caplog: pytest.LogCaptureFixture
) -> None:
    errors: list[CardError] = []

    def charge() -> None:
        errors.append(CardError(f"declined {len(errors)}"))
        raise errors[-1]

    @app.function("pay")
    def pay(ctx: SyncContext[None]) -> None:
        step = ctx.step.options(retries=Retry(max_retries=1, delay=0), key=7)
        with pytest.raises(StepFailed, match=r'step "Charge" \(key 7\) of'):
            step.run("Charge", charge)

    await run(app, "pay")

    assert raised(caplog) == [(logging.WARNING, errors[-1])]
    first, last = (line for line in caplog.messages if line.startswith("step"))
    assert first.startswith('step "Charge" (key 7) of execution')
    assert "failed on try 1 (CardError); its next try starts in" in first
    assert "failed for good on try 2 (CardError); the handler gets" in last


async def test_what_a_cleanup_raises_after_the_timeout_is_told(
    app: Worchflow[Any], caplog: pytest.LogCaptureFixture
) -> None:
    @app.function("slow", retries=0, timeout=0.05)
    async def slow(ctx: Context[None]) -> None:
        async def wait() -> None:
            await asyncio.sleep(30)

        try:
            await ctx.step.options(key="k").run("Wait", wait)
        finally:
            raise CardError("not given back")

    failed, execution = await run(app, "slow")
    gc.collect()

    assert failed.error_type == "TimeoutError"
    assert execution.error.step == "Wait (key k)"
    cleanup, attempt = raised(caplog)
    assert isinstance(cleanup[1], CardError)
    assert cleanup[0] == logging.WARNING
    assert isinstance(attempt[1], TimeoutError)
    assert attempt[0] == logging.ERROR
    assert "as it was interrupted (the function's timeout)" in caplog.text


async def test_a_result_that_cannot_be_kept_is_told_once_and_nothing_is_left(
    app: Worchflow[Any], caplog: pytest.LogCaptureFixture
) -> None:
    @app.function("id")
    async def make_id(ctx: Context[None]) -> None:
        await ctx.step.run("Id", uuid.uuid4)

    _, execution = await run(app, "id")
    gc.collect()

    assert [level for level, _ in raised(caplog)] == [logging.ERROR]
    assert execution.error.step == "Id"
    assert "never retrieved" not in caplog.text


async def test_with_a_codec_the_log_has_no_exception(
    make_app: Any, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app(codec=Encryption())

    def charge() -> None:
        raise CardError("4711")

    @app.function("pay", retries=0)
    async def pay(ctx: Context[None]) -> None:
        await ctx.step.options(retries=1, key=1).run("Charge", charge)

    failed, _ = await run(app, "pay")

    assert "4711" in failed.message
    assert raised(caplog) == []
    assert "4711" not in caplog.text
    assert "failed with StepFailed" in caplog.text


@pytest.mark.parametrize("how", ["plain", "cause", "group", "context"])
async def test_an_error_names_the_step_it_came_out_of(
    app: Worchflow[Any], caplog: pytest.LogCaptureFixture, how: str
) -> None:
    def notify() -> None:
        raise CardError("no address")

    def fine() -> None:
        pass

    @app.function("notify", retries=0)
    async def handler(ctx: Context[None]) -> None:
        await ctx.step.options(key=1).run("Notify", fine)
        failing = ctx.step.options(key=2)
        if how == "group":
            async with asyncio.TaskGroup() as group:
                group.create_task(failing.run("Notify", notify))  # type: ignore[arg-type]
            return
        try:
            await failing.run("Notify", notify)
        except CardError as error:
            if how == "plain":
                raise
            if how == "cause":
                raise RuntimeError("wrapped") from error
            raise RuntimeError("while handling")  # noqa: B904

    _, execution = await run(app, "notify")

    assert execution.error.step == "Notify (key 2)"
    assert 'in step "Notify" (key 2); it has failed for good' in caplog.text
    assert vars(caplog.records[-1])["step"] == "Notify"


async def test_what_is_no_exception_names_its_step_too(app: Worchflow[Any]) -> None:
    class Signal(BaseException):
        pass

    async def raise_signal() -> None:
        raise Signal

    @app.function("signal", retries=0)
    async def handler(ctx: Context[None]) -> None:
        await ctx.step.run("Raise", raise_signal)

    _, execution = await run(app, "signal")

    assert (execution.error.type, execution.error.step) == ("Signal", "Raise")


async def test_an_error_of_the_handler_itself_names_no_step(
    app: Worchflow[Any],
) -> None:
    def notify() -> None:
        raise CardError

    @app.function("notify", retries=0)
    async def handler(ctx: Context[None]) -> None:
        with contextlib.suppress(CardError):
            await ctx.step.run("Notify", notify)
        raise ValueError("of its own")

    _, execution = await run(app, "notify")

    assert execution.error.type == "ValueError"
    assert execution.error.step is None


async def test_keyed_steps_name_their_keys(app: Worchflow[Any]) -> None:
    told: list[StepCompleted] = []

    def notify() -> None:
        pass

    @app.function("notify")
    async def handler(ctx: Context[None]) -> None:
        for number in (3, 4):
            await ctx.step.options(key=number).run("Notify", notify)
        await ctx.step.run("Notify", notify)

    async with app.client() as client, app.worker() as worker:
        worker.on("step:complete", told.append)
        handle = await client.send({"name": "notify", "data": None})
        await handle.result(timeout=10)
        steps = await client.steps(handle.id)

    keyed = [("Notify", "3"), ("Notify", "4"), ("Notify", None)]
    assert [(step.title, step.key) for step in steps] == keyed
    assert [(notice.title, notice.key) for notice in told] == keyed


def logged(log: pytest.LogCaptureFixture) -> list[tuple[str, Any]]:
    return [
        (record.getMessage(), vars(record).get("replay"))
        for record in log.records
        if record.name == "worchflow.execution"
    ]


@pytest.mark.parametrize("told", [False, True])
@pytest.mark.parametrize("is_async", [False, True])
async def test_a_replay_logs_nothing_again_unless_it_is_asked_to(
    app: Worchflow[Any], caplog: pytest.LogCaptureFixture, is_async: bool, told: bool
) -> None:
    caplog.set_level(logging.INFO, "worchflow.execution")

    def fine() -> None:
        pass

    def fails_once(attempt: int) -> None:
        if attempt == 1:
            raise CardError

    options: dict[str, Any] = {"retry_delay": 0, "log_replays": told}
    if is_async:

        @app.function("logs", **options)
        async def logs(ctx: Context[None]) -> None:
            ctx.log.info("start %d", ctx.attempt)
            await ctx.step.run("one", fine)
            ctx.log.info("between %d", ctx.attempt)
            await ctx.step.run("two", fine)
            ctx.log.info("after %d", ctx.attempt)
            await ctx.step.run("three", fails_once, ctx.attempt)
            ctx.log.info("end %d", ctx.attempt)

    else:

        @app.function("logs", **options)
        def logs_too(ctx: SyncContext[None]) -> None:
            ctx.log.info("start %d", ctx.attempt)
            ctx.step.run("one", fine)
            ctx.log.info("between %d", ctx.attempt)
            ctx.step.run("two", fine)
            ctx.log.info("after %d", ctx.attempt)
            ctx.step.run("three", fails_once, ctx.attempt)
            ctx.log.info("end %d", ctx.attempt)

    await run(app, "logs")

    first = [("start 1", None), ("between 1", None), ("after 1", None)]
    again = [("start 2", True), ("between 2", True)] if told else []
    # Every recorded step was asked for: what follows may be new.
    assert logged(caplog) == [*first, *again, ("after 2", None), ("end 2", None)]


async def test_an_attempt_that_ends_on_a_replay_tells_what_it_logged(
    app: Worchflow[Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "worchflow.execution")

    def fine() -> None:
        pass

    @app.function("shrinks", retry_delay=0)
    async def shrinks(ctx: Context[None]) -> None:
        for number in range(4 - ctx.attempt):
            await ctx.step.options(key=number).run("Fetch", fine)
        ctx.log.error("attempt %d", ctx.attempt)
        if ctx.attempt == 1:
            raise CardError

    await run(app, "shrinks")

    assert logged(caplog) == [("attempt 1", None), ("attempt 2", True)]
    record = caplog.records[-1]
    assert (record.funcName, record.levelno) == ("shrinks", logging.ERROR)


async def test_a_step_that_was_not_recorded_ends_the_replay(
    app: Worchflow[Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "worchflow.execution")

    def fine() -> None:
        pass

    @app.function("changes", retry_delay=0, repeat_titles="reuse")
    async def changes(ctx: Context[None]) -> None:
        if ctx.attempt == 1:
            await ctx.step.run("old", fine)
            await ctx.step.run("older", fine)
            raise CardError
        ctx.log.info("replayed")
        await ctx.step.run("old", fine)
        await ctx.step.run("old", fine)
        ctx.log.info("replayed too")
        await ctx.step.run("new", fine)
        ctx.log.info("new")

    await run(app, "changes")

    assert logged(caplog) == [("new", None)]
