"""What must hold for tokens: who asked, who answered, and what came of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tests.simulation.plans import MANAGER
from worchflow.model.records import TERMINAL
from worchflow.model.tokens import answer_id

if TYPE_CHECKING:
    from tests.simulation.mongo_values import Document
    from tests.simulation.oracle import Oracle

ANSWERED, TIMED_OUT = "tokens answered", "tokens timed out"
REFUSALS = {
    "its time was over": "answers too late",
    "it got another answer": "second answers",
    "it got the same answer": "answers of unknown outcome",
    "its execution is": "answers after the end",
}
"""Why a token takes no answer any more, and as what that is counted."""
EVERY_END_OF_A_TOKEN = (
    *(ANSWERED, TIMED_OUT),
    *(REFUSALS["its time was over"], REFUSALS["it got another answer"]),
)


class TokenOracle:
    """Judges the tokens of one run, and carries them to whoever answers."""

    def __init__(self, oracle: Oracle) -> None:
        self._oracle = oracle
        self._made: dict[tuple[str, str], str] = {}
        """The token of each title of an execution."""
        self._mailed: dict[tuple[str, str], tuple[str, float]] = {}
        """What clients know of these, and since when."""
        self._sent: defaultdict[str, set[str]] = defaultdict(set)
        """The answers of which a client says, or will say, that it sent them."""
        self._accepted: dict[str, str] = {}
        self._given: defaultdict[str, set[str | None]] = defaultdict(set)
        """What handlers were given for each token; None: that no answer came."""

    # -- what handlers tell

    def was_made(self, id: str, title: str, claim: int, token_id: str) -> None:
        """A handler was given a token, under a claim."""
        document = self._execution(id) or {}
        if document.get("owner") is None or document["token"] != claim:
            # It can have it known to nobody: no step starts under this claim.
            return
        if self._made.setdefault((id, title), token_id) != token_id:
            self._oracle.violated(f"the token {title} is another one", id)

    def was_mailed(self, id: str, title: str, token_id: str) -> None:
        """A step tells everybody of a token."""
        if self._made.get((id, title)) != token_id:
            self._oracle.violated(f"another token {title} is mailed", id)
        self._mailed.setdefault((id, title), (token_id, self._oracle.world.now))

    def was_given(self, id: str, title: str, token_id: str, answer: str | None) -> None:
        """A handler was given the answer to a token, or is told that none came."""
        oracle = self._oracle
        oracle.saw(id, title, answer or "nothing")
        oracle.counts[ANSWERED if answer else TIMED_OUT] += 1
        self._given[token_id].add(answer)
        if answer is None and title == MANAGER:
            oracle.violated(f"the token {title} times out, and has all the time", id)
        if answer is not None and answer not in self._sent[token_id]:
            oracle.violated(f"nobody sent {answer!r}", id)
        self._compare(id, token_id)

    # -- what clients tell

    def was_sent(self, token_id: str, text: str) -> None:
        """A client is about to complete a token."""
        self._sent[token_id].add(text)

    def was_accepted(self, id: str, token_id: str, text: str) -> None:
        """A client was told that its answer is the one that counts."""
        if token_id in self._accepted:
            self._oracle.violated(f"two answers to {token_id} are accepted", id)
        self._accepted[token_id] = text
        self._compare(id, token_id)

    def was_refused(self, id: str, why: str, *, is_first: bool) -> None:
        """A client was told that a token takes no answer any more."""
        oracle = self._oracle
        reasons = [name for reason, name in REFUSALS.items() if reason in why]
        if not reasons:
            return oracle.violated(f"an answer is refused: {why}", id)
        if is_first and "the same answer" in why:
            oracle.violated("an answer is refused as one that came before it", id)
        oracle.counts[reasons[0]] += 1
        return None

    # -- what clients ask

    def mailed(self, id: str, title: str) -> str | None:
        """The token of a title, once somebody was told of it."""
        known = self._mailed.get((id, title))
        return known and known[0]

    def seconds_until(self, id: str, title: str, moment: float) -> float:
        """Seconds until a moment after a token's deadline, or after it was mailed."""
        oracle = self._oracle
        token_id, at = self._mailed[id, title]
        for wait in oracle.network.mongo.collection("waits").latest.values():
            if wait.get("eventKey") == token_id and "deadline" in wait:
                left = wait["deadline"] - oracle.server_now()
                return float(left.total_seconds() + moment)
        return at + moment - oracle.world.now

    def unanswered(self) -> Iterator[tuple[str, str]]:
        """The executions and tokens that nothing but an answer ends."""
        events = self._oracle.network.mongo.collection("events")
        for (id_, title), (token_id, _) in sorted(self._mailed.items()):
            execution = self._execution(id_)
            if title != MANAGER or execution is None or execution["status"] in TERMINAL:
                continue
            if events.committed(f"w {answer_id(token_id)}") is None:
                yield id_, token_id

    # -- inside

    def _compare(self, id: str, token_id: str) -> None:
        """What was accepted is what every handler is given, whoever was told first."""
        accepted = self._accepted.get(token_id)
        for given in self._given[token_id]:
            if accepted is not None and given != accepted:
                self._oracle.violated(f"{accepted!r} is accepted, not {given!r}", id)

    def _execution(self, id: str) -> Document | None:
        return self._oracle.network.mongo.collection("executions").latest.get(id)
