"""Events: what a user sends, and what names them."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Generic, overload

from pydantic import BaseModel, ConfigDict
from typing_extensions import override

from ..foundations.errors import ConfigurationError, InvalidInput
from ..foundations.limits import check_name, short
from ..foundations.types import D, R
from ..serialization.type_forms import check_type, resolve, substitute
from .correlation_key import KeyNames, Keys, KeySource, check_key_names
from .event_fields import refuse_unknown_arguments

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Self

    from typing_extensions import TypeForm, TypeIs

NO_NAMES: Mapping[str, Any] = {}


class Event(BaseModel, Generic[R]):
    """Base class of events: `class Pay(Event[Receipt], name="pay")`.

    The type argument is the result of the event's function, `Any` when left out.
    The fields are the event's data. Every class that is sent or bound to a function
    needs a `name` of its own, a subclass too; generic classes in between need none.

    `key="order_id"` names the field or property that tells which event a wait is for,
    or several as a tuple; a subclass inherits it.

    Making one with a field that the class does not have raises pydantic's
    `ValidationError`, unless its `model_config` says what `extra` fields mean.
    """

    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")
    __worchflow_name__: ClassVar[str | None] = None
    __worchflow_key__: ClassVar[KeyNames | None] = None
    __worchflow_result__: ClassVar[Any]

    @override
    def __init_subclass__(
        cls, *, name: str | None = None, key: KeyNames | None = None, **unknown: Any
    ) -> None:
        if unknown:
            raise ConfigurationError(
                f"class {cls.__name__}: unknown keyword {', '.join(sorted(unknown))}; "
                'an event class takes name="…", key="…" and the settings of pydantic '
                "models"
            )
        super().__init_subclass__()
        if name is not None:
            name = check_event_name(name, f"class {cls.__name__}: name")
        cls.__worchflow_name__ = name

    @override
    @classmethod
    def __pydantic_init_subclass__(
        cls, *, key: KeyNames | None = None, **_: Any
    ) -> None:
        # Not earlier: now the class has its fields.
        if key is not None:
            what = f"class {cls.__name__}"
            cls.__worchflow_key__ = check_key_names(key, cls, what)

    if not TYPE_CHECKING:

        def __init__(self, /, **data: Any) -> None:
            refuse_unknown_arguments(type(self), data)
            super().__init__(**data)

        # Pydantic calls an `__init__` that is not marked so for data it decodes too.
        __init__.__pydantic_base_init__ = True

    if TYPE_CHECKING:

        @classmethod
        def __worchflow_types__(cls) -> tuple[Self, R]: ...
        def __worchflow_message__(self) -> R: ...
        def __worchflow_data__(self) -> Self: ...


@dataclass(frozen=True, slots=True)
class Envelope(Generic[D, R]):
    """A message made by `ref(data)` or `function(data)`."""

    name: str
    data: D = field(repr=False)
    data_type: Any
    result_type: Any
    key: KeySource | None = None
    """What of the data its correlation key is."""

    if TYPE_CHECKING:

        def __worchflow_message__(self) -> R: ...
        def __worchflow_data__(self) -> D: ...


@dataclass(frozen=True)
class EventRef(Generic[D, R]):
    """A named event whose data has an existing type; call it with data to send it."""

    name: str
    data_type: Any
    result_type: Any = Any
    key: KeySource | None = None
    """What of the data is the correlation key: names, or a function of the data."""

    def __post_init__(self) -> None:
        check_event_name(self.name, "name")
        for part in ("data_type", "result_type"):
            checked = check_type(getattr(self, part), f'event "{self.name}": {part}')
            object.__setattr__(self, part, checked)
        if self.key is not None and not callable(self.key):
            check_key_names(self.key, self.data_type, f'event "{self.name}"')

    def __call__(self, data: D, /) -> Envelope[D, R]:
        """The message to send; the data is checked when it is sent."""
        return Envelope(self.name, data, self.data_type, self.result_type, self.key)

    if TYPE_CHECKING:

        def __worchflow_types__(self) -> tuple[D, R]: ...


@overload
def event(
    name: str, data: type[D], *, key: KeyNames | Callable[[D], Keys] | None = None
) -> EventRef[D, Any]: ...
@overload
def event(
    name: str,
    data: type[D],
    result: type[R],
    *,
    key: KeyNames | Callable[[D], Keys] | None = None,
) -> EventRef[D, R]: ...
@overload
def event(
    name: str, data: TypeForm[D], *, key: KeyNames | Callable[[D], Keys] | None = None
) -> EventRef[D, Any]: ...
@overload
def event(
    name: str,
    data: TypeForm[D],
    result: TypeForm[R],
    *,
    key: KeyNames | Callable[[D], Keys] | None = None,
) -> EventRef[D, R]: ...
def event(
    name: str, data: Any, result: Any = Any, *, key: Any = None
) -> EventRef[Any, Any]:
    """Name an event whose data is an existing type: TypedDict, dataclass, model, int….

    `key` tells which event a wait is for: a field or property of the data, a tuple of
    them, or a function of the data. Raises `ConfigurationError` for a bad name or key,
    or something that is not a type.
    """
    return EventRef(name, data, result, key)


def is_event(value: object) -> TypeIs[Event[Any]]:
    """Whether a value is an instance of an event class."""
    return isinstance(value, Event)


def is_event_class(value: object) -> TypeIs[type[Event[Any]]]:
    """Whether a value is an event class itself."""
    return isinstance(value, type) and issubclass(value, Event)


def event_classes() -> dict[str, list[type[Event[Any]]]]:
    """The event classes that this process has defined, by their names."""
    found: dict[str, list[type[Event[Any]]]] = {}
    classes = Event.__subclasses__()
    while classes:
        cls = classes.pop()
        if cls.__worchflow_name__ is not None:
            found.setdefault(cls.__worchflow_name__, []).append(cls)
        classes += cls.__subclasses__()
    return found


def is_ref(value: object) -> TypeIs[EventRef[Any, Any]]:
    """Whether a value was made by `event()`."""
    return isinstance(value, EventRef)


def as_ref(
    source: object, local_names: Mapping[str, Any] = NO_NAMES
) -> EventRef[Any, Any]:
    """Name, data type and result type of an event class or an `EventRef`.

    Raises `ConfigurationError` for anything else.
    """
    if is_ref(source):
        return source
    if is_event_class(source):
        return EventRef(
            event_name(source),
            source,
            result_type(source, local_names),
            source.__worchflow_key__,
        )
    raise ConfigurationError(_no_source(source))


def _no_source(source: object) -> str:
    if is_event(source):
        name = type(source).__name__
        return f"{name}(…) is one event: name the class, {name}"
    if isinstance(source, str):
        return (
            f"{short(source)} is only a name: use its Event class, or "
            f"event({short(source)}, DataType)"
        )
    if isinstance(source, type):
        name = source.__name__
        return (
            f"the class {name} names no event: derive it from Event, "
            f'class {name}(Event[…], name="{_kebab(name)}"), '
            f'or name it, event("{_kebab(name)}", {name})'
        )
    if callable(source):
        name = getattr(source, "__qualname__", type(source).__name__)
        return (
            f"{name} names no event: write "
            '@function(EventClass) or @function("event-name") above the handler'
        )
    return (
        f"{short(source)} names no event: use an Event class, "
        'event("name", DataType) or the name as text'
    )


def event_name(cls: type[Event[Any]]) -> str:
    """The event's name; `ConfigurationError` for a class without one of its own."""
    if cls.__worchflow_name__ is not None:
        return cls.__worchflow_name__
    # Wrapped[int] is the class Wrapped with its type filled in, not a subclass.
    origin = cls.__pydantic_generic_metadata__["origin"]
    if is_event_class(origin) and origin is not Event:
        return event_name(origin)
    inherited = next(
        (base.__worchflow_name__ for base in _events(cls) if base.__worchflow_name__),
        None,
    )
    plain = cls.__name__.partition("[")[0]
    reason = f', a subclass does not inherit "{inherited}"' if inherited else ""
    raise ConfigurationError(
        f"the event class {cls.__qualname__} has no name{reason}: write "
        f'class {plain}(…, name="{_kebab(plain)}")'
    )


