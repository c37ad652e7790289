"""Every error of the library, as one family.

WorchflowError
├── ConfigurationError
│   ├── FunctionAlreadyRegistered
│   ├── SchemaTooNew
│   └── SchemaTooOld
├── StoreUnavailable
├── ExecutionNotFound
├── ExecutionConflict
├── EventConflict
├── ExecutionFailed
├── ExecutionCancelled
├── WrongState
├── InvalidInput
│   ├── UnknownEvent
│   ├── SerializationError
│   │   ├── EventValidationError
│   │   └── StepResultChanged
│   └── PayloadTooLarge
├── StepError
│   ├── DuplicateStep
│   ├── NestedStep
│   └── StepFailed
├── StepsFailed       in `steps_failed`, an `ExceptionGroup` as well
├── DeadlineExceeded  recorded, not raised
├── NonRetryable      raised by users
└── RetryAfter        raised by users
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from typing_extensions import override

if TYPE_CHECKING:
    from .types import Duration


class WorchflowError(Exception):
    """The base of every error of the library.

    `code` is stable across releases and documented; `execution_id` is set where
    the error concerns one execution.
    """

    code: ClassVar[str] = "WF1000"

    # Tracebacks name each error as it is imported: `worchflow.StepFailed`.
    __module__ = "worchflow"

    @override
    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        if cls.__module__ == __name__:
            cls.__module__ = "worchflow"

    def __init__(self, message: str = "", *, execution_id: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.execution_id = execution_id


class ConfigurationError(WorchflowError):
    """Something was put together in a way that cannot work."""

    code = "WF1001"


class FunctionAlreadyRegistered(ConfigurationError):
    """Two functions claim one id or one event."""

    code = "WF1002"

    def __init__(self, message: str = "", *, function_id: str | None = None) -> None:
        super().__init__(message)
        self.function_id = function_id


class SchemaTooNew(ConfigurationError):
    """The store was written by a newer release; this one leaves it alone."""

    code = "WF1003"


class SchemaTooOld(ConfigurationError):
    """The store was written by an earlier release and has to be updated first.

    Workers do so as they start, and `worchflow migrate` does; nothing in it is lost.
    `found` is the schema that it has, `needed` that of this release.
    """

    code = "WF1004"

    def __init__(self, store: str, *, found: int, needed: int) -> None:
        super().__init__(
            f"{store} has schema {found}, this release needs {needed}: start a worker "
            "of this release, or run `worchflow migrate`; everything in it is kept"
        )
        self.found = found
        self.needed = needed


class StoreUnavailable(WorchflowError):
    """A store did not answer in time.

    After a `send` the outcome is unknown and `execution_id` is set: sending again
    with that id is safe and gives one execution. After a `send_many`, `accepted` are
    the ids known to be accepted and `unknown` those whose outcome is not known.
    """

    code = "WF2001"

    def __init__(self, message: str = "", *, execution_id: str | None = None) -> None:
        super().__init__(message, execution_id=execution_id)
        self.accepted: tuple[str, ...] = ()
        self.unknown: tuple[str, ...] = ()


class ExecutionNotFound(WorchflowError):
    """No execution has this id.

    `place` says where it was looked for. It is a note of the traceback and no part of
    the message, which may be shown to strangers.
    """

    code = "WF3001"

    def __init__(
        self, message: str = "", *, execution_id: str | None = None, place: str = ""
    ) -> None:
        super().__init__(message, execution_id=execution_id)
        self.place = place
        if place:
            self.add_note(place)


class ExecutionConflict(WorchflowError):
    """The id belongs to an execution of another event or with other data.

    After a `send_many`, `accepted` are the ids that were accepted nevertheless.
    """

    code = "WF3002"

    def __init__(self, message: str = "", *, execution_id: str | None = None) -> None:
        super().__init__(message, execution_id=execution_id)
        self.accepted: tuple[str, ...] = ()


class EventConflict(WorchflowError):
    """The id belongs to an event of another name or key, or with other data."""

    code = "WF3007"

    def __init__(self, message: str = "", *, event_id: str = "") -> None:
        super().__init__(message)
        self.event_id = event_id


class ExecutionFailed(WorchflowError):
    """The execution ended as failed; the fields describe its last attempt.

    `error_type` is the exception's class name, `traceback` is text.
    """

    code = "WF3003"
    is_recorded = False
    """Whether it is about a child and recorded in its parent: whoever tries again meets
    it again, so a handler that does not catch it fails at once."""

    def __init__(
        self,
        message: str = "",
        *,
        execution_id: str | None = None,
        error_type: str = "",
        error_message: str = "",
        traceback: str = "",
    ) -> None:
        super().__init__(message, execution_id=execution_id)
        self.error_type = error_type
        self.message = error_message
        self.traceback = traceback


class ExecutionCancelled(WorchflowError):
    """The execution ended as cancelled; `reason` is what the canceller gave."""

    code = "WF3004"
    is_recorded = False
    """As in `ExecutionFailed`."""

    def __init__(
        self,
        message: str = "",
        *,
        execution_id: str | None = None,
        reason: str | None = None,
    ) -> None:
        super().__init__(message, execution_id=execution_id)
        self.reason = reason


class WrongState(WorchflowError):
    """The act does not fit the execution's status, given as `status`."""

    code = "WF3005"

    def __init__(
        self,
        message: str = "",
        *,
        execution_id: str | None = None,
        status: str | None = None,
    ) -> None:
        super().__init__(message, execution_id=execution_id)
        self.status = status


