"""A token: what a handler hands out, and waits for the answer to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic

from typing_extensions import TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine, Generator

    from .calls import AnswerCall, StepRunner

T_co = TypeVar("T_co", covariant=True)


class Token(Generic[T_co]):
    """Somebody outside is asked: `await token` gives the answer.

    `id` is unguessable (122 random bits, 32 characters of 0-9 a-f): put it into a mail
    or a link. Whoever has it can answer once, with `client.complete(id, answer)`.
    """

    __slots__ = ("_call", "_runner", "id")

    def __init__(self, runner: StepRunner, id: str, call: AnswerCall) -> None:
        self.id = id
        self._runner = runner
        self._call = call

    def __await__(self) -> Generator[object, None, T_co]:
        return self.result().__await__()

    def result(self) -> Coroutine[object, None, T_co]:
        """The answer, or None after the token's timeout.

        Meanwhile the execution leaves its worker, as in `Step.wait_for_event`.
        """
        answer: Coroutine[Any, Any, T_co] = self._runner.run(self._call)
        return answer


class SyncToken(Generic[T_co]):
    """`Token` for plain handlers: `result` blocks."""

    __slots__ = ("_call", "_runner", "id")

    def __init__(self, runner: StepRunner, id: str, call: AnswerCall) -> None:
        self.id = id
        self._runner = runner
        self._call = call

    def result(self) -> T_co:
        """As `Token.result`, but blocks until there is an answer, or none came."""
        answer: T_co = self._runner.run_blocking(self._call)
        return answer
