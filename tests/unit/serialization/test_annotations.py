"""What a callable says it returns, however it is dressed."""

from __future__ import annotations

import asyncio
import functools
import gc
import operator
import typing
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from typing import Annotated, Any, Optional, ParamSpec, Self, TypeVar, overload
from unittest.mock import AsyncMock, MagicMock, patch

import pytest
from pydantic import BaseModel

from worchflow.foundations.errors import SerializationError
from worchflow.serialization.annotations import MISSING, return_type

if typing.TYPE_CHECKING:
    from decimal import Decimal as OnlyForCheckers

T = TypeVar("T")
P = ParamSpec("P")
NoneType = type(None)


class Receipt(BaseModel):
    total: int


def plain() -> int:
    return 1


async def asynchronous() -> Receipt:
    return Receipt(total=1)


def nothing() -> None: ...


def containers() -> dict[str, list[Receipt]]:
    return {}


def annotated() -> Annotated[int, ["unhashable"]]:
    return 1


def coroutine() -> Coroutine[Any, Any, Receipt]:
    return asynchronous()


def awaitable() -> Awaitable[list[Receipt]]:
    raise NotImplementedError


def old_style() -> typing.Awaitable[int]:
    raise NotImplementedError


def task() -> asyncio.Task[int]:
    raise NotImplementedError


def bare_awaitable() -> Awaitable:  # type: ignore[type-arg]
    raise NotImplementedError


def either() -> int | Awaitable[int]:
    return 1


def either_or_none() -> Optional[Awaitable[Receipt]]:  # noqa: UP045
    return None


def anything() -> Any: ...


def unannotated(x):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    return x


def generic(x: T) -> T:
    return x


def maybe_generic(x: T) -> T | None:
    return x


@overload
def overloaded(x: int) -> int: ...
@overload
def overloaded(x: str) -> str: ...
def overloaded(x: int | str) -> int | str:
    return x


def unresolvable_argument(x: OnlyForCheckers) -> int:
    return 1


def unresolvable() -> OnlyForCheckers:
    raise NotImplementedError


def unresolvable_inside() -> list[OnlyForCheckers]:
    raise NotImplementedError


def keeping(function: Callable[P, T]) -> Callable[P, T]:
    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        return function(*args, **kwargs)

    return wrapper


