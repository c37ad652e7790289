"""The one place above the stores where values become payloads and come back."""

from __future__ import annotations

from dataclasses import replace
from types import NoneType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypedDict

from pydantic_core import from_json, to_json

from ..foundations.errors import (
    ConfigurationError,
    SerializationError,
    StepResultChanged,
)
from ..foundations.limits import PayloadLimits, check_size, short
from .envelope import CODEC_KEY, Envelope, is_sealed
from .exception_text import describe, with_few_members
from .json_schemas import ANYTHING, find_misfit, schema_of
from .plain_json import (
    ValueViolation,
    find_text_violation,
    find_violation,
    same_json,
    shape,
    with_article,
)
from .serializer import JSONSerializer, UnserializableValue, is_untyped, origin
from .type_adapters import adapter_for, has_uncompared_fields, type_name
from .value_places import (
    equal,
    find_difference,
    find_lost_field,
    find_unreadable,
    find_unwritable,
)
from .zones import find_lost_zone, may_hold_times

if TYPE_CHECKING:
    from ..foundations.types import Payload
    from ..model.records import ErrorInfo
    from .serializer import Codec, Serializer

Kind: TypeAlias = Literal["event", "step", "result", "answer"]

# The way out when a value without a type is more than plain JSON.
_ANNOTATE = {
    "event": "give the event a data type",
    "step": "annotate what the function returns, or pass step.options(as_type=...)",
    "result": "annotate what the handler returns, or name it in Event[...]",
    "answer": "pass one instance of the token's type, or plain JSON",
}
# The way out when a value would not come back as its type says.
_CORRECT = {
    "event": "make the event's data type name exactly what is sent",
    "step": "make the function's return annotation name exactly what it returns, or "
    "pass step.options(as_type=...)",
    "result": "make the handler's return annotation, or Event[...], name exactly "
    "what it returns",
    "answer": "make its class name exactly what it holds",
}

_SIMPLE = frozenset({bool, NoneType})


class PayloadOptions(TypedDict, total=False):
    """How user data becomes text: the same for an app, a client and a worker."""

    serializer: Serializer | None
    codec: Codec | None
    limits: PayloadLimits | None


