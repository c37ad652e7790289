"""An exception as bounded text that every store can hold."""

from __future__ import annotations

import os
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, cast

from ..model.records import ErrorInfo

if TYPE_CHECKING:
    from collections.abc import Iterator

    from typing_extensions import TypeIs

MAX_MESSAGE_BYTES = 8 * 1024
MAX_TRACEBACK_BYTES = 32 * 1024
MAX_TYPE_LENGTH = 200
MAX_LINKED = 100
MAX_MEMBERS = 15
"""Members of a group that are shown: as many as a traceback of Python has."""
MARK_BYTES = 64
"""Room for the words that stand for what is left out."""

_OWN_FILES = str(Path(__file__).parent.parent) + os.sep


def describe(exception: BaseException) -> ErrorInfo:
    """Class name, message and traceback of an exception. Never raises.

    The message takes at most 8 KiB of UTF-8, the traceback 32 KiB; what is longer
    loses its middle, visibly. The library's own frames are left out, chained causes
    are kept.
    """
    return ErrorInfo(
        type=type(exception).__name__[:MAX_TYPE_LENGTH],
        message=without_middle(_message(exception), MAX_MESSAGE_BYTES),
        traceback=without_middle(_traceback(exception), MAX_TRACEBACK_BYTES),
    )


def leading_to(exception: BaseException) -> Iterator[BaseException]:
    """The exception, its causes and contexts, and the members of groups among them.

    At most a hundred; never raises.
    """
    waiting, seen = [exception], set[int]()
    while waiting and len(seen) < MAX_LINKED:
        one = waiting.pop(0)
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        try:
            # A group has them; whatever else calls something so is looked at too.
            members: object = getattr(one, "exceptions", ())
            linked: list[object] = [one.__cause__, one.__context__]
            if isinstance(members, tuple):
                linked.extend(cast("tuple[object, ...]", members))
            waiting += [each for each in linked if isinstance(each, BaseException)]
        except Exception:  # noqa: BLE001, S112  # attributes of a user's class
            continue


def with_few_members(exception: BaseException) -> BaseException:
    """The same, but a group without most of its members, which a note counts.

    No traceback shows more of them, and to read ten thousand takes seconds. Never
    raises.
    """
    if not _is_group(exception) or len(exception.exceptions) <= MAX_MEMBERS:
        return exception
    try:
        few = exception.derive(exception.exceptions[:MAX_MEMBERS])
        few.__traceback__ = exception.__traceback__
        few.__cause__, few.__context__ = exception.__cause__, exception.__context__
        few.__suppress_context__ = exception.__suppress_context__
        for note in getattr(exception, "__notes__", ()):
            few.add_note(note)
        few.add_note(
            f"... and {len(exception.exceptions) - MAX_MEMBERS} more exceptions"
        )
    except Exception:  # noqa: BLE001  # `derive` of a user's class
        return exception
    return few


def is_from_here(exception: BaseException) -> bool:
    """Whether the library's own code raised it."""
    place = exception.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    return place is not None and _is_own(place.tb_frame.f_code.co_filename)


def as_unicode(text: str) -> str:
    """The text with lone surrogates written as escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


def without_middle(text: str, limit: int) -> str:
    """The text in at most `limit` bytes of UTF-8, saying how much is left out."""
    data = as_unicode(text).encode()
    if len(data) <= limit:
        return data.decode()
    half = (limit - MARK_BYTES) // 2
    head, tail = data[:half].decode(errors="ignore"), data[-half:]
    mark = f"\n... [{len(data) - 2 * half} bytes left out] ...\n"
    return head + mark + tail.decode(errors="ignore")


def _message(exception: BaseException) -> str:
    try:
        return str(exception)
    except Exception as error:  # noqa: BLE001  # __str__ of a user's class
        return f"[its message cannot be shown: str() raised {type(error).__name__}]"


def _traceback(exception: BaseException) -> str:
    try:
        shown = with_few_members(exception)
        text = traceback.TracebackException.from_exception(shown, compact=True)
        for one in _chain(text):
            kept = [frame for frame in one.stack if not _is_own(frame.filename)]
            one.stack = traceback.StackSummary.from_list(kept)
        return "".join(text.format())
    except Exception as error:  # noqa: BLE001  # attributes of a user's class
        return f"[its traceback cannot be shown: {type(error).__name__}]"


def _chain(
    first: traceback.TracebackException,
) -> Iterator[traceback.TracebackException]:
    """The exception with its causes, contexts and members of groups."""
    waiting = [first]
    while waiting:
        one = waiting.pop()
        yield one
        linked = [one.__cause__, one.__context__, *(one.exceptions or ())]
        waiting.extend(other for other in linked if other is not None)


def _is_group(error: BaseException) -> TypeIs[BaseExceptionGroup[BaseException]]:
    return isinstance(error, BaseExceptionGroup)


def _is_own(filename: str) -> bool:
    return filename.startswith(_OWN_FILES)
