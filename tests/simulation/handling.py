"""One run of a handler: its steps and waits, as the oracle is told of them."""

from __future__ import annotations

import asyncio
import math
import time
from typing import Any, ClassVar, Self, TypeAlias

from tests.simulation.oracle import Oracle
from tests.simulation.processes import current_process
from worchflow import Context, Retry, StepFailed, event
from worchflow.definitions.tokens import Token

MOST_MAIL_SECONDS = 0.1
"""So that many wait for an answer while its time runs out."""
NEWS = event("news", str)
"""What is told: of which execution is its key."""


class Declined(Exception):
    """Planned."""


Tokens: TypeAlias = dict[str, Token[Any]]
"""By their titles."""


class Handling:
    """One run of a handler, as the oracle is told of it."""

    oracle: ClassVar[Oracle]
    """Of the run that is going on: the functions are made once."""

    def __init__(self, ctx: Context[Any]) -> None:
        self.ctx = ctx
        self.process = current_process()
        self.fails = ctx.attempt <= ctx.data.failures
        self._runs = False

    def __enter__(self) -> Self:
        self._begin()
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    async def sleep(self, title: str, seconds: float) -> None:
        """Sleep, meanwhile without a slot."""
        self._end()
        # What ends it early has no slot to unwind in.
        await self.ctx.step.sleep(title, seconds)
        self._begin()

    async def news(self, *titles: str, timeout: float | None = None) -> list[str]:
        """Wait for an event with each title, side by side, without a slot."""
        self._end()
        # Whatever ends it early has no slot to unwind in.
        waits = [self._wait(title, timeout) for title in titles]
        values: list[str] = await asyncio.gather(*waits)
        self._begin()
        return values

    async def _wait(self, title: str, timeout: float | None) -> str | None:
        id_ = self.ctx.execution_id
        value = await self.ctx.step.wait_for_event(
            title, NEWS, key=id_, timeout=timeout
        )
        self.oracle.events.was_taken(id_, title, value)
        return value

    async def tokens(self, timeouts: dict[str, float | None]) -> Tokens:
        """Make tokens, each with its timeout."""
        tokens: Tokens = {}
        for title, timeout in timeouts.items():
            token = await self.ctx.step.token(title, str, timeout=timeout)
            self.oracle.tokens.was_made(
                self.ctx.execution_id, title, self.ctx.token, token.id
            )
            tokens[title] = token
        return tokens

    async def mail(self, tokens: Tokens) -> str:
        """Tell everybody of tokens, in a step."""
        value = await self.ctx.step.run("mail", self._mail, tokens)
        self.oracle.saw(self.ctx.execution_id, "mail", value)
        return value

    async def answers(self, tokens: Tokens) -> dict[str, str | None]:
        """Wait for the answers to tokens, side by side, without a slot."""
        self._end()
        # Whatever ends it early has no slot to unwind in.
        values = await asyncio.gather(*map(self._answer, tokens, tokens.values()))
        self._begin()
        return dict(zip(tokens, values, strict=True))

    async def _answer(self, title: str, token: Token[str | None]) -> str | None:
        answer = await token
        id_ = self.ctx.execution_id
        self.oracle.tokens.was_given(id_, title, token.id, answer)
        return answer

    async def _mail(self, tokens: Tokens) -> str:
        for title, token in tokens.items():
            self.oracle.tokens.was_mailed(self.ctx.execution_id, title, token.id)
        return await self._effect("mail", fails=False, most=MOST_MAIL_SECONDS)

    async def step(self, title: str, *, fails: bool = False) -> str:
        """Run a step; every call of its function has another value."""
        value = await self.ctx.step.run(title, self._effect, title, fails=fails)
        self.oracle.saw(self.ctx.execution_id, title, value)
        return value

    async def step_with_retries(self, title: str) -> str:
        """Run a step that fails, and twice more, without a slot between its tries."""
        policy = Retry(max_retries=2, delays=[self.ctx.data.nap])
        self._end()
        try:
            step = self.ctx.step.options(retries=policy)
            return await step.run(title, self._try_in_vain, title)
        except StepFailed:
            self._begin()
            self.oracle.saw_failure(self.ctx.execution_id, title)
            raise

    async def _try_in_vain(self, title: str) -> str:
        self._begin()
        try:
            return await self._effect(title, fails=True)
        finally:
            self._end()

    async def step_in_thread(self, title: str) -> str:
        """Run a step in a thread."""
        value = await self.ctx.step.run(title, self._blocking_effect, title)
        self.oracle.saw(self.ctx.execution_id, title, value)
        return value

    def _begin(self) -> None:
        self._runs = True
        self.oracle.began(self.process)

    def _end(self) -> None:
        if self._runs:
            self._runs = False
            self.oracle.ended(self.process)

    async def _effect(self, title: str, *, fails: bool, most: float = math.inf) -> str:
        ctx = self.ctx
        start = self.oracle.starts(self.process, ctx.execution_id, title, ctx.token)
        try:
            await asyncio.sleep(min(most, self._duration()))
        finally:
            self.oracle.stops(start)
        if fails:
            raise Declined(title)
        return start.value

    def _blocking_effect(self, title: str) -> str:
        ctx = self.ctx
        start = self.oracle.starts(self.process, ctx.execution_id, title, ctx.token)
        time.sleep(self._duration())
        self.oracle.stops(start)
        return start.value

    def _duration(self) -> float:
        return float(self.oracle.world.random.uniform(0, 2) * self.ctx.data.seconds)
