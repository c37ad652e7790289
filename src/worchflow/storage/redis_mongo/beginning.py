"""The mark that the code of an execution begins, and its deadline."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bson.int64 import Int64

from ...foundations.milliseconds import seconds_left
from ...model.beginning import Begun
from .documents import EXECUTIONS
from .expressions import CREATED_AT, date_or
from .values import due_time, moment_of

if TYPE_CHECKING:
    from ...model.records import Claim
    from .stores import Stores

DEADLINE = "deadlineAt"


async def begin(stores: Stores, claim: Claim, deadline: float | None) -> Begun | None:
    """Mark that the code of an execution begins, if the claim is still held.

    With `deadline` its deadline is so many seconds after it could first begin, unless
    one is stored.
    """
    token = Int64(claim.token)
    query = stores.documents.by_id(claim.execution.id)
    query |= {"owner": claim.worker_id, "token": token}
    if deadline is None:
        statement = {"q": query, "u": {"$set": {"begun": token}}}
        written = await stores.mongo.update(EXECUTIONS, [statement])
        if written.count != 1:
            return None
        # It may have been asked for many times since the claim.
        deadline_at = claim.execution.deadline_at
        return Begun(deadline_at, seconds_left(deadline_at, stores.clock.now()))
    accepted = date_or("$acceptedAt", CREATED_AT)
    may_begin_at = {"$max": [accepted, date_or("$eligibleAt", None)]}
    ends = {"$add": [may_begin_at, due_time(0, deadline)]}
    values = {"begun": token, DEADLINE: date_or(f"${DEADLINE}", ends)}
    document = await stores.mongo.change(EXECUTIONS, query, [{"$set": values}])
    if document is None:
        return None
    deadline_at = moment_of(document.get(DEADLINE))
    return Begun(deadline_at, seconds_left(deadline_at, stores.clock.now()))
