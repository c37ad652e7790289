"""Functions: events, options and handlers put together, or refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict

import pytest
from pydantic import BaseModel

from worchflow.definitions.context import Context, SyncContext
from worchflow.definitions.events import Event, EventRef, event
from worchflow.definitions.function import (
    WorchflowFunction,
    create_function,
    event_of,
    function,
    make_binder,
)
from worchflow.definitions.messages import message_parts
from worchflow.definitions.registry import FunctionRegistry
from worchflow.definitions.retry import Retry
from worchflow.foundations.errors import ConfigurationError, EventValidationError

if TYPE_CHECKING:
    pass  # type: ignore[import-not-found]


class Receipt(BaseModel):
    txn: str


class MailData(TypedDict):
    to: str


class Pay(Event[Receipt], name="pay"):
    amount: int


class Bare(Event, name="bare"):
    x: int = 0


class Late(Event["Coming"], name="late"): ...  # type: ignore[name-defined]


class Later(Event["ComingLater"], name="later"): ...  # type: ignore[name-defined]


mail = event("mail", MailData, int)
mail_any = event("mail-any", MailData)


async def pay(ctx: Context[Pay]) -> Receipt:
    return Receipt(txn="x")


def pay_sync(ctx: SyncContext[Pay]) -> Receipt:
    return Receipt(txn="x")


def test_an_event_class_gives_name_data_type_and_result_type() -> None:
    made = function(Pay)(pay)
    assert (made.id, made.event_name) == ("pay", "pay")
    assert (made.data_type, made.result_type) == (Pay, Receipt)
    assert made.handler is pay
    assert made.is_async
    assert (made.retry, made.timeout) == (Retry(), None)
    assert (made.deadline, made.start_timeout) == (None, None)
    assert made.repeat_titles == "count"


def test_a_reference_gives_name_data_type_and_result_type() -> None:
    def handle(ctx: SyncContext[MailData]) -> int:
        return 1

    made = create_function(mail, handle)
    assert (made.event_name, made.data_type, made.result_type) == (
        "mail",
        MailData,
        int,
    )
    assert not made.is_async


def test_a_function_stands_for_its_event() -> None:
    made = create_function(create_function(Pay, pay), pay_sync, id="second")
    assert (made.id, made.event_name, made.data_type) == ("second", "pay", Pay)
    assert event_of(made) == event_of(Pay) == EventRef("pay", Pay, Receipt)
    assert event_of(mail) is mail


def test_a_name_takes_its_types_from_the_handler() -> None:
    @function("nightly")
    async def nightly(ctx: Context[MailData]) -> list[Receipt]:
        return []

    assert (nightly.event_name, nightly.id) == ("nightly", "nightly")
    assert (nightly.data_type, nightly.result_type) == (MailData, list[Receipt])


@pytest.mark.parametrize("source", [Bare, mail_any])
def test_an_event_of_any_result_takes_the_handlers(source: Any) -> None:
    def handle(ctx: SyncContext[Any]) -> dict[str, int]:
        return {}

    assert create_function(source, handle).result_type == dict[str, int]


def test_the_events_result_type_counts_before_the_handlers() -> None:
    async def narrower(ctx: Context[MailData]) -> bool:
        return True

    assert create_function(mail, narrower).result_type is int


def untyped(ctx):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    return None


async def of_none(ctx: Context[None]) -> Any: ...
async def of_any(ctx: Context[Any]) -> Any: ...


def test_a_local_event_finds_its_result_type_where_its_handler_is_bound() -> None:
    class Answer(BaseModel): ...

    class Ask(Event["Answer"], name="ask"): ...

    @function(Ask)
    async def handle(ctx: Context[Ask]) -> Answer:
        return Answer()

    assert handle.result_type is Answer
    assert message_parts(Ask()).result_type is Answer


def test_a_result_type_as_text_may_be_defined_after_the_function(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def handle(ctx: Context[Late]) -> Any: ...

    made = create_function(Late, handle)
    with pytest.raises(ConfigurationError, match="Late cannot be read from 'Coming'"):
        _ = made.result_type
    monkeypatch.setitem(globals(), "Coming", Receipt)
    assert made.result_type is Receipt


def test_all_options_arrive_checked() -> None:
    made = create_function(
        Pay,
        pay,
        id="p",
        retries=5,
        retry_delay="2s",
        timeout="1m",
        deadline="1d",
        start_timeout="10m",
        repeat_titles="reuse",
    )
    assert made.id == "p"
    assert made.retry == Retry.of(5, "2s")
    assert (made.timeout, made.deadline, made.start_timeout) == (60.0, 86400.0, 600.0)
    assert made.repeat_titles == "reuse"


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (
            {"retrys": 2},
            'function "pay" has no option "retrys", did you mean "retries"?',
        ),
        (
            {"cron": "* * * * *"},
            "it takes: deadline, id, log_replays, repeat_titles, retries, retry_delay",
        ),
        ({"id": ""}, "id=''"),
        ({"id": 3}, "id=3"),
        ({"retries": "2"}, "retries='2'"),
        ({"retry_delay": "soon"}, "retry_delay='soon'"),
        ({"timeout": 0}, "timeout=0"),
        ({"timeout": None}, "timeout=None"),
        ({"deadline": 0}, "deadline=0 must be longer than nothing"),
        ({"deadline": "tomorrow"}, "deadline='tomorrow' is not a duration"),
        ({"start_timeout": 0}, "start_timeout=0 must be longer than nothing"),
        (
            {"start_timeout": "1d", "deadline": "24h"},
            "start_timeout='1d' of function \"pay\" must be shorter than its deadline",
        ),
        (
            {"repeat_titles": "never"},
            'repeat_titles=\'never\' must be "count" or "reuse"',
        ),
    ],
)
def test_wrong_options_are_refused_before_there_is_a_handler(
    options: Any, reason: Any
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        function(Pay, **options)
    assert reason in caught.value.message


class Unnamed(Event[str]): ...


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (Pay(amount=1), "name the class, Pay"),
        (Unnamed, "the event class Unnamed has no name"),
        (Receipt, 'class Receipt(Event[…], name="receipt")'),
        (pay, 'write @function(EventClass) or @function("event-name")'),
        ("", "event=''"),
        (None, "None names no event"),
    ],
)
def test_what_names_no_event_is_refused(source: Any, reason: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        function(source)
    assert reason in caught.value.message


def test_a_result_type_found_later_is_compared_then(monkeypatch: Any) -> None:
    async def late(ctx: Context[Later]) -> str:
        raise NotImplementedError

    made = create_function(Later, late)
    monkeypatch.setitem(globals(), "ComingLater", Receipt)
    with pytest.raises(ConfigurationError, match="returns str, but the result of the"):
        FunctionRegistry([made])


def test_a_function_made_is_handed_on() -> None:
    done: list[WorchflowFunction[Any, Any]] = []
    made = make_binder(Pay, {"id": "x"}, done.append)(pay)
    assert done == [made]


def test_calling_a_function_with_data_makes_a_message() -> None:
    made = create_function(mail, untyped)
    parts = message_parts(made({"to": "x"}))
    assert parts[:4] == ("mail", {"to": "x"}, MailData, int)


@pytest.mark.parametrize("handler", [of_none, of_any, untyped])
def test_a_function_without_data_is_called_without_an_argument(handler: Any) -> None:
    made = create_function("tick", handler)
    assert message_parts(made()) == message_parts(made(None))
    assert made().data is None


@pytest.mark.parametrize("data", [(), ("a", "b")])
def test_a_function_with_data_needs_one_argument(data: Any) -> None:
    with pytest.raises(EventValidationError) as caught:
        create_function(mail, untyped)(*data)
    assert f"{len(data)} were given" in caught.value.message
    assert caught.value.field == "data"


def test_functions_are_told_apart_by_identity_and_can_be_keys() -> None:
    one, two = create_function(Pay, pay), create_function(Pay, pay)
    assert one != two
    assert len({one, two, one}) == 2
    assert "pay" in repr(one)
