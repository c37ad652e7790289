"""How the clients of a fleet answer the tokens of its executions."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from tests.simulation.oracle import Oracle
from tests.simulation.plans import Answer, Plan
from worchflow import WorchflowClient
from worchflow.foundations.errors import StoreUnavailable, WrongState
from worchflow.foundations.json_text import json_text
from worchflow.model.events import NewEvent
from worchflow.model.tokens import ANSWER_EVENT, answer_id
from worchflow.storage.contract.backend import Backend

MOST_LOOKS = 100
LOOK_SECONDS = 0.1


class Answering:
    """What one client does about tokens."""

    def __init__(
        self, client: WorchflowClient[Any], backend: Backend, oracle: Oracle
    ) -> None:
        self._client = client
        self._backend = backend
        self._tokens = oracle.tokens

    async def answer(self, plan: Plan, answer: Answer) -> None:
        """Complete a token at its moment, unless nobody is told of it for too long."""
        tokens = self._tokens
        for _ in range(MOST_LOOKS):
            if (token_id := tokens.mailed(plan.id, answer.title)) is not None:
                break
            await asyncio.sleep(LOOK_SECONDS)
        else:
            return
        pause = tokens.seconds_until(plan.id, answer.title, answer.moment)
        await asyncio.sleep(max(0.0, pause))
        tokens.was_sent(token_id, answer.text)
        if answer.fate:
            await self._append(plan.id, token_id, answer.text)
        if answer.fate != "dies":
            await self._complete(plan.id, token_id, answer)

    async def answer_the_rest(self) -> None:
        """Complete what nobody else has, for as long as there may be more."""
        number = 0
        while True:
            for id_, token_id in list(self._tokens.unanswered()):
                number += 1
                text = f"answer {number} to {id_} by the teller"
                self._tokens.was_sent(token_id, text)
                with contextlib.suppress(StoreUnavailable, WrongState):
                    await self._client.complete(token_id, text)
                    self._tokens.was_accepted(id_, token_id, text)
            await asyncio.sleep(0.5)

    async def _append(self, id: str, token_id: str, text: str) -> None:
        """Complete a token, and be gone before anybody is woken or told."""
        new = NewEvent(
            id=answer_id(token_id),
            name=ANSWER_EVENT,
            key=token_id,
            data=json_text(text),
        )
        with contextlib.suppress(StoreUnavailable):
            await self._backend.open()
            token = await self._backend.waits.token(token_id)
            stored = await self._backend.events.append(new)
            deadline = None if token is None else token.wait.deadline
            if stored.is_new and (deadline is None or stored.at < deadline):
                self._tokens.was_accepted(id, token_id, text)

    async def _complete(self, id: str, token_id: str, answer: Answer) -> None:
        is_first = not answer.fate
        while True:
            try:
                await self._client.complete(token_id, answer.text)
            except StoreUnavailable:
                if answer.gives_up:
                    return
            except WrongState as error:
                self._tokens.was_refused(id, str(error), is_first=is_first)
                return
            else:
                self._tokens.was_accepted(id, token_id, answer.text)
                return
            is_first = False
            await asyncio.sleep(0.3)
