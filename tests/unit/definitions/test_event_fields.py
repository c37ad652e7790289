"""Fields that an event does not have: refused where they are written."""

from __future__ import annotations

import dataclasses
from typing import Any, TypedDict

import pydantic.dataclasses
import pytest
from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    RootModel,
    TypeAdapter,
    ValidationError,
    computed_field,
    model_validator,
)

from worchflow import Event, EventValidationError
from worchflow.definitions.event_fields import (
    has_no_other_keys,
    refuse_unknown_keys,
    required_keys,
)
from worchflow.serialization.payloads import Payloads


class Pay(Event[str], name="pay"):
    amount: int = 1
    customer: str = "guest"


class Aliased(Event[str], name="aliased"):
    amount: int = Field(1, validation_alias=AliasChoices("amount_cents", "cents"))


class ByEither(Aliased, name="by-either"):
    model_config = ConfigDict(validate_by_name=True)


class Open(Event[str], name="open", extra="ignore"):
    amount: int = 1


class Loose(Event[str], name="loose"):
    model_config = ConfigDict(extra="allow")


class Renamed(Event[str], name="renamed"):
    amount: int = 1

    @model_validator(mode="before")
    @classmethod
    def old_name(cls, data: Any) -> Any:
        return {"amount": data.get("sum", 1)}


class Fields(TypedDict, total=False):
    amount: int


@dataclasses.dataclass
class Refund:
    amount: int = 1


class Model(BaseModel):
    amount: int = 1


class OpenModel(BaseModel, extra="ignore"):
    amount: int = 1


def test_a_field_that_the_event_does_not_have_is_refused_with_the_nearest() -> None:
    with pytest.raises(ValidationError) as caught:
        Pay(amuont=5, custmer="ada")  # type: ignore[call-arg]

    first, second = caught.value.errors()
    assert first["loc"] == ("amuont",)
    assert first["msg"] == (
        'Pay has no field "amuont", did you mean "amount"? it takes: amount, customer'
    )
    assert 'did you mean "customer"?' in second["msg"]


def test_the_names_that_pydantic_takes_are_taken() -> None:
    assert Aliased(amount_cents=5).amount == 5  # type: ignore[call-arg]
    assert ByEither(cents=6).amount == 6  # type: ignore[call-arg]
    assert ByEither(amount=7).amount == 7  # type: ignore[call-arg]
    with pytest.raises(ValidationError, match="it takes: amount_cents, cents"):
        Aliased(amount=5)


@pytest.mark.parametrize("kind", [Open, Loose, Renamed])
def test_a_class_that_says_what_extra_fields_mean_decides(kind: Any) -> None:
    assert getattr(kind(sum=5), "amount", None) != 0
    refuse_unknown_keys("some", kind, {"sum": 5})


def test_a_validator_of_the_raw_input_still_sees_it() -> None:
    assert Renamed(sum=5).amount == 5  # type: ignore[call-arg]


@pytest.mark.parametrize(
    "data_type", [Pay, Model, Refund, Fields, Pay | None, Model | Refund]
)
def test_keys_of_a_mapping_are_refused_alike(data_type: Any) -> None:
    refuse_unknown_keys("pay", data_type, {"amount": 5})
    with pytest.raises(EventValidationError) as caught:
        refuse_unknown_keys("pay", data_type, {"amuont": 5})

    assert 'the event "pay" has no field "amuont", did you mean "amount"?' in str(
        caught.value
    )


@pytest.mark.parametrize(
    "data_type", [OpenModel, dict[str, int], Any, int, Pay | dict[str, int]]
)
def test_a_type_that_takes_any_key_refuses_none(data_type: Any) -> None:
    refuse_unknown_keys("pay", data_type, {"amuont": 5})


class Total(BaseModel):
    parts: list[int]

    @computed_field
    def sum(self) -> int:
        return sum(self.parts)


@pytest.mark.parametrize(
    ("data_type", "has_none"),
    [
        (Model, True),
        (Fields, True),
        (Total, False),
        (Model | Total, False),
        (OpenModel, False),
        (dict[str, int], False),
        (int, False),
    ],
)
def test_a_type_that_writes_more_than_its_fields_may_be_written_with_more(
    data_type: Any, has_none: bool
) -> None:
    assert has_no_other_keys(data_type) is has_none


class Greet(Event[str], name="greet"):
    user_id: int = Field(alias="userId")


class GreetByName(Greet, name="greet-by-name", populate_by_name=True):
    pass


@pydantic.dataclasses.dataclass
class Greeting:
    user_id: int = Field(alias="userId")
    greeted: bool = Field(default=False, init=False)


def test_a_field_that_nobody_can_give_is_none_of_a_mapping() -> None:
    with pytest.raises(EventValidationError, match=r"it takes: user_id$"):
        refuse_unknown_keys("greet", Greeting, {"greeted": True})


@pytest.mark.parametrize("data_type", [Greet, GreetByName, Greeting, Greet | None])
def test_a_mapping_has_the_names_of_fields_and_is_told_so_of_an_alias(
    data_type: Any,
) -> None:
    refuse_unknown_keys("greet", data_type, {"user_id": 5})
    with pytest.raises(EventValidationError) as caught:
        refuse_unknown_keys("greet", data_type, {"userId": 5})

    assert caught.value.message == (
        '"userId" is the alias of the field "user_id" of the event "greet": in a '
        "mapping write the field's name"
    )


def test_what_is_decoded_may_have_more() -> None:
    stored = '{"amount": 5, "colour": "red"}'

    assert Payloads().decode(stored, Pay, where="the data") == Pay(amount=5)
    assert TypeAdapter(Pay).validate_json(stored) == Pay(amount=5)


@dataclasses.dataclass
class Order:
    number: int
    amount: int = 1


class Closed(BaseModel, extra="forbid"):
    amount: int


@pytest.mark.parametrize(
    ("data_type", "required"),
    [
        *((Pay, []), (Fields, []), (Order, ["number"]), (Closed, ["amount"])),
        *((Greet, ["user_id"]), (Greeting, ["user_id"])),
        *((int, None), (Any, None), (None, None), (Pay | None, None)),
        (RootModel[int], None),
    ],
)
def test_required_keys_are_those_without_a_default(
    data_type: Any, required: list[str] | None
) -> None:
    assert required_keys(data_type) == required