class Payloads:
    """Encodes and decodes all user data, under one serializer, codec and limits.

    What it gives out never changes silently: a value is accepted only if it comes
    back equal (`==`) to what it was. Its errors name the place, never the content.
    """

    def __init__(
        self,
        serializer: Serializer | None = None,
        codec: Codec | None = None,
        limits: PayloadLimits | None = None,
    ) -> None:
        self._serializer = serializer or JSONSerializer()
        self._is_default = type(self._serializer) is JSONSerializer
        self._envelope = Envelope(codec)
        self.limits = limits or PayloadLimits()
        self._bytes = {
            "event": self.limits.event_bytes,
            "answer": self.limits.event_bytes,
            "step": self.limits.step_bytes,
            "result": self.limits.result_bytes,
        }
        _check_methods("serializer", self._serializer)
        if codec is not None:
            _check_methods("codec", codec)

    @classmethod
    def of(cls, options: PayloadOptions) -> Payloads:
        """Those in the options of an app, a client or a worker, which may be more."""
        names = PayloadOptions.__optional_keys__
        given: dict[str, Any] = {
            name: each for name, each in options.items() if name in names
        }
        return cls(**given)

    def encode(
        self, value: Any, type: Any, *, kind: Kind, where: str
    ) -> tuple[Payload, Any]:
        """The payload of a value, and the value as every later reader will see it.

        Raises `SerializationError` or `PayloadTooLarge`, both naming `where`, before
        anything is written.
        """
        if self._is_simple(value, type):
            text = to_json(value).decode()
            check_size(text, self._bytes[kind], where)
            return self._envelope.seal(text, where), value
        text = self._write(value, type, kind, where)
        check_size(text, self._bytes[kind], where)
        try:
            decoded = self._parse(text, type)
        except SerializationError as error:
            violation = find_unreadable(value) or _misread(value, type, kind, error)
        else:
            lost = self._lost(value, decoded, type)
            if lost is None and equal(decoded, value):
                return self._envelope.seal(text, where), decoded
            violation = lost or find_difference(value, decoded)
        raise self._refusal(violation, value, type, kind, where)

    def decode(self, payload: Payload | None, type: Any, *, where: str) -> Any:
        """The value of a payload, whoever wrote it.

        Raises `SerializationError` naming `where` when it is not JSON, does not decode
        to the type, or needs a codec.
        """
        text = self._envelope.open(payload, where)
        try:
            return self._read(text, type)
        except SerializationError as error:
            raise SerializationError(
                f"{where} holds {shape(text)}, which does not decode to "
                f"{_name(type)}: {error.message}"
            ) from None

    def decode_step(self, payload: Payload | None, type: Any, *, where: str) -> Any:
        """A recorded result; `StepResultChanged` when the code names another type."""
        text = self._envelope.open(payload, where)
        try:
            return self._read(text, type)
        except SerializationError as error:
            raise StepResultChanged(
                f"{where} is recorded as {shape(text)}, but the code now names "
                f"{_name(type)}: {error.message}. Let the type read what is "
                "recorded too, or give the changed step another title"
            ) from None

    def same_data(self, one: Payload, other: Payload, type: Any = Any) -> bool:
        """Whether two payloads hold equal data: as JSON, else as values of `type`.

        A set, for instance, may be written in any order. `SerializationError` when
        one of them cannot be read.
        """
        if one == other:
            return True
        where = "the event data to compare"
        texts = self._envelope.open(one, where), self._envelope.open(other, where)
        if same_json(*(self.decode(text, Any, where=where) for text in texts)):
            return True
        if is_untyped(type):
            return False
        try:
            one, other = (self.decode(text, type, where=where) for text in texts)
        except SerializationError:
            return False
        return equal(one, other) and self._lost(one, other, type) is None

    def schema_of(self, type: Any, *, closed: bool = False) -> str:
        """The JSON Schema of what is written of a type, as text.

        `closed`: an object has no fields but those of the type.
        Whatever a serializer of the user's writes is fine. Raises `ConfigurationError`
        for a type that has none.
        """
        return schema_of(type, closed=closed) if self._is_default else ANYTHING

    def refuse_misfit(self, payload: Payload, schema: str, *, where: str) -> None:
        """`SerializationError` for what does not fit a JSON Schema, saying where."""
        value = from_json(self._envelope.open(payload, where))
        if (misfit := find_misfit(value, schema)) is not None:
            raise SerializationError(f"{where} does not fit: {misfit}")

    def shown(self, exception: BaseException) -> BaseException | None:
        """The exception for a log line; None with a codec, for it may quote secrets."""
        return None if self._envelope.has_codec else with_few_members(exception)

    def encode_error(
        self, exception: BaseException, step: str | None = None
    ) -> ErrorInfo:
        """An exception as text to store, through the codec if there is one.

        `step` names the step that it came out of. Never raises: where the codec
        fails, a placeholder says so.
        """
        error = replace(describe(exception), step=step)
        if not self._envelope.has_codec:
            return error
        return replace(
            error,
            message=self._seal_text(error.message),
            traceback=self._seal_text(error.traceback),
        )

    def decode_error(self, error: ErrorInfo) -> ErrorInfo:
        """The readable form of a stored error; never raises.

        A part that cannot be read becomes a placeholder saying why.
        """
        return replace(
            error,
            message=self._open_text(error.message),
            traceback=self._open_text(error.traceback),
        )

    def _is_simple(self, value: Any, type: Any) -> bool:
        """Whether JSON holds the value itself, so that nothing needs a comparison.

        Most steps return something like this, and it halves what encoding costs.
        """
        kind = value.__class__
        if not self._is_default or not (kind is type or is_untyped(type)):
            return False
        if kind is int:
            return bool(-(2**63) <= value < 2**63)
        return kind in _SIMPLE or (
            kind is str and len(value) < 1000 and value.isascii()
        )

    def _write(self, value: Any, type: Any, kind: Kind, where: str) -> str:
        try:
            text: object = self._serializer.encode(value, type)
        except UnserializableValue as error:
            raise self._refusal(error.violation, value, type, kind, where) from None
        except SerializationError as error:
            refused = self._refusal(error.message, value, type, kind, where)
            refused.field = refused.field or error.field
            raise refused from None
        except Exception as error:  # noqa: BLE001  # a user's serializer
            raise SerializationError(
                f"{where}: the serializer raised {origin(error)}"
            ) from None
        if not isinstance(text, str):
            raise SerializationError(
                f"{where}: the serializer returned {with_article(text)} instead of "
                "JSON text"
            )
        violation = find_text_violation(text, depth=self.limits.depth)
        if violation is not None:
            raise self._refusal(violation, value, type, kind, where)
        if is_sealed(text):
            raise SerializationError(
                f'{where}: an object with "{CODEC_KEY}" as its only key is reserved: '
                "add another key or rename it"
            )
        if not isinstance(self._serializer, JSONSerializer):
            _check_json(text, where)
        return text

    def _read(self, text: str, type: Any) -> Any:
        violation = find_text_violation(text)
        if violation is not None:
            raise SerializationError(violation)
        return self._parse(text, type)

    def _parse(self, text: str, type: Any) -> Any:
        try:
            return self._serializer.decode(text, type)
        except SerializationError:
            raise
        except Exception as error:  # noqa: BLE001  # a user's serializer
            raise SerializationError(f"the serializer raised {origin(error)}") from None

    def _refusal(
        self,
        problem: ValueViolation | str,
        value: Any,
        type: Any,
        kind: Kind,
        where: str,
    ) -> SerializationError:
        """The error for a value that JSON does not hold, as exact as can be found."""
        violation = find_unwritable(value)
        if violation is None and is_untyped(type):
            violation = find_violation(value, depth=self.limits.depth)
        text = f"{where}: {violation or problem}"
        if violation is not None and violation.needs_type:
            text = f"{text}. Without a type only plain JSON is kept: {_ANNOTATE[kind]}"
        elif (
            violation is None
            and isinstance(problem, ValueViolation)
            and not (problem.says_how or is_untyped(type))
            # Its own class has been named: there is nothing more exact.
            and type is not value.__class__
        ):
            text = f"{text}. The way out: {_CORRECT[kind]}"
        place = violation or problem
        return SerializationError(text, field=getattr(place, "path", None))

    def _lost(self, value: Any, decoded: Any, type: Any) -> ValueViolation | None:
        """What is not the same although it may be equal."""
        if not self._is_default:
            return find_lost_zone(value, decoded)
        if is_untyped(type):
            return None
        adapter, lost = adapter_for(type), None
        if may_hold_times(adapter):
            lost = find_lost_zone(value, decoded)
        if lost is None and has_uncompared_fields(adapter):
            lost = find_lost_field(value, decoded)
        return lost

    def _seal_text(self, text: str) -> str:
        try:
            return self._envelope.seal(to_json(text).decode(), "the error")
        except SerializationError as error:
            return f"[not recorded: {error.message}]"

    def _open_text(self, stored: str) -> str:
        try:
            text = self._envelope.open(stored, "the error")
            return stored if text is stored else str(from_json(text))
        except (SerializationError, ValueError) as error:
            return f"[not readable: {error}]"


def _misread(
    value: Any, type: Any, kind: Kind, error: SerializationError
) -> ValueViolation:
    """Why the type does not read what was written of the value."""
    name = _name(type)
    if value is None and kind != "event":
        return ValueViolation("$", f"is None and no {name} (is a `return` missing?)")
    what = with_article(value)
    text = f"is {what}, which would not come back as {name}: {error.message}"
    if "['[key]']" in text:
        text += ". Keys are text in JSON: make it a list of pairs"
        return ValueViolation("$", text, says_how=True)
    return ValueViolation("$", text)


def _check_methods(name: str, value: object) -> None:
    if isinstance(value, type):
        raise ConfigurationError(
            f"{name}={value.__name__} is a class: pass an instance of it"
        )
    for method in ("encode", "decode"):
        if not callable(getattr(value, method, None)):
            raise ConfigurationError(
                f"{name}={short(type(value))} needs a method {method}()"
            )


def _check_json(text: str, where: str) -> None:
    try:
        from_json(text, allow_inf_nan=False)
    except ValueError as error:
        raise SerializationError(
            f"{where}: the serializer returned text that is not JSON ({error})"
        ) from None


def _name(type: Any) -> str:
    return "plain JSON" if is_untyped(type) else type_name(type)
