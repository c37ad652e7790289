"""Completing a token: what is refused before anything is written, and what counts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import BaseModel

from tests.stores import ERROR, claim_one, insert_one, joined, settle
from worchflow import (
    EventValidationError,
    InvalidInput,
    PayloadTooLarge,
    StoreUnavailable,
    WrongState,
)
from worchflow.engine.answers import Answers
from worchflow.engine.sending import Sender
from worchflow.foundations.limits import PayloadLimits
from worchflow.model.options import BackendOptions
from worchflow.model.records import Claim
from worchflow.model.settlement import Failed
from worchflow.model.step_kind import StepKind
from worchflow.model.tokens import ANSWER_EVENT, answer_id
from worchflow.model.waits import AwaitedEvent, NewWait
from worchflow.serialization.payloads import Payloads
from worchflow.storage.sqlite.backend import SQLiteBackend

TOKEN = "0123456789abcdef" * 2


class Decision(BaseModel):
    ok: bool


class Asked:
    """One execution that has asked for a decision, in a database in memory."""

    def __init__(self) -> None:
        self.backend = SQLiteBackend(":memory:", BackendOptions())
        payloads = Payloads(limits=PayloadLimits(event_bytes=1000))
        self.payloads = payloads
        self.answers = Answers(Sender(store=self.backend, payloads=payloads))
        self.opened = 0
        self.claim: Claim

    async def ask(self, timeout: float | None = None) -> None:
        worker = await joined(self.backend)
        await insert_one(self.backend, id="e-1")
        self.claim = await claim_one(self.backend, worker)
        wait = NewWait(
            step_id="0" * 32,
            kind=StepKind.TOKEN,
            title="Manager",
            timeout=timeout,
            event=AwaitedEvent(
                name=ANSWER_EVENT, key=TOKEN, since=datetime(2020, 1, 1, tzinfo=UTC)
            ),
            answer_schema=self.payloads.schema_of(Decision),
        )
        await self.backend.waits.add(self.claim, [wait])

    async def ready(self) -> None:
        self.opened += 1

    async def complete(self, answer: Any, token: Any = TOKEN) -> None:
        await self.answers.complete(token, answer, self.ready)


@pytest.fixture
async def asked() -> Any:
    one = Asked()
    await one.backend.open()
    yield one
    await one.backend.close()


async def nothing_is_stored(asked: Asked) -> bool:
    look = await asked.backend.events.find(
        asked.claim, (await asked.backend.waits.all("e-1"))[0], ()
    )
    return look.event is None


@pytest.mark.parametrize(
    ("token", "answer", "error", "field"),
    [
        ("x", {"ok": True}, InvalidInput, "token_id"),
        (TOKEN.upper() + "x", {"ok": True}, InvalidInput, "token_id"),
        (None, {"ok": True}, InvalidInput, "token_id"),
        (TOKEN, object(), EventValidationError, "answer"),
        (TOKEN, {"ok": float("nan")}, EventValidationError, "answer"),
    ],
)
async def test_what_is_wrong_by_itself_is_refused_before_the_store_is_opened(
    asked: Asked, token: Any, answer: Any, error: type[Exception], field: str
) -> None:
    with pytest.raises(error) as refused:
        await asked.complete(answer, token)

    assert getattr(refused.value, "field", None) == field
    assert asked.opened == 0


async def test_a_model_inside_a_list_is_refused_with_the_way_out(asked: Asked) -> None:
    with pytest.raises(EventValidationError, match="pass one instance of the token's"):
        await asked.complete([Decision(ok=True)])


async def test_an_answer_that_is_too_large_is_refused(asked: Asked) -> None:
    with pytest.raises(PayloadTooLarge, match="the answer"):
        await asked.complete({"ok": "x" * 2000})


async def test_an_answer_that_does_not_fit_is_refused_and_the_next_is_not(
    asked: Asked,
) -> None:
    await asked.ask()

    with pytest.raises(EventValidationError, match="lacks ok") as refused:
        await asked.complete({})
    assert refused.value.field == "answer"
    assert refused.value.execution_id == "e-1"
    assert 'it is for the token "Manager" of execution e-1' in str(refused.value)
    assert await nothing_is_stored(asked)

    await asked.complete(Decision(ok=True))


async def test_the_first_answer_counts_and_the_second_is_told(asked: Asked) -> None:
    await asked.ask()
    await asked.complete({"ok": True})

    for answer, which in ((Decision(ok=True), "the same"), ({"ok": False}, "another")):
        with pytest.raises(WrongState, match=f"it got {which} answer at") as late:
            await asked.complete(answer)
        assert late.value.execution_id == "e-1"
        assert late.value.status == "processing"


async def test_an_unknown_token_is_told(asked: Asked) -> None:
    await asked.ask()

    with pytest.raises(WrongState, match="no execution has the token 0000"):
        await asked.complete({"ok": True}, "0" * 32)


async def test_an_answer_after_the_deadline_or_the_end_is_told(asked: Asked) -> None:
    await asked.ask(timeout=0.0)

    with pytest.raises(WrongState, match=r"its time was over at \d{4}-"):
        await asked.complete({"ok": True})
    await settle(asked.backend, asked.claim, Failed(error=ERROR))

    with pytest.raises(WrongState, match="its execution is failed") as late:
        await asked.complete({"ok": True})
    assert late.value.status == "failed"


async def test_a_delivery_that_fails_is_left_to_a_sweep(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    await asked.ask()

    async def fails(*_: object) -> None:
        raise StoreUnavailable("away")

    monkeypatch.setattr(asked.backend.events, "deliver", fails)

    await asked.complete({"ok": True})

    (wait,) = await asked.backend.waits.all("e-1")
    look = await asked.backend.events.find(asked.claim, wait, ())
    assert look.event is not None
    assert look.event.id == answer_id(TOKEN)
    assert look.event.at < datetime.now(UTC) + timedelta(seconds=5)