class InvalidInput(WorchflowError):
    """A value was refused before anything was written; `field` says which."""

    code = "WF4001"

    def __init__(
        self,
        message: str = "",
        *,
        field: str | None = None,
        execution_id: str | None = None,
    ) -> None:
        super().__init__(message, execution_id=execution_id)
        self.field = field


class UnknownEvent(InvalidInput):
    """The client's event schema has no event of this name."""

    code = "WF4002"


class SerializationError(InvalidInput):
    """A value would not come back from JSON as it went in, or does not decode."""

    code = "WF4004"


class EventValidationError(SerializationError):
    """The event's data does not fit its type, or would not come back as it is."""

    code = "WF4003"


class StepResultChanged(SerializationError):
    """A recorded step result no longer decodes to the type the code names."""

    code = "WF4005"


class PayloadTooLarge(InvalidInput):
    """A payload exceeds its limit, or all steps of an execution exceed theirs.

    `size` and `limit` are in bytes, or in steps where there are too many of these.
    """

    code = "WF4006"

    def __init__(
        self,
        message: str = "",
        *,
        field: str | None = None,
        size: int = 0,
        limit: int = 0,
    ) -> None:
        super().__init__(message, field=field)
        self.size = size
        self.limit = limit


class StepError(WorchflowError):
    """Steps were used in a way that cannot be replayed, or one has failed."""

    code = "WF5000"

    def __init__(
        self,
        message: str = "",
        *,
        title: str | None = None,
        execution_id: str | None = None,
    ) -> None:
        super().__init__(message, execution_id=execution_id)
        self.title = title


class DuplicateStep(StepError):
    """One title without a key, used from two tasks or threads."""

    code = "WF5001"


class NestedStep(StepError):
    """A step was started inside a running step."""

    code = "WF5002"


class StepFailed(StepError):
    """A step with its own retries has used them up.

    This is a recorded fact: every replay raises it again. On the first run
    `__cause__` is the original exception; `error_type`, `error_message` and
    `traceback` describe it then and on every replay.
    """

    code = "WF5003"
    counts_for_attempt = False
    """Whether the next attempt runs the step again, as after any failure of a step that
    has no retries of its own. So is a failure that a resume of its attempt repeats."""

    def __init__(
        self,
        message: str = "",
        *,
        title: str | None = None,
        execution_id: str | None = None,
        error_type: str = "",
        error_message: str = "",
        traceback: str = "",
    ) -> None:
        super().__init__(message, title=title, execution_id=execution_id)
        self.error_type = error_type
        self.error_message = error_message
        self.traceback = traceback


class DeadlineExceeded(WorchflowError):
    """The execution has not started, or not ended, by the limit of its function.

    Nothing raises it: it is what the execution has failed with, the `error_type` of its
    `ExecutionFailed`. Its code was cancelled if it ran. A retry counts anew.
    """

    code = "WF5007"


class NonRetryable(WorchflowError):
    """Raise it in a handler or step: the execution fails at once."""

    code = "WF5004"


class RetryAfter(WorchflowError):
    """Raise it in a handler or step: the next attempt starts after `delay`."""

    code = "WF5005"

    def __init__(self, delay: Duration, message: str = "") -> None:
        super().__init__(message or f"asked to be retried after {delay}")
        self.delay = delay
