"""The options of a step, and the calls that are made under them, checked."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, TypedDict, cast

from ..foundations.durations import to_seconds, to_utc
from ..foundations.errors import ConfigurationError, InvalidInput
from ..foundations.limits import check_key, check_name, short
from ..foundations.suggestions import refuse_unknown
from ..serialization.type_forms import check_type, may_be_none
from .calls import (
    MISSING,
    InvokeCall,
    SendCall,
    SleepCall,
    StartCall,
    StepCall,
    TokenCall,
    WaitCall,
)
from .correlation_key import key_text, names_in
from .events import as_ref
from .messages import is_message, message_parts
from .retry import Retry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime
    from uuid import UUID

    from ..foundations.types import Duration
    from .calls import AnswerCall, CancelCall, ChildCall, OnParentEnd, Since
    from .correlation_key import Keys
    from .events import EventRef


MAX_SENT = 10_000
"""Messages of one step."""


class StepOptions(TypedDict, total=False):
    """The options of one step.

    `key` tells apart the uses of one title, `retries` gives the step retries of its
    own, `timeout` bounds each of its tries.
    """

    key: str | int | UUID
    retries: int | Retry
    timeout: Duration


SETTINGS = frozenset({*StepOptions.__optional_keys__, "as_type"})


@dataclass(frozen=True, kw_only=True, slots=True)
class StepSettings:
    """The options collected so far, checked."""

    key: str | None = None
    retries: Retry | None = None
    timeout: float | None = None
    as_type: Any = MISSING

    def merged(self, options: Mapping[str, Any]) -> StepSettings:
        """These and the given ones, which win; an error names the wrong one."""
        refuse_unknown(options, SETTINGS, "a step")
        checked = {name: CHECKS[name](value) for name, value in options.items()}
        return replace(self, **checked)

    def call(
        self,
        title: str,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> StepCall:
        """The call, checked; `InvalidInput` for a bad title or function."""
        check_function(title, function, "run")
        return StepCall(
            check_name(title, "title"),
            function,
            args,
            kwargs,
            self.key,
            self.retries,
            self.timeout,
            self.as_type,
        )

    def sleep(self, title: str, duration: Duration) -> SleepCall:
        """A sleep of some length, checked."""
        self.refuse_for("sleep")
        try:
            seconds = to_seconds(duration, "duration")
        except ConfigurationError as error:
            hint = '. The title comes first: step.sleep("Cool down", "2h")'
            swapped = isinstance(duration, str)
            raise InvalidInput(
                f"{error}{hint if swapped else ''}", field="duration"
            ) from None
        return SleepCall(check_name(title, "title"), seconds, None, self.key)

    def sleep_until(self, title: str, moment: datetime) -> SleepCall:
        """A sleep until a moment, checked."""
        self.refuse_for("sleep_until")
        try:
            until = to_utc(moment, "moment")
        except ConfigurationError as error:
            raise InvalidInput(str(error), field="moment") from None
        return SleepCall(check_name(title, "title"), None, until, self.key)

    def wait_for_event(
        self,
        title: str,
        event: Any,
        key: Keys | None,
        since: Since,
        timeout: Duration | None,
    ) -> WaitCall:
        """A wait for an event, checked."""
        self.refuse_for("wait_for_event")
        check_name(title, "title")
        ref = as_ref(event)
        return WaitCall(
            title,
            ref.name,
            ref.data_type,
            _correlation_key(ref, key),
            _check_since(since),
            None
            if timeout is None
            else _check_wait_timeout(
                timeout, ref.data_type, f'the data of the event "{ref.name}"'
            ),
            self.key,
        )

    def send(self, title: str, messages: Any) -> SendCall:
        """Something to send, checked."""
        self.refuse_for("send")
        check_name(title, "title")
        if is_message(messages):
            return SendCall(title, is_one=True, messages=(messages,), key=self.key)
        if isinstance(messages, str | type) or not hasattr(messages, "__iter__"):
            message_parts(messages)  # Says what is wrong with it.
        several = tuple(islice(cast("Iterable[Any]", messages), MAX_SENT + 1))
        if len(several) > MAX_SENT:
            raise InvalidInput(
                f"step.send takes up to {MAX_SENT:,} messages at once: send them in "
                "several steps, with options(key=…)",
                field="messages",
            )
        return SendCall(title, is_one=False, messages=several, key=self.key)

    def invoke(self, title: str, message: Any, timeout: Duration | None) -> InvokeCall:
        """A child whose result is waited for, checked."""
        self.refuse_for("invoke")
        check_name(title, "title")
        return InvokeCall(
            title,
            message_parts(message).result_type,
            None if timeout is None else check_timeout(timeout),
            message,
            self.key,
        )

    def start(
        self,
        title: str,
        message: Any,
        on_parent_end: OnParentEnd,
        make: Callable[[str, ChildCall, CancelCall], Any],
    ) -> StartCall:
        """A child to be started, checked."""
        self.refuse_for("start")
        check_name(title, "title")
        if on_parent_end not in ("cancel", "leave"):
            raise InvalidInput(
                f'on_parent_end={short(on_parent_end)} must be "cancel" or "leave"',
                field="on_parent_end",
            )
        leaves = on_parent_end == "leave"
        result_type = message_parts(message).result_type
        return StartCall(title, leaves, make, result_type, message, self.key)

    def token(
        self,
        title: str,
        answer: Any,
        timeout: Duration | None,
        make: Callable[[str, AnswerCall], Any],
    ) -> TokenCall:
        """A token, checked."""
        self.refuse_for("token")
        check_name(title, "title")
        data_type = check_type(answer, "answer")
        seconds = None
        if timeout is not None:
            what = f'the answer to the token "{title}"'
            seconds = _check_wait_timeout(timeout, data_type, what)
        return TokenCall(title, data_type, seconds, make, self.key)

    def refuse_for(self, method: str) -> None:
        """Options of `step.run` say nothing about a wait."""
        for name, is_set in (
            ("retries", self.retries is not None),
            ("timeout", self.timeout is not None),
            ("as_type", self.as_type is not MISSING),
        ):
            if is_set:
                raise ConfigurationError(
                    f"step.options({name}=…) is for step.run: step.{method} takes no "
                    "option but key"
                )


UNSET = StepSettings()


def check_function(title: str, function: object, method: str) -> None:
    """`InvalidInput` for what cannot be called, or stands where the title belongs."""
    if not isinstance(title, str) and callable(title):
        raise InvalidInput(
            f'the title comes first: step.{method}("Charge card", charge, …)',
            field="title",
        )
    if not callable(function):
        raise InvalidInput(_not_callable(title, function), field="fn")


def check_timeout(value: Duration, name: str = "timeout") -> float:
    """Seconds of a timeout option; `ConfigurationError` for none at all."""
    seconds = to_seconds(value, name)
    if seconds == 0:
        raise ConfigurationError(f"{name}={value!r} must be longer than nothing")
    return seconds


def _correlation_key(ref: EventRef[Any, Any], key: Keys | None) -> str | None:
    if key is None and ref.key is not None:
        raise ConfigurationError(
            f'the event "{ref.name}" has a key ({_key_name(ref)}): say which event is '
            "waited for, wait_for_event(…, key=…)"
        )
    names = () if ref.key is None else names_in(ref.key)
    count = len(key) if isinstance(key, tuple) else 1
    if names and count != len(names):
        raise ConfigurationError(
            f'key={short(key)}: the key of the event "{ref.name}" has {len(names)} '
            f"part(s), {_key_name(ref)}"
        )
    return None if key is None else key_text(key)


def _key_name(ref: EventRef[Any, Any]) -> str:
    names = () if ref.key is None else names_in(ref.key)
    return ", ".join(names) or "a function of its data"


def _check_since(since: Since) -> Since:
    if since in ("execution", "now"):
        return since
    try:
        return to_utc(since, "since")  # type: ignore[arg-type]
    except ConfigurationError as error:
        raise InvalidInput(
            f'{error}. Or say since="execution", for all that came since it was '
            'accepted, or since="now"',
            field="since",
        ) from None


def _check_wait_timeout(timeout: Duration, data_type: Any, what: str) -> float:
    if may_be_none(data_type):
        raise ConfigurationError(
            f"{what} may be None, and with timeout= None says that it did not come: "
            "give it a type with a field"
        )
    try:
        return to_seconds(timeout, "timeout")
    except ConfigurationError as error:
        raise InvalidInput(str(error), field="timeout") from None


def _check_retries(value: int | Retry) -> Retry:
    if value is None:
        raise ConfigurationError(
            "retries=None: leave it out for a step without its own retries"
        )
    return Retry.of(value)


CHECKS: dict[str, Callable[[Any], Any]] = {
    "key": check_key,
    "retries": _check_retries,
    "timeout": check_timeout,
    "as_type": lambda value: check_type(value, "as_type"),
}


def _not_callable(title: str, function: object) -> str:
    if inspect.isawaitable(function):
        if inspect.iscoroutine(function):
            # It never starts; without this, Python warns of a forgotten await.
            function.close()
        return (
            f"step {title!r}: the function was called already: pass it and its "
            "arguments apart, step.run(title, function, argument)"
        )
    return (
        f"step {title!r}: an object of type {type(function).__name__} is not a "
        "function: pass the function itself, without calling it, before its arguments"
    )
