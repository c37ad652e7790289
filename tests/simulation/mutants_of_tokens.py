"""The rules by which tokens are answered, taken out one by one."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from tests.simulation.mutant import Change, Mutant
from worchflow.engine import answers
from worchflow.engine.operations import token
from worchflow.model.step_kind import StepKind
from worchflow.storage.redis_mongo import waits
from worchflow.storage.redis_mongo.documents import WAITS


def _timed_out_in_the_record_alone() -> list[Change]:
    async def refuse_answers(self: Any, wait: Any) -> None:
        return None

    return [(token.AwaitAnswer, "_refuse_answers", refuse_answers)]


def _second_answer_accepted() -> list[Change]:
    real = answers.Answers._refuse_late

    def refuse_late(self: Any, stored: Any, event: Any, of: Any) -> None:
        real(self, replace(stored, is_new=True), event, of)

    return [(answers.Answers, "_refuse_late", refuse_late)]


def _token_made_anew() -> list[Change]:
    do, insert = token.MakeToken.do, waits.Waits._insert

    async def do_anew(self: Any) -> Any:
        self._attempt.journal.waits.pop(self.step_id, None)
        return await do(self)

    async def insert_anew(self: Any, documents: Any) -> Any:
        kind = StepKind.TOKEN.value
        ids = [each["_id"] for each in documents if each["kind"] == kind]
        await self._stores.mongo.delete(WAITS, {"_id": {"$in": ids}})
        return await insert(self, documents)

    return [
        (token.MakeToken, "do", do_anew),
        (waits.Waits, "_insert", insert_anew),
    ]


def _late_answer_accepted() -> list[Change]:
    real = answers.Answers._refuse_late

    def refuse_late(self: Any, stored: Any, event: Any, of: Any) -> None:
        if of.wait.deadline is not None:
            stored = replace(stored, at=of.wait.deadline - timedelta(seconds=1))
        real(self, stored, event, of)

    return [(answers.Answers, "_refuse_late", refuse_late)]


def _answer_before_the_timeout_left() -> list[Change]:
    real = token.AwaitAnswer._refuse_answers

    async def refuse_answers(self: Any, wait: Any) -> None:
        await real(self, wait)

    return [(token.AwaitAnswer, "_refuse_answers", refuse_answers)]


MUTANTS_OF_TOKENS = (
    Mutant(
        "timed out in the record alone",
        "an answer that is accepted at the same moment is overruled by the timeout",
        _timed_out_in_the_record_alone,
    ),
    Mutant(
        "answer before the timeout left",
        "an answer that is in the log already is overruled by the timeout",
        _answer_before_the_timeout_left,
    ),
    Mutant(
        "second answer accepted",
        "two clients are told that their answer counts",
        _second_answer_accepted,
    ),
    Mutant(
        "late answer accepted",
        "a client is told that its answer counts although the time was over",
        _late_answer_accepted,
    ),
    Mutant(
        "token made anew",
        "whoever was asked has a token that nothing waits for",
        _token_made_anew,
    ),
)
