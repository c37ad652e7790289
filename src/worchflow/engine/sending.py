"""From a message to accepted executions: the one path for everybody who sends."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypedDict

from ..definitions.correlation_key import key_of, key_text
from ..definitions.event_fields import fields_made_anew, refuse_unknown_keys
from ..definitions.messages import message_parts
from ..foundations.durations import to_seconds, to_utc
from ..foundations.errors import (
    ConfigurationError,
    EventValidationError,
    ExecutionConflict,
    SerializationError,
    StoreUnavailable,
)
from ..foundations.ids import new_execution_id, new_nonce
from ..foundations.limits import check_headers, check_id, check_tags
from ..foundations.suggestions import refuse_unknown
from ..foundations.types import value
from ..model.records import NewExecution
from .served_events import ServedEvents

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime
    from typing import Unpack

    from ..definitions.correlation_key import Keys, KeySource
    from ..definitions.event_schema import EventSchema
    from ..definitions.function import AnyFunction
    from ..definitions.messages import MessageParts
    from ..foundations.types import Duration, Payload
    from ..serialization.payloads import Payloads
    from ..storage.contract.backend import Backend
    from ..storage.contract.executions import Inserted

logger = logging.getLogger("worchflow.client")

MAX_BATCH = 1000
"""Executions per insert; more in one round trip gains nothing measurable."""


class SharedSendOptions(TypedDict, total=False):
    """How messages are sent, one or many."""

    headers: Mapping[str, str] | None
    """Text by name, carried to the context and to whatever the execution sends: at
    most 32, together at most 4 KiB. Not encoded by a codec: no place for secrets."""
    tags: Sequence[str] | None
    """Names that a listing can filter by, at most ten. Not encoded by a codec."""


class SendOptions(SharedSendOptions, total=False):
    """How a single message is sent."""

    id: str | None
    """The id of the execution; a new one without it."""
    delay: Duration | None
    """How long it waits before it may start."""
    at: datetime | None
    """When it may start; an aware datetime."""


CURRENT_HEADERS: ContextVar[Mapping[str, str]] = ContextVar(
    "worchflow_current_headers", default=MappingProxyType({})
)
"""Headers of the execution whose code runs in this task or thread."""


@value
class Prepared:
    """A message that was validated and encoded, ready to insert."""

    execution: NewExecution
    data_type: Any
    result_type: Any
    data: object = field(default=None, repr=False)
    """What was encoded, as a value of its type."""


@value
class EncodedMessage:
    """A message whose data was checked and encoded."""

    parts: MessageParts
    payload: Payload
    data: object = field(default=None, repr=False)
    """What was encoded, as a value of its type."""

    @property
    def name(self) -> str:
        """The event's name."""
        return self.parts.name

    @property
    def data_type(self) -> Any:
        """The type of the event's data."""
        return self.parts.data_type


@value
class Accepted:
    """An accepted message; `duplicate` when its execution existed before."""

    id: str
    duplicate: bool
    result_type: Any


