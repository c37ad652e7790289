"""What a recorded step, or a wait, was asked for by."""

from __future__ import annotations

from enum import StrEnum


class StepKind(StrEnum):
    """The call of a context that a step is of. The words are also what stores hold."""

    RUN = "run"
    SLEEP = "sleep"
    WAIT = "wait"
    SEND = "send"
    INVOKE = "invoke"
    START = "start"
    INVOKE_MANY = "invoke_many"
    MAP = "map"
    RACE = "race"
    TOKEN = "token"  # noqa: S105 - a word

    @classmethod
    def of(cls, word: object) -> StepKind:
        """The kind that a store's word stands for; `RUN` for none, or a later one."""
        return KINDS.get(word, StepKind.RUN)


KINDS: dict[object, StepKind] = {kind.value: kind for kind in StepKind}
