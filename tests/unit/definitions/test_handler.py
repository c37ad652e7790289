"""Handlers: what a signature says, however it is dressed, and what is refused."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from typing import TYPE_CHECKING, Annotated, Any, Protocol, TypedDict

import pytest
from pydantic import BaseModel
from typing_extensions import TypeAliasType

from worchflow.definitions.context import BaseContext, Context, SyncContext
from worchflow.definitions.events import Event, event
from worchflow.definitions.function import create_function, function, make_binder
from worchflow.foundations.errors import ConfigurationError

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
        (Receipt, "test_handler.Receipt is not a handler"),
        (3, "an object of type int is not a handler"),
        (None, "an object of type NoneType is not a handler"),
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
