"""One adapter for a type, and the name that messages give the type."""

from __future__ import annotations

import typing
from typing import Annotated, Any

import pytest
from pydantic import BaseModel

from worchflow.foundations.errors import SerializationError
from worchflow.serialization.serializer import JSONSerializer
from worchflow.serialization.type_adapters import (
    MAX_CACHED_TYPES,
    adapter_for,
    type_name,
)


class Order(BaseModel):
    price: int


def test_equal_types_share_an_adapter_and_the_cache_is_bounded() -> None:
    assert adapter_for(list[int]) is adapter_for(list[int])
    assert adapter_for(Order) is adapter_for(Order)

    made = [
        adapter_for(Annotated[int, number]) for number in range(MAX_CACHED_TYPES + 10)
    ]

    assert adapter_for(Annotated[int, 0]) is not made[0]
    assert adapter_for(Annotated[int, MAX_CACHED_TYPES]) is made[MAX_CACHED_TYPES]


def test_a_type_that_becomes_complete_later_is_read_then() -> None:
    class Early(BaseModel):
        later: Finished

    with pytest.raises(SerializationError, match="Finished"):
        adapter_for(Early)

    class Finished(BaseModel):
        x: int

    Early.model_rebuild(_types_namespace={"Finished": Finished})
    value = Early(later=Finished(x=1))

    decoded = JSONSerializer().decode(JSONSerializer().encode(value, Early), Early)
    assert decoded == value


@pytest.mark.parametrize(
    ("type", "name"),
    [
        (Order, "Order"),
        (list[int], "list[int]"),
        (int | None, "int | None"),
        (typing.Optional[int], "Optional[int]"),  # noqa: UP045
        (Any, "Any"),
    ],
)
def test_types_are_named_as_users_write_them(type: Any, name: str) -> None:
    assert type_name(type) == name


def test_a_local_class_is_named_without_its_function() -> None:
    class Local:
        pass

    assert type_name(Local) == "Local"