def hiding(function: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(*args, **kwargs):  # type: ignore[no-untyped-def]  # noqa: ANN002, ANN003, ANN202
        return function(*args, **kwargs)

    return wrapper


def turning_into_text(function: Callable[..., Any]) -> Callable[..., str]:
    @functools.wraps(function, assigned=())
    def wrapper(*args: Any, **kwargs: Any) -> str:
        return str(function(*args, **kwargs))

    return wrapper


class Service:
    async def method(self) -> Receipt:
        return Receipt(total=1)

    @classmethod
    def make(cls) -> Self:
        return cls()

    @classmethod
    def count(cls) -> int:
        return 1

    @staticmethod
    def static() -> list[int]:
        return []

    def myself(self) -> Self:
        return self

    @keeping
    def wrapped(self) -> set[int]:
        return set()


class SubService(Service):
    pass


class Callee:
    def __call__(self) -> Receipt:
        return Receipt(total=1)


class CachedCallee:
    @functools.cache  # noqa: B019
    def __call__(self) -> Receipt:
        return Receipt(total=1)


class Slotted:
    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return False

    __hash__ = None  # type: ignore[assignment]

    def __call__(self) -> list[int]:
        return []


class Fluent:
    def __call__(self) -> Self:
        return self


def local() -> tuple[Callable[..., Any], ...]:
    class Local(BaseModel):
        x: int

    def with_closure() -> Local:
        return Local(x=1)

    def without_closure() -> Local:
        raise NotImplementedError

    return with_closure, without_closure, Local


def evaluated(annotation: Any) -> Callable[[], Any]:
    """A function of a module without `from __future__ import annotations`."""

    def function() -> Any: ...

    function.__annotations__["return"] = annotation
    return function


cyclic = hiding(plain)
cyclic.__wrapped__ = cyclic  # type: ignore[attr-defined]
cyclic_and_annotated = evaluated("Receipt")
cyclic_and_annotated.__wrapped__ = cyclic_and_annotated  # type: ignore[attr-defined]

FOUND: list[tuple[Any, Any]] = [
    (plain, int),
    (asynchronous, Receipt),
    (nothing, NoneType),
    (evaluated(None), NoneType),
    (evaluated(Receipt), Receipt),
    (evaluated("Receipt"), Receipt),
    (evaluated(list["Receipt"]), list[Receipt]),
    (evaluated(Awaitable["Receipt"]), Receipt),
    (containers, dict[str, list[Receipt]]),
    (annotated, Annotated[int, ["unhashable"]]),
    (coroutine, Receipt),
    (awaitable, list[Receipt]),
    (old_style, int),
    (task, int),
    (evaluated(asyncio.Future[str]), str),
    (either, int),
    (either_or_none, Receipt | None),
    (anything, Any),
    (overloaded, int | str),
    (unresolvable_argument, int),
    (Receipt, Receipt),
    (int, int),
    (list[int], list[int]),
    (functools.partial(plain), int),
    (functools.partial(functools.partial(asynchronous)), Receipt),
    (functools.partial(Receipt, total=1), Receipt),
    (functools.update_wrapper(functools.partial(plain), plain), int),
    (functools.partial(Service().method), Receipt),
    (keeping(asynchronous), Receipt),
    (keeping(keeping(containers)), dict[str, list[Receipt]]),
    (cyclic_and_annotated, Receipt),
    # This decorator lives in a module that knows nothing of Receipt.
    (patch.dict({})(containers), dict[str, list[Receipt]]),
    (turning_into_text(plain), str),
    (functools.cache(containers), dict[str, list[Receipt]]),
    (functools.singledispatch(plain), int),
    (Service().method, Receipt),
    (Service.method, Receipt),
    (Service.count, int),
    (Service().static, list[int]),
    (staticmethod(plain), int),
    (Service().wrapped, set[int]),
    (Service.make, Service),
    (SubService.make, SubService),
    (SubService().make, SubService),
    (Service().myself, Service),
    (SubService().myself, SubService),
    (functools.partial(SubService().myself), SubService),
    (Fluent(), Fluent),
    (Callee(), Receipt),
    (Callee().__call__, Receipt),
    (CachedCallee(), Receipt),
    (Slotted(), list[int]),
]


@pytest.mark.parametrize(("function", "expected"), FOUND)
def test_the_return_type_is_found(function: Any, expected: Any) -> None:
    for _ in range(2):  # the second time from the cache
        assert return_type(function) == expected


SILENT: list[Any] = [
    unannotated,
    generic,
    maybe_generic,
    bare_awaitable,
    evaluated(asyncio.Future),
    lambda: 1,
    len,
    [].append,
    operator.itemgetter(1),
    hiding(plain),
    functools.partial(unannotated, 1),
    keeping(functools.partial(plain)),
    Service.myself,
    MagicMock(),
    AsyncMock(),
    cyclic,
    object(),
]


@pytest.mark.parametrize("function", SILENT)
def test_a_callable_that_does_not_say_it_is_reported_as_missing(function: Any) -> None:
    assert return_type(function) is MISSING


def test_text_is_resolved_in_the_closure_of_a_local_function() -> None:
    with_closure, _, expected = local()
    again, _, other = local()

    assert return_type(with_closure) is expected
    assert return_type(again) is other


@pytest.mark.parametrize(
    "function",
    [
        unresolvable,
        unresolvable_inside,
        evaluated("this is not a type"),
        keeping(unresolvable),
        functools.partial(unresolvable),
        local()[1],
        evaluated("Receipt["),
    ],
)
def test_text_that_cannot_be_resolved_names_the_function_and_the_way_out(
    function: Any,
) -> None:
    with pytest.raises(SerializationError, match=r"test_annotations\.\w+.*as_type="):
        return_type(function)


def test_functions_are_not_kept_alive() -> None:
    def make() -> tuple[Callable[..., Any], ...]:
        class Local:
            def again(self) -> list[Local]:
                return [self, Local()]

        def function() -> list[int]:
            return []

        return Local.again, Local().again, function

    made = make()
    for function in made:
        return_type(function)
    watched = [weakref.ref(made[0]), weakref.ref(made[2])]
    del made, function
    gc.collect()

    assert [ref() for ref in watched] == [None, None]