@dataclass(frozen=True, kw_only=True)
class Sender:
    """Validates, encodes and inserts messages."""

    store: Backend
    payloads: Payloads
    schema: EventSchema | None = None
    data_types: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The data type of each event this process has a function for."""
    event_keys: Mapping[str, KeySource] = field(default_factory=dict[str, Any])
    """What the correlation key is of each event this process has a function for."""
    served: ServedEvents = field(default_factory=ServedEvents, init=False)

    @classmethod
    def of(
        cls,
        store: Backend,
        payloads: Payloads,
        functions: Iterable[AnyFunction],
        schema: EventSchema | None = None,
    ) -> Sender:
        """One that knows the events of some functions."""
        known = tuple(functions)
        return cls(
            store=store,
            payloads=payloads,
            schema=schema,
            data_types={each.event_name: each.data_type for each in known},
            event_keys={
                each.event_name: each.event_key
                for each in known
                if each.event_key is not None
            },
        )

    def new_id(self) -> str:
        """An id for an execution."""
        return new_execution_id(self.store.options.runtime)

    def prepare(self, message: Any, **options: Unpack[SendOptions]) -> Prepared:
        """Everything that can be refused is refused here, before any I/O."""
        refuse_unknown(options, SendOptions.__optional_keys__, "sending")
        own_id = options.get("id")
        delay, at = options.get("delay"), options.get("at")
        if delay is not None and at is not None:
            raise ConfigurationError(
                f"delay={delay!r} and at={at!r} were both given: say when once"
            )
        runtime, tags = self.store.options.runtime, options.get("tags")
        encoded = self.encode(message)
        execution = NewExecution(
            id=new_execution_id(runtime) if own_id is None else check_id(own_id),
            event_name=encoded.name,
            event_data=encoded.payload,
            nonce=new_nonce(runtime),
            created_at=runtime.now(),
            delay=None if delay is None else to_seconds(delay, "delay"),
            run_at=None if at is None else to_utc(at, "at"),
            headers=self._headers(options),
            tags=check_tags(tags) if tags else (),
            event_key=self.key_of(encoded, None),
        )
        return Prepared(
            execution=execution,
            data_type=encoded.data_type,
            result_type=encoded.parts.result_type,
            data=encoded.data,
        )

    def encode(self, message: Any) -> EncodedMessage:
        """The data of a message as text, and what is known of it."""
        parts = message_parts(message)
        mapping = isinstance(message, Mapping)
        if mapping:
            parts = self._typed(parts)
        payload, data = self._encode(parts, checked=not mapping)
        return EncodedMessage(parts, payload, data)

    def key_of(self, encoded: EncodedMessage, given: Keys | None) -> str | None:
        """The correlation key of a message: the one given, or that of its data."""
        parts = encoded.parts
        given = parts.given_key if given is None else given
        source = parts.key or self.event_keys.get(parts.name)
        own = None if source is None else key_of(source, encoded.data, parts.name)
        if given is None:
            return own
        if own is not None and key_text(given) != own:
            raise EventValidationError(
                f'key={given!r} is not the key of this event "{parts.name}", which is '
                f"{own!r}: leave it out",
                field="key",
            )
        return key_text(given)

    @staticmethod
    def _headers(options: SendOptions) -> Mapping[str, str]:
        """Those of the execution that sends, if one does, and those given."""
        given, inherited = options.get("headers"), CURRENT_HEADERS.get()
        if not given:
            return inherited
        return check_headers({**inherited, **check_headers(given)})

    async def insert(
        self, prepared: Sequence[Prepared], *, first_counts: bool = False
    ) -> list[Accepted]:
        """Insert in batches; one outcome each, in order.

        `ExecutionConflict` names the first id that belongs to something else, after
        everything else was accepted; with `first_counts` what was accepted first under
        an id of this queue prefix is what is meant. `StoreUnavailable` tells which ids
        are accepted and which unknown.
        """
        accepted: list[Accepted] = []
        conflict: ExecutionConflict | None = None
        known = self.data_types
        for start in range(0, len(prepared), MAX_BATCH):
            batch = prepared[start : start + MAX_BATCH]
            try:
                outcomes = await self.store.executions.insert(
                    [one.execution for one in batch]
                )
            except StoreUnavailable as error:
                error.accepted = tuple(one.id for one in accepted)
                error.unknown = tuple(one.execution.id for one in batch)
                if len(prepared) == 1:
                    error.execution_id = prepared[0].execution.id
                raise
            await self._publish(batch, outcomes)
            for one, outcome in zip(batch, outcomes, strict=True):
                if outcome.is_foreign or (
                    not first_counts and self._conflicts(one, outcome)
                ):
                    conflict = conflict or _conflict(one, outcome)
                    continue
                if self.schema is None and one.execution.event_name not in known:
                    # A name that nothing here vouches for may be a typing mistake.
                    self.served.sent(self.store, one.execution.event_name)
                accepted.append(
                    Accepted(
                        id=one.execution.id,
                        duplicate=outcome.existing is not None,
                        result_type=one.result_type,
                    )
                )
        if conflict is not None:
            conflict.accepted = tuple(one.id for one in accepted)
            raise conflict
        return accepted

    async def _publish(
        self, batch: Sequence[Prepared], outcomes: Sequence[Inserted]
    ) -> None:
        """Tell those who wait for the events that were accepted now."""
        events = [
            one.execution
            for one, outcome in zip(batch, outcomes, strict=True)
            if one.execution.event_key is not None
            and outcome.existing is None
            and not outcome.is_foreign
        ]
        if events:
            try:
                await self.store.events.publish(events)
            except StoreUnavailable as error:
                logger.debug("those who wait are told by a sweep: %s", error)

    def _conflicts(self, prepared: Prepared, outcome: Inserted) -> bool:
        existing, new = outcome.existing, prepared.execution
        if existing is None:
            return False
        if existing.event_name != new.event_name:
            return True
        data, before = prepared.data, existing.event_data
        return not self.is_same(before, new.event_data, data, prepared.data_type)

    def is_same(
        self, before: Payload, new: Payload, data: object, data_type: Any
    ) -> bool:
        """Whether what was sent before is equal data; what nobody gave does not count.

        `data` is the new data as a value.
        """
        if self.payloads.same_data(before, new, data_type):
            return True
        made_anew = fields_made_anew(data)
        if not made_anew:
            return False
        given = self._as_given(new, before, made_anew)
        return self.payloads.same_data(before, given, data_type)

    def _as_given(
        self, new: Payload, existing: Payload, made_anew: list[str]
    ) -> Payload:
        """The new data with what nobody gave as the existing data has it."""
        where = "the event data to compare"
        data, before = (
            self.payloads.decode(each, Any, where=where) for each in (new, existing)
        )
        if not isinstance(before, dict):
            return new
        for name in made_anew:
            data.pop(name, None)
        data |= {name: before[name] for name in made_anew if name in before}
        payload, _ = self.payloads.encode(data, Any, kind="event", where=where)
        return payload

    def _encode(self, parts: MessageParts, *, checked: bool) -> tuple[Payload, object]:
        """The data as text, and as a value of its type, which a mapping becomes."""
        where = f'the data of event "{parts.name}"'
        data = parts.data
        try:
            if not checked and parts.data_type is not Any:
                refuse_unknown_keys(parts.name, parts.data_type, data)
                plain, _ = self.payloads.encode(data, Any, kind="event", where=where)
                data = self.payloads.decode(plain, parts.data_type, where=where)
            payload, _ = self.payloads.encode(
                data, parts.data_type, kind="event", where=where
            )
        except SerializationError as error:
            raise EventValidationError(str(error), field="data") from error.__cause__
        return payload, data

    def _typed(self, parts: MessageParts) -> MessageParts:
        """A mapping says no type: the schema does, or the function of its event."""
        if self.schema is not None:
            return parts._replace(data_type=self.schema.data_type(parts.name))
        return parts._replace(data_type=self.data_types.get(parts.name, Any))


def _conflict(prepared: Prepared, outcome: Inserted) -> ExecutionConflict:
    if outcome.is_foreign:
        return ExecutionConflict(
            f'id="{prepared.execution.id}" belongs to an execution of another queue '
            "prefix in this database: ids are unique per database, use another",
            execution_id=prepared.execution.id,
        )
    existing = outcome.existing
    what = "other data"
    if existing is not None and existing.event_name != prepared.execution.event_name:
        what = f'the event "{existing.event_name}"'
    return ExecutionConflict(
        f'id="{prepared.execution.id}" belongs to an execution with {what}: an id '
        "names one piece of work. Use another id, or the same event with equal data "
        "to get the existing execution",
        execution_id=prepared.execution.id,
    )
