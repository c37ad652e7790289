"""The answer to a token, from whoever completes it."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..foundations.errors import (
    EventValidationError,
    InvalidInput,
    SerializationError,
    StoreUnavailable,
    WrongState,
)
from ..foundations.limits import short
from ..model.events import NewEvent
from ..model.records import TERMINAL
from ..model.tokens import ANSWER_EVENT, answer_id
from ..serialization import json_schemas

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime

    from ..foundations.types import Payload
    from ..model.events import StoredEvent
    from ..model.tokens import StoredToken
    from .sending import Sender

logger = logging.getLogger("worchflow.client")

TOKEN_ID = re.compile("[0-9a-f]{32}")
PLAIN = (Mapping, list, tuple, set, frozenset, str, bytes, int, float, type(None))
"""Values whose class is no type that says how they are written."""


class Answers:
    """Accepts the answers of one client: the first for each token."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender

    async def complete(
        self, token_id: str, answer: Any, ready: Callable[[], Awaitable[object]]
    ) -> None:
        """Accept the answer to a token and wake who waits for it.

        What can be refused without the store is refused before `ready` opens it.
        """
        if not isinstance(token_id, str) or not TOKEN_ID.fullmatch(token_id):
            raise InvalidInput(
                f"token_id={short(token_id)} is not a token's id: 32 characters of "
                "0-9 a-f, as token.id has them",
                field="token_id",
            )
        payload = self._encode(answer)
        await ready()
        await json_schemas.ready()
        token = await self._sender.store.waits.token(token_id)
        if token is None:
            raise WrongState(
                f"no execution has the token {token_id}: it was never made, or its "
                "execution is removed"
            )
        self._refuse_misfit(payload, token)
        if token.status in TERMINAL:
            raise self._too_late(token, f"its execution is {token.status}")
        event = NewEvent(
            id=answer_id(token_id), name=ANSWER_EVENT, key=token_id, data=payload
        )
        events = self._sender.store.events
        stored = await events.append(event)
        self._refuse_late(stored, event, token)
        try:
            await events.deliver_all(stored)
        except StoreUnavailable as error:
            logger.debug("the answer to %s is accepted: %s", token.wait.title, error)

    def _encode(self, answer: object) -> Payload:
        data_type = Any if isinstance(answer, PLAIN) else answer.__class__
        try:
            payload, _ = self._sender.payloads.encode(
                answer, data_type, kind="answer", where="the answer"
            )
        except SerializationError as error:
            raise EventValidationError(str(error), field="answer") from error.__cause__
        return payload

    def _refuse_misfit(self, payload: Payload, token: StoredToken) -> None:
        try:
            self._sender.payloads.refuse_misfit(
                payload, token.answer_schema, where="the answer"
            )
        except SerializationError as error:
            raise EventValidationError(
                f'{error.message}; it is for the token "{token.wait.title}" of '
                f"execution {token.execution_id}",
                field="answer",
                execution_id=token.execution_id,
            ) from None

    def _refuse_late(
        self, stored: StoredEvent, event: NewEvent, token: StoredToken
    ) -> None:
        """`WrongState` unless the answer is the one that counts."""
        deadline = token.wait.deadline
        if stored.name != ANSWER_EVENT or (
            deadline is not None and stored.at >= deadline
        ):
            raise self._too_late(token, f"its time was over at {_shown(deadline)}")
        if not stored.is_new:
            same = self._sender.payloads.same_data(stored.data, event.data)
            what = "the same answer" if same else "another answer"
            raise self._too_late(token, f"it got {what} at {_shown(stored.at)}")

    def _too_late(self, token: StoredToken, why: str) -> WrongState:
        return WrongState(
            f'the token "{token.wait.title}" of execution {token.execution_id} takes '
            f"no answer any more: {why}",
            execution_id=token.execution_id,
            status=token.status,
        )


def _shown(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