def result_type(
    cls: type[Event[Any]], local_names: Mapping[str, Any] = NO_NAMES
) -> Any:
    """The result type an event class was declared with, `Any` without one.

    A type given as text, `Event["Receipt"]`, is looked up now, in the class's module
    and, for a class made inside a function, in `local_names`; `ConfigurationError`
    while it is not there.
    """
    if "__worchflow_result__" not in vars(cls):
        what = f"the result type of the event class {cls.__qualname__}"
        found = _declared_result(cls, local_names, what)
        cls.__worchflow_result__ = check_type(found, what)
    return cls.__worchflow_result__


def _events(cls: type[Event[Any]]) -> list[type[Event[Any]]]:
    return [base for base in cls.__mro__ if is_event_class(base)]


def _declared_result(
    cls: type[Event[Any]], local_names: Mapping[str, Any], what: str
) -> Any:
    known: dict[Any, Any] = {}
    writer = cls
    for base in _events(cls):
        metadata = base.__pydantic_generic_metadata__
        origin = metadata["origin"]
        if origin is None:
            writer = base
            continue
        # Text is looked up where it was written: pydantic makes Event["Receipt"]
        # once, whichever modules write it.
        names = _names(writer, local_names)
        resolved = [resolve(argument, names, what) for argument in metadata["args"]]
        arguments = [substitute(argument, known) for argument in resolved]
        if origin is Event:
            return arguments[0]
        parameters = origin.__pydantic_generic_metadata__["parameters"]
        known.update(zip(parameters, arguments, strict=True))
    return Any


def _names(
    writer: type[Event[Any]], local_names: Mapping[str, Any]
) -> Mapping[str, Any]:
    """The names in scope where a class was written, as far as that is known."""
    module = sys.modules.get(writer.__module__)
    names = vars(module) if module is not None else dict[str, Any]()
    return {**names, **local_names} if "<locals>" in writer.__qualname__ else names


def check_event_name(value: object, field: str) -> str:
    """An event name or function id; `ConfigurationError` naming the field."""
    try:
        return check_name(value, field)
    except InvalidInput as error:
        raise ConfigurationError(error.message) from None


def _kebab(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower()
