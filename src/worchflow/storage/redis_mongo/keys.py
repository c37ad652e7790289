"""Every Redis key and channel, built from the queue prefix and nowhere else."""

from __future__ import annotations

import re

TAG = re.compile(r"\{([^}]+)\}")


class Keys:
    """The keys of one queue prefix."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.queue = f"{prefix}:queue"
        """List of execution ids, oldest first; adding is RPUSH."""
        self.ready = f"{prefix}:ready"
        """Hash whose fields are the events that have ids in a ready list."""
        self.delayed = f"{prefix}:delayed"
        """ZSET of execution ids by due time in milliseconds."""
        self.control = f"{prefix}:control"
        """Channel; a message is the id of an execution to cancel, or `ready`, a space
        and an event: its ready list has begun to fill. No id has a space."""
        self.epoch = f"{prefix}:epoch"
        """When a sweep first saw this content of Redis; gone after a wipe."""
        self.executions = f"{prefix}:execution:"
        """What the key of every execution's hash begins with."""
        self._steps = f"{prefix}:steps:"
        self._inflight = f"{prefix}:inflight:"
        self._updates = f"{prefix}:updates:"
        self._progress = f"{prefix}:progress:"

    def execution(self, execution_id: str) -> str:
        """Hash of one execution."""
        return self.executions + execution_id

    def ready_list(self, event: str) -> str:
        """List of the waiting ids of one event that others found in the queue.

        Whatever of an event is in its ready list comes before what is in the queue.
        """
        return f"{self.ready}:{event}"

    def steps(self, execution_id: str) -> str:
        """Hash of one execution's step results by step id."""
        return self._steps + execution_id

    def inflight(self, worker_id: str) -> str:
        """List of the ids a worker took and has not released."""
        return self._inflight + worker_id

    def updates(self, execution_id: str) -> str:
        """Channel of the notices about one execution's ends and retries."""
        return self._updates + execution_id

    def progress(self, execution_id: str) -> str:
        """Channel of the notices about its starts and steps, which few wait for."""
        return self._progress + execution_id

    @property
    def hash_tag(self) -> str | None:
        """What Redis Cluster hashes instead of the whole key, if there is any.

        The prefix comes first in every key, so braces in an id change nothing.
        """
        match = TAG.search(self.prefix)
        return match[1] if match else None
