"""What a codec makes of a payload: kept as one JSON object, read back, or refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given

from tests.unit.serialization.codecs import Encrypting, Failing, Zipped
from tests.unit.serialization.json_values import json_values
from worchflow.foundations.errors import SerializationError, StepResultChanged
from worchflow.serialization.payloads import Payloads

WHERE = 'step "Charge card"'
SECRET = "tell-nobody"


def encode(value: Any, type: Any = Any, **options: Any) -> tuple[str, Any]:
    return Payloads(**options).encode(value, type, kind="step", where=WHERE)


@given(json_values)
def test_what_a_codec_makes_is_stored_as_one_json_object_and_read_back(
    value: Any,
) -> None:
    payloads = Payloads(codec=Zipped())

    payload, decoded = payloads.encode(value, Any, kind="step", where=WHERE)

    assert list(json.loads(payload)) == ["worchflow:codec"]
    assert decoded == value
    assert payloads.decode(payload, Any, where=WHERE) == value
    # A store may keep the object and write it out again in its own way.
    again = json.dumps(json.loads(payload), indent=1)
    assert payloads.decode(again, Any, where=WHERE) == value


def test_an_encrypted_payload_shows_nothing_of_the_value() -> None:
    payload, decoded = encode({"card": SECRET}, codec=Encrypting())

    assert SECRET not in payload
    assert decoded == {"card": SECRET}


def test_payloads_from_before_the_codec_are_still_read() -> None:
    payloads = Payloads(codec=Zipped())

    assert payloads.decode('{"a":1}', Any, where=WHERE) == {"a": 1}
    assert payloads.decode_step("[1]", list[int], where=WHERE) == [1]


def test_without_the_codec_its_payloads_are_refused_saying_so() -> None:
    payload, _ = encode(1, codec=Zipped())

    for read in (Payloads().decode, Payloads().decode_step):
        with pytest.raises(SerializationError, match="written with a codec") as raised:
            read(payload, Any, where=WHERE)
        assert not isinstance(raised.value, StepResultChanged)


@pytest.mark.parametrize("codec", [None, Zipped()])
@pytest.mark.parametrize("type", [Any, dict[str, str]])
def test_a_value_of_the_shape_that_marks_a_codec_is_refused(
    codec: Zipped | None, type: Any
) -> None:
    with pytest.raises(SerializationError, match="reserved"):
        encode({"worchflow:codec": "x"}, type, codec=codec)


@pytest.mark.parametrize(
    "value",
    [
        "worchflow:codec",
        {"worchflow:codec": "x", "more": 1},
        [{"worchflow:codec": "x"}],
        {"a": {"worchflow:codec": "x"}},
    ],
)
def test_only_exactly_that_shape_is_reserved(value: Any) -> None:
    for codec in (None, Zipped()):
        payloads = Payloads(codec=codec)
        payload, _ = payloads.encode(value, Any, kind="step", where=WHERE)
        assert payloads.decode(payload, Any, where=WHERE) == value


def test_a_codec_that_raises_is_reported_without_the_payload() -> None:
    with pytest.raises(
        SerializationError, match="codec's encode raised ValueError"
    ) as (raised):
        encode({"card": SECRET}, codec=Failing())

    assert SECRET not in str(raised.value)
    assert raised.value.__cause__ is None
    assert raised.value.__context__ is None


@pytest.mark.parametrize(
    "payload",
    [
        '{"worchflow:codec":"!!!"}',
        '{"worchflow:codec":"é"}',
        '{"worchflow:codec":1}',
        '{"worchflow:codec":null}',
        '{"worchflow:codec":"AAAA"}',
    ],
)
def test_a_damaged_payload_of_a_codec_is_refused(payload: str) -> None:
    with pytest.raises(SerializationError, match="Charge card"):
        Payloads(codec=Zipped()).decode(payload, Any, where=WHERE)


def test_what_is_no_base64_never_reaches_the_codec() -> None:
    class Same:
        def encode(self, data: bytes) -> bytes:
            return data

        def decode(self, data: bytes) -> bytes:
            return data

    payload, _ = encode(1, codec=Same())

    assert payload == '{"worchflow:codec":"MQ=="}'
    with pytest.raises(SerializationError, match="damaged"):
        Payloads(codec=Same()).decode('{"worchflow:codec":"M!Q=="}', Any, where=WHERE)


def test_a_codec_that_gives_back_something_else_is_refused() -> None:
    class Odd(Zipped):
        def encode(self, data: bytes) -> Any:
            return data.decode()

        def decode(self, data: bytes) -> bytes:
            return b"\xff\xfe"

    with pytest.raises(SerializationError, match="returned a str instead of bytes"):
        encode(1, codec=Odd())
    with pytest.raises(SerializationError, match="as text"):
        Payloads(codec=Odd()).decode('{"worchflow:codec":"AAAA"}', Any, where=WHERE)
