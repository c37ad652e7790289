"""Functions: events, options and handlers put together, or refused."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from typing import TYPE_CHECKING, Annotated, Any, Protocol, TypedDict

import pytest
from pydantic import BaseModel
from typing_extensions import TypeAliasType

from worchflow.definitions.context import BaseContext, Context, SyncContext
from worchflow.definitions.events import Event, EventRef, event, message_parts
from worchflow.definitions.function import (
    WorchflowFunction,
    create_function,
    event_of,
    function,
    make_binder,
)
from worchflow.definitions.registry import FunctionRegistry
from worchflow.definitions.retry import Retry
from worchflow.foundations.errors import ConfigurationError, EventValidationError

if TYPE_CHECKING:
    from somewhere import Hidden  # type: ignore[import-not-found]


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
MailContext = Context[MailData]
MailAlias = TypeAliasType("MailAlias", Context[MailData])


async def pay(ctx: Context[Pay]) -> Receipt:
    return Receipt(txn="x")


def pay_sync(ctx: SyncContext[Pay]) -> Receipt:
    return Receipt(txn="x")


class Service:
    async def handle(self, ctx: Context[Pay]) -> Receipt:
        return Receipt(txn="x")

    def handle_sync(self, ctx: SyncContext[Pay]) -> Receipt:
        return Receipt(txn="x")

    async def __call__(self, ctx: Context[Pay]) -> Receipt:
        return Receipt(txn="x")


def test_an_event_class_gives_name_data_type_and_result_type() -> None:
    made = function(Pay)(pay)
    assert (made.id, made.event_name) == ("pay", "pay")
    assert (made.data_type, made.result_type) == (Pay, Receipt)
    assert made.handler is pay
    assert made.is_async
    assert (made.retry, made.timeout) == (Retry(), None)
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


async def of_alias(ctx: MailContext) -> Any: ...
async def of_type_alias(ctx: MailAlias) -> Any: ...
async def of_annotated(ctx: Annotated[Context[MailData], "mail"]) -> Any: ...
async def of_annotated_data(ctx: Context[Annotated[int, "n"]]) -> Any: ...
async def of_none(ctx: Context[None]) -> Any: ...
async def of_any(ctx: Context[Any]) -> Any: ...
async def of_bare(ctx: Context) -> Any: ...  # type: ignore[type-arg]
async def of_no_context(ctx: Any) -> Any: ...
async def of_base(ctx: BaseContext[int]) -> Any: ...
async def of_object(ctx: object) -> Any: ...
async def of_more(ctx: Context[int], more: str = "") -> Any: ...
async def of_all(*contexts: Context[int]) -> Any: ...
async def of_either(ctx: Context[int] | SyncContext[int]) -> Any: ...


class OwnContext(Context[int]): ...


async def of_own_context(ctx: OwnContext) -> Any: ...


@pytest.mark.parametrize(
    ("handler", "data_type"),
    [
        (untyped, Any),
        (of_alias, MailData),
        (of_type_alias, MailData),
        (of_annotated, MailData),
        (of_annotated_data, Annotated[int, "n"]),
        (of_none, type(None)),
        (of_any, Any),
        (of_bare, Any),
        (of_no_context, Any),
        (of_base, Any),
        (of_object, Any),
        (of_more, int),
        (of_all, int),
        (of_either, Any),
        (of_own_context, Any),
        (print, Any),
    ],
)
def test_the_data_type_is_what_the_context_names(handler: Any, data_type: Any) -> None:
    assert create_function("named", handler).data_type == data_type


def returns_coroutine(ctx: Context[int]) -> Coroutine[Any, Any, Receipt]:
    raise NotImplementedError


def returns_awaitable(ctx: Context[int]) -> Awaitable[Receipt]:
    raise NotImplementedError


def returns_any_coroutine(ctx: Context[int]) -> Coroutine:  # type: ignore[type-arg]
    raise NotImplementedError


def test_a_handler_that_returns_a_coroutine_of_anything_has_any_result() -> None:
    made = create_function("named", returns_any_coroutine)
    assert made.is_async
    assert made.result_type is Any


def test_a_handler_without_annotations_has_any_result() -> None:
    assert create_function("named", untyped).result_type is Any


@pytest.mark.parametrize("handler", [returns_coroutine, returns_awaitable])
def test_a_handler_that_returns_an_awaitable_is_async(handler: Any) -> None:
    made = create_function("named", handler)
    assert made.is_async
    assert made.result_type is Receipt


def wrapping(handler: Callable[[Any], Any]) -> Callable[[Any], Any]:
    @functools.wraps(handler)
    def wrapper(*args: Any) -> Any:
        return handler(*args)

    return wrapper


def awaiting(handler: Callable[[Any], Any]) -> Callable[[Any], Any]:
    @functools.wraps(handler)
    async def wrapper(*args: Any) -> Any:
        return await handler(*args)

    return wrapper


async def with_more(prefix: str, ctx: Context[Pay], *, loud: bool) -> Receipt:
    return Receipt(txn=prefix)


@pytest.mark.parametrize(
    ("handler", "is_async"),
    [
        (pay, True),
        (pay_sync, False),
        (Service().handle, True),
        (Service().handle_sync, False),
        (Service(), True),
        (wrapping(pay), True),
        (wrapping(pay_sync), False),
        (awaiting(pay), True),
        (awaiting(lambda ctx: None), True),
        (functools.partial(with_more, "x", loud=True), True),
        (functools.partial(wrapping(Service().handle)), True),
        (lambda ctx: None, False),
    ],
)
def test_what_a_handler_is_wrapped_in_does_not_hide_it(
    handler: Any, is_async: bool
) -> None:
    made = create_function(Pay, handler)
    assert made.is_async is is_async
    assert made.handler is handler


def test_annotations_of_local_classes_are_found() -> None:
    class MailData(BaseModel):
        x: int

    class Answer(BaseModel): ...

    @function("local")
    async def handle(ctx: Context[MailData]) -> Answer:
        return Answer()

    assert (handle.data_type, handle.result_type) == (MailData, Answer)


def make_handler() -> Callable[[Any], Any]:
    class Inner(BaseModel): ...

    async def handle(ctx: Context[Inner]) -> type[BaseModel]:
        return Inner

    return handle


def test_annotations_are_found_in_what_a_handler_closes_over() -> None:
    made = create_function("made", make_handler())
    assert made.data_type.__qualname__ == "make_handler.<locals>.Inner"


def test_names_of_the_binding_module_do_not_shadow_those_of_the_handlers() -> None:
    class Pay(BaseModel): ...

    scope: dict[str, Any] = {"Context": Context, "Pay": int}
    exec("async def handle(ctx: 'Context[Pay]') -> None: ...", scope)  # noqa: S102
    assert create_function("named", scope["handle"]).data_type is int


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


def test_annotations_that_exist_for_type_checkers_alone_matter_only_when_needed() -> (
    None
):
    async def handle(ctx: Context[Hidden]) -> Hidden:
        return None

    made = create_function(mail, handle)
    assert (made.data_type, made.result_type) == (MailData, int)
    with pytest.raises(
        ConfigurationError, match=r"parameter of .*handle cannot be read"
    ):
        create_function("named", handle)
    with pytest.raises(
        ConfigurationError, match=r"the result of .*handle cannot be rea"
    ):
        create_function(mail_any, handle)


def test_all_options_arrive_checked() -> None:
    made = create_function(
        Pay,
        pay,
        id="p",
        retries=5,
        retry_delay="2s",
        timeout="1m",
        repeat_titles="reuse",
    )
    assert made.id == "p"
    assert made.retry == Retry.of(5, "2s")
    assert made.timeout == 60.0
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
            "it takes: id, log_replays, repeat_titles, retries, retry_delay, ti",
        ),
        ({"id": ""}, "id=''"),
        ({"id": 3}, "id=3"),
        ({"retries": "2"}, "retries='2'"),
        ({"retry_delay": "soon"}, "retry_delay='soon'"),
        ({"timeout": 0}, "timeout=0"),
        ({"timeout": None}, "timeout=None"),
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


def sync_with_context(ctx: Context[Pay]) -> Receipt:
    raise NotImplementedError


async def async_with_sync_context(ctx: SyncContext[Pay]) -> Receipt:
    raise NotImplementedError


class AsyncWithSyncContext:
    async def __call__(self, ctx: SyncContext[Pay]) -> Receipt:
        raise NotImplementedError


def sync_without_result(ctx: Context[Pay]):  # type: ignore[no-untyped-def]  # noqa: ANN201
    raise NotImplementedError


def sync_with_hidden_context(ctx: Context[Hidden]) -> Hidden: ...
async def async_with_hidden_context(ctx: SyncContext[Hidden]) -> None: ...
async def generates(ctx: Context[Pay]) -> AsyncIterator[int]:
    yield 1


def generates_sync(ctx: SyncContext[Pay]) -> Iterator[int]:
    yield 1


def of_nothing() -> None: ...
def of_two(ctx: SyncContext[Pay], more: str) -> None: ...
def of_keyword(*, ctx: SyncContext[Pay]) -> None: ...
async def of_data(ctx: Pay) -> Receipt:
    raise NotImplementedError


async def of_unknown(ctx: Context[Nowhere]) -> Elsewhere:  # type: ignore[name-defined]  # noqa: F821
    raise NotImplementedError


async def returns_text(ctx: Context[Pay]) -> str:
    raise NotImplementedError


async def returns_nothing(ctx: Context[Pay]) -> None: ...


async def of_bare(ctx: Context[Bare]) -> Receipt:
    raise NotImplementedError


def of_mail(ctx: SyncContext[MailData]) -> Awaitable[bytes]:
    raise NotImplementedError


async def of_any_model(ctx: Context[BaseModel]) -> Any:
    raise NotImplementedError


async def says_nothing(ctx):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    raise NotImplementedError


def refuses(source: Any, handler: Any, reason: str) -> None:
    done: list[Any] = []
    with pytest.raises(ConfigurationError) as caught:
        make_binder(source, {}, done.append)(handler)
    assert reason in caught.value.message
    assert done == []


@pytest.mark.parametrize(
    ("handler", "reason"),
    [
        (sync_with_context, "is a plain def with a Context: make it an async def"),
        (async_with_sync_context, "is an async def with a SyncContext: annotate"),
        (AsyncWithSyncContext(), "is an async def with a SyncContext"),
        (sync_without_result, "is a plain def with a Context"),
        (sync_with_hidden_context, "is a plain def with a Context"),
        (async_with_hidden_context, "is an async def with a SyncContext"),
        (generates, "is a generator function: return the result"),
        (generates_sync, "is a generator function: return the result"),
        (wrapping(generates_sync), "is a generator function: return the result"),
        (of_nothing, "of_nothing() must take exactly one positional argument"),
        (of_two, "of_two(ctx, more) must take exactly one positional argument"),
        (of_keyword, "of_keyword(*, ctx) must take exactly one positional argument"),
        (of_data, "takes a Pay, but a handler gets a context: annotate its parameter "),
        (Receipt, "test_function.Receipt is no handler"),
        (3, "an object of type int is no handler"),
        (None, "an object of type NoneType is no handler"),
        (create_function(Pay, pay), "is a function already: bind its handler"),
    ],
)
@pytest.mark.parametrize("source", [Pay, "pay"])
def test_handlers_that_cannot_work_are_refused(
    source: Any, handler: Any, reason: Any
) -> None:
    refuses(source, handler, reason)


@pytest.mark.parametrize(
    ("source", "handler", "reason"),
    [
        (Pay, returns_text, 'returns str, but the result of the event "pay" is Receip'),
        (Pay, returns_nothing, "returns None, but the result of the event"),
        (Pay, of_bare, "takes a context of Bare: annotate its parameter as Context[Pa"),
        (Pay, of_mail, '"pay" with Pay as its data, but takes a context of MailData'),
        (mail, of_mail, 'returns bytes, but the result of the event "mail" is int'),
        (mail, pay, "takes a context of Pay: annotate its parameter as Context[MailDa"),
    ],
)
def test_a_handler_of_other_types_than_its_event_is_refused(
    source: Any, handler: Any, reason: str
) -> None:
    refuses(source, handler, reason)


@pytest.mark.parametrize(
    ("source", "handler"),
    [
        *((Pay, of_any_model), (Pay, says_nothing), (mail, says_nothing)),
        *((mail_any, of_mail), (Late, says_nothing), ("pay", of_bare)),
    ],
)
def test_a_handler_whose_types_may_fit_is_taken(source: Any, handler: Any) -> None:
    assert create_function(source, handler).handler is handler


def test_a_result_type_found_later_is_compared_then(monkeypatch: Any) -> None:
    async def late(ctx: Context[Later]) -> str:
        raise NotImplementedError

    made = create_function(Later, late)
    monkeypatch.setitem(globals(), "ComingLater", Receipt)
    with pytest.raises(ConfigurationError, match="returns str, but the result of the"):
        FunctionRegistry([made])


def test_a_data_type_that_is_nowhere_is_refused_for_a_name() -> None:
    with pytest.raises(ConfigurationError) as caught:
        create_function("named", of_unknown)
    assert "of_unknown cannot be read from 'Context[Nowhere]'" in caught.value.message
    assert create_function(Pay, of_unknown).data_type is Pay


def test_a_protocol_may_stand_for_the_context() -> None:
    class HasData(Protocol):
        @property
        def data(self) -> Any: ...

    async def handle(ctx: HasData) -> None: ...

    assert create_function("named", handle).data_type is Any


def test_a_function_made_is_handed_on() -> None:
    done: list[WorchflowFunction[Any, Any]] = []
    made = make_binder(Pay, {"id": "x"}, done.append)(pay)
    assert done == [made]


def test_calling_a_function_with_data_makes_a_message() -> None:
    made = create_function(mail, untyped)
    assert message_parts(made({"to": "x"})) == ("mail", {"to": "x"}, MailData, int)


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
