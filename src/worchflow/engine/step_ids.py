"""The identity of each step of an execution, from its title, its use and its key."""

from __future__ import annotations

import threading

from ..foundations.errors import DuplicateStep
from ..foundations.ids import step_id


class StepIdAllocator:
    """Numbers the uses of titles in one attempt.

    The count of a title is stable only if its uses follow one another, so a title
    without a key belongs to the first task or thread that uses it. Safe to call
    from several threads.
    """

    __slots__ = ("_execution_id", "_lock", "_reuse", "_uses")

    def __init__(self, *, reuse: bool, execution_id: str) -> None:
        self._reuse = reuse
        self._execution_id = execution_id
        self._uses: dict[str, tuple[object, int]] = {}
        """Who uses each title, and how often it was used."""
        self._lock = threading.Lock()

    def identify(self, title: str, key: str | None, user: object) -> str:
        """The step id of this use; `user` is the calling task or thread."""
        if key is not None:
            return step_id(title, key=key)
        if self._reuse:
            return step_id(title)
        with self._lock:
            first_user, uses = self._uses.get(title, (user, 0))
            if first_user is not user:
                raise self._duplicate(title)
            use = uses + 1
            self._uses[title] = user, use
        return step_id(title, use=use)

    def forget(self) -> None:
        """Forget the tasks and threads that used titles."""
        self._uses.clear()

    def _duplicate(self, title: str) -> DuplicateStep:
        return DuplicateStep(
            f'the step title "{title}" is used from two tasks or threads of execution '
            f"{self._execution_id}: which use is which would depend on timing. Give "
            f'each its own key: step.options(key=item.id).run("{title}", ...), or its '
            "own title",
            title=title,
            execution_id=self._execution_id,
        )
