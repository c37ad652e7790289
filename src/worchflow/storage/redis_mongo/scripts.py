"""The typed calls of the Lua scripts: one call moves many executions at once."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import resources
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ...model.records import Claim
    from .keys import Keys

Argument: TypeAlias = str | int
NOWHERE, BACK, FRONT = "none", "back", "front"
"""Places for an id; a number of milliseconds is its due time in the delayed set.

The front is that of its event's ready list while there is one, else the queue's.
"""
WOKEN = "woken "
"""What a message on the control channel begins with that names executions, each on a
line of its own."""
SMALL = 500
"""Bytes of an operation without its payload."""
MISSING = -1
"""The answer of a script for an execution whose hash is not there."""
FOREIGN = -2
"""Stands for the answer of a script that met a key of a foreign type: the key."""


@dataclass(frozen=True, slots=True, eq=False)
class Script:
    """A script and the hash under which Redis remembers it."""

    name: str
    source: str
    sha: str


def _load(name: str, *begins: str) -> Script:
    folder = resources.files("worchflow.storage.redis_mongo") / "lua"
    source = "".join(
        (folder / f"{each}.lua").read_text(encoding="utf-8") for each in (*begins, name)
    )
    sha = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()
    return Script(name, source, sha)


GUARD = "guard"
READY_LISTS = (GUARD, "ready")
"""What scripts begin with that know ready lists, and keys of foreign types."""

TAKE = _load("take", *READY_LISTS)
RECLAIM = _load("reclaim", *READY_LISTS)
PROMOTE = _load("promote")
ENQUEUE = _load("enqueue", *READY_LISTS)
MARK = _load("mark", GUARD)
PUBLISH = _load("publish")
STEP = _load("step", GUARD)
PROBE = _load("probe")
RELEASE = _load("release", *READY_LISTS)

ORDER = (ENQUEUE, MARK, PUBLISH, STEP, RELEASE)
"""The road of an execution: its writes in one batch are applied in this order."""


class ScriptCall(NamedTuple):
    """One call of a script, as it is sent."""

    script: Script
    keys: Sequence[str]
    args: Sequence[Argument | bytes]


class Operation(NamedTuple):
    """What one execution adds to a call of a script."""

    script: Script
    keys: tuple[str, ...]
    args: tuple[Argument, ...]
    size: int
    """About how many bytes it sends."""
    answered: Callable[[int], None] | None = None
    """Called with the script's answer, with `FOREIGN` where a key of a foreign type was
    in its way, or with 0 when the operation was given up."""


class Scripts:
    """Builds calls and operations for the keys of one prefix."""

    def __init__(self, keys: Keys, *, shared: bool) -> None:
        """`shared`: others, who mark nothing as theirs, write to the keys as well."""
        self._keys = keys
        self._is_shared = "1" if shared else ""
        self._shared = {
            ENQUEUE: (keys.queue, keys.delayed, keys.ready),
            RELEASE: (keys.queue, keys.delayed, keys.ready),
        }

    def call(self, script: Script, operations: Sequence[Operation]) -> ScriptCall:
        """One call for many operations of one script."""
        return ScriptCall(
            script,
            [
                *self._shared.get(script, ()),
                *chain.from_iterable(operation.keys for operation in operations),
            ],
            list(chain.from_iterable(operation.args for operation in operations)),
        )

    def take(
        self,
        worker_id: str,
        limit: int,
        events: Sequence[str],
        sortable: int,
        turn: int,
        taken: Sequence[str | bytes] = (),
    ) -> ScriptCall:
        """Give a worker up to `limit` ids of its events; see `take.lua`.

        Of the queue up to `sortable` ids are looked at, and sorted into ready lists if
        they are not for this worker now. Those `taken` are in its inflight list: what
        others serve is sorted as well. `turn` grows from call to call. Answers how
        many were sorted, then the ids that it has now.
        """
        keys = self._keys
        return ScriptCall(
            TAKE,
            (
                keys.queue,
                keys.inflight(worker_id),
                keys.ready,
                *map(keys.ready_list, events),
            ),
            (
                *(limit, sortable, turn, keys.executions, keys.control),
                *events,
                *taken,
            ),
        )

    def reclaim(self, worker_id: str, limit: int) -> ScriptCall:
        """Move a dead worker's ids back to where they are first; answers the ids."""
        keys = (self._keys.inflight(worker_id), self._keys.queue, self._keys.ready)
        return ScriptCall(RECLAIM, keys, (limit, self._keys.executions))

    def promote(self, now: int, limit: int) -> ScriptCall:
        """Queue what is due; answers how many and the next due time, or -1."""
        keys = (self._keys.delayed, self._keys.queue)
        return ScriptCall(PROMOTE, keys, (now, limit))

    def enqueue(
        self, fields: Mapping[str, Argument], place: str | int, *, is_new: bool = False
    ) -> Operation:
        """Write an execution's whole hash, guarded by its token, and queue its id.

        What is there of an earlier execution of the same id goes, its steps as well.
        Of one that `is_new` nobody else has written anything.
        """
        execution_id = str(fields["id"])
        return Operation(
            ENQUEUE,
            (self._keys.execution(execution_id), self._keys.steps(execution_id)),
            (
                execution_id,
                fields.get("eventName", ""),
                fields["token"],
                fields.get("nonce", ""),
                "" if is_new else self._is_shared,
                place,
                len(fields),
                *chain.from_iterable(fields.items()),
            ),
            SMALL + len(str(fields["eventData"])),
        )

    def mark(
        self,
        claim: Claim,
        updated_at: int,
        answered: Callable[[int], None],
    ) -> Operation:
        """Show that an execution was claimed; answers `MISSING` without its hash."""
        execution = claim.execution
        return Operation(
            MARK,
            (self._keys.execution(execution.id),),
            (
                claim.token,
                execution.nonce,
                self._is_shared,
                updated_at,
            ),
            SMALL,
            answered,
        )

    def step(
        self,
        claim: Claim,
        step_id: str,
        value: str,
        notice: str,
        answered: Callable[[int], None] | None = None,
    ) -> Operation:
        """Cache a step's result (`""`: nothing to cache); answers 1 if it is there."""
        execution = claim.execution
        return Operation(
            STEP,
            (self._keys.execution(execution.id), self._keys.steps(execution.id)),
            (
                claim.token,
                execution.nonce,
                self._is_shared,
                step_id,
                value,
                self._keys.progress(execution.id),
                notice,
            ),
            SMALL + len(value),
            answered,
        )

    def tell(self, execution_id: str, notice: str) -> Operation:
        """Publish a notice and change nothing."""
        return self._publish(execution_id, self._keys.updates(execution_id), notice)

    def tell_progress(self, execution_id: str, notice: str) -> Operation:
        """Publish a notice to those who follow the progress, and change nothing."""
        return self._publish(execution_id, self._keys.progress(execution_id), notice)

    def hint_cancel(self, execution_id: str) -> Operation:
        """Tell all workers that an execution should be cancelled."""
        return self._publish(execution_id, self._keys.control, execution_id)

    def hint_woken(self, execution_ids: Sequence[str]) -> Operation:
        """Tell all workers that executions were woken, which some of them may run."""
        message = WOKEN + "\n".join(execution_ids)
        return self._publish(execution_ids[0], self._keys.control, message)

    def _publish(self, execution_id: str, channel: str, message: str) -> Operation:
        keys = (self._keys.execution(execution_id),)
        return Operation(PUBLISH, keys, (channel, message), SMALL + len(message))

    def release(
        self,
        worker_id: str,
        execution_id: str,
        place: str | int,
        *,
        fields: Mapping[str, Argument] | None = None,
        ttl: int = 0,
        notice: str = "",
        answered: Callable[[int], None] | None = None,
    ) -> Operation:
        """Take an id off the inflight list, to its place; show `fields` in its hash.

        Without a worker it waits: others, who ask nobody, find it in the queue no more.
        """
        fields = fields or {}
        taken_from = self._keys.inflight(worker_id)
        if self._is_shared and not worker_id:
            taken_from = self._keys.queue
        return Operation(
            RELEASE,
            (
                taken_from,
                self._keys.execution(execution_id),
                self._keys.steps(execution_id),
            ),
            (
                execution_id,
                fields.get("token", 0),
                fields.get("nonce", ""),
                place,
                ttl,
                self._keys.updates(execution_id),
                notice,
                len(fields),
                *chain.from_iterable(fields.items()),
            ),
            SMALL + len(str(fields.get("result", ""))),
            answered,
        )
