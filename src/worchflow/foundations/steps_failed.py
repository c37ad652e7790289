"""The failures of one step that consists of many."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import override

from .errors import WorchflowError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Self

    from typing_extensions import TypeIs


class StepsFailed(WorchflowError, ExceptionGroup[Exception]):
    """Items of a `step.map` or children of a `step.invoke_many` have failed.

    All others have completed and are recorded. `places` are where the failed ones stand
    in what was given, counted from 0, in the order of `exceptions`. `title` is that of
    the step.
    """

    code = "WF5006"
    __module__ = "worchflow"

    # Groups are made by `__new__`, and have a `message` that nobody can set.
    @override
    def __new__(
        cls,
        message: str,
        exceptions: Sequence[Exception],
        *,
        places: Sequence[int] = (),
        title: str | None = None,
        execution_id: str | None = None,
    ) -> Self:
        """A group of these exceptions."""
        return super().__new__(cls, message, exceptions)

    def __init__(
        self,
        message: str,  # noqa: ARG002 - for `__new__`
        exceptions: Sequence[Exception],  # noqa: ARG002
        *,
        places: Sequence[int] = (),
        title: str | None = None,
        execution_id: str | None = None,
    ) -> None:
        self.places = tuple(places)
        self.title = title
        self.execution_id = execution_id

    @override
    def derive(self, excs: Sequence[Exception], /) -> StepsFailed:  # type: ignore[override]
        """The same of some of its exceptions, as `split` and `except*` ask for it."""
        return StepsFailed(
            self.message,
            excs,
            places=list(self._places_of(excs)),
            title=self.title,
            execution_id=self.execution_id,
        )

    def _places_of(self, some: Sequence[Exception]) -> Iterator[int]:
        """Where exceptions stand that are its own, or parts of them, in their order."""
        # One that stands at several places is met again behind the first.
        own = zip(self.exceptions, self.places, strict=False)
        for one in some:
            for whole, place in own:
                if _is_of(one, whole):
                    yield place
                    break


def _is_of(one: Exception, whole: Exception) -> bool:
    """Whether it is the other, or a group of some that the other has in it."""
    if not _is_group(one) or not _is_group(whole):
        return one is whole
    return _leaves(one) <= _leaves(whole)


def _leaves(error: BaseException) -> set[int]:
    if not _is_group(error):
        return {id(error)}
    return {leaf for each in error.exceptions for leaf in _leaves(each)}


def _is_group(error: BaseException) -> TypeIs[BaseExceptionGroup[BaseException]]:
    return isinstance(error, BaseExceptionGroup)
