"""What may be sent or emitted: the parts of a message, whatever its spelling."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from typing_extensions import override

from ..foundations.errors import EventValidationError, InvalidInput
from ..foundations.limits import check_name, short
from .events import (
    Envelope,
    event_name,
    is_event,
    is_event_class,
    is_ref,
    result_type,
)

if TYPE_CHECKING:
    from typing_extensions import TypeIs

    from .correlation_key import Keys, KeySource


def _is_envelope(value: object) -> TypeIs[Envelope[Any, Any]]:
    return isinstance(value, Envelope)


def _is_mapping(value: object) -> TypeIs[Mapping[Any, Any]]:
    return isinstance(value, Mapping)


class MessageParts(NamedTuple):
    """What is in a message, whatever its spelling."""

    name: str
    data: Any
    data_type: Any
    result_type: Any
    key: KeySource | None = None
    """What of the data is its correlation key."""
    given_key: Keys | None = None
    """The key itself, as a mapping may say it."""

    @override
    def __repr__(self) -> str:
        return f"MessageParts({self.name!r})"


def message_parts(message: object) -> MessageParts:
    """Read an `Event`, an `Envelope` or a mapping with `name` and `data`.

    A mapping's types are `Any`. Raises `EventValidationError` for anything else and
    `ConfigurationError` for an event class without a name.
    """
    if is_event(message):
        cls = type(message)
        key = cls.__worchflow_key__
        return MessageParts(event_name(cls), message, cls, result_type(cls), key)
    if _is_envelope(message):
        return MessageParts(
            message.name,
            message.data,
            message.data_type,
            message.result_type,
            message.key,
        )
    if _is_mapping(message):
        return _mapping_parts(message)
    raise EventValidationError(
        f"cannot send {_describe(message)}: {_hint(message)}", field="message"
    )


def is_message(value: object) -> bool:
    """Whether it is one message, and not several: an event is iterable too."""
    return is_event(value) or _is_envelope(value) or _is_mapping(value)


def _mapping_parts(message: Mapping[Any, Any]) -> MessageParts:
    if set(message) - {"key"} != {"name", "data"}:
        hint = (
            "an id goes into send(…, id=…)"
            if "id" in message
            else 'without data write "data": None'
        )
        raise EventValidationError(
            'a message as a mapping has the keys "name" and "data", and may have "key" '
            "for those who wait for it; this one has "
            f"{short(list(message))}; {hint}",
            field="message",
        )
    try:
        name = check_name(message["name"], "name")
    except InvalidInput as error:
        raise EventValidationError(error.message, field="name") from None
    given_key = message.get("key")
    return MessageParts(name, message["data"], Any, Any, given_key=given_key)


def _describe(value: object) -> str:
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if isinstance(value, str):
        return f"the text {short(value)}"
    # The value itself may hold what does not belong into a log.
    return "None" if value is None else f"an object of type {type(value).__name__}"


def _hint(message: object) -> str:
    if isinstance(message, type):
        name = message.__name__
        if is_event_class(message):
            return f"send an instance of it, {name}(…)"
        return f'make it an event, event("name", {name}), and send event(data)'
    if is_ref(message):
        return "call it with the event's data, ref(data), and send what it returns"
    if isinstance(message, str):
        return 'a name alone has no data, send {"name": …, "data": …} or an event'
    if callable(message):
        return "call the function with its event's data, function(data)"
    return (
        "send an instance of an Event class, what event(…)(data) or function(data) "
        'returns, or {"name": …, "data": …}'
    )
