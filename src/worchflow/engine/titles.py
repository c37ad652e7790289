"""The identity of each step of an execution, from its title, its use and its key."""

from __future__ import annotations

import threading

from ..errors import DuplicateStep
from ..ids import step_id


class Titles:
    """Numbers the uses of titles in one attempt.

    The count of a title is stable only if its uses follow one another, so a title
    without a key belongs to the first task or thread that uses it. Safe to call
    from several threads.
    """

    def __init__(self, *, reuse: bool, execution_id: str) -> None:
        self._reuse = reuse
        self._execution_id = execution_id
        self._uses: dict[str, int] = {}
        self._users: dict[str, object] = {}
        self._lock = threading.Lock()

    def identify(self, title: str, key: str | None, user: object) -> str:
        """The step id of this use; `user` is the calling task or thread."""
        if key is not None:
            return step_id(title, key=key)
        if self._reuse:
            return step_id(title)
        with self._lock:
            if self._users.setdefault(title, user) is not user:
                raise self._duplicate(title)
            use = self._uses[title] = self._uses.get(title, 0) + 1
        return step_id(title, use=use)

    def _duplicate(self, title: str) -> DuplicateStep:
        return DuplicateStep(
            f'the step title "{title}" is used from two tasks or threads of execution '
            f"{self._execution_id}: which use is which would depend on timing. Give "
            f'each its own key: step.options(key=item.id).run("{title}", ...), or its '
            "own title",
            title=title,
            execution_id=self._execution_id,
        )
