"""A time zone comes back with its datetime, or the value is refused: on every day."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta, timezone, tzinfo
from functools import cached_property
from typing import Annotated, Any, NamedTuple
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AfterValidator, BaseModel, TypeAdapter, field_serializer
from typing_extensions import TypedDict, override

from worchflow import SerializationError, Zoned
from worchflow.serialization.payloads import Payloads
from worchflow.serialization.serializer import JSONSerializer, Serializer

WHERE = 'step "Plan"'
BERLIN = ZoneInfo("Europe/Berlin")
REPEATED = datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN)
SKIPPED = datetime(2026, 3, 29, 2, 30, tzinfo=BERLIN)
SUMMER = datetime(2026, 7, 1, 9, tzinfo=BERLIN)

# Offsets of half and three quarter hours, a change of half an hour, both hemispheres,
# changes at midnight and on other days, a negative one (winter is what is unusual).
CHANGING = [
    "Europe/Berlin",
    "Europe/Dublin",
    "America/New_York",
    "America/St_Johns",
    "America/Havana",
    "Australia/Lord_Howe",
    "Pacific/Chatham",
    "Pacific/Apia",
    "Asia/Kathmandu",
    "Africa/Casablanca",
]
moments = st.builds(
    lambda wall, fold: wall.replace(fold=fold),
    st.datetimes(timezones=st.sampled_from(CHANGING).map(ZoneInfo)).filter(
        lambda moment: 1 < moment.year < 9999
    ),
    st.integers(0, 1),
)


def changes(zone: ZoneInfo, year: int) -> list[datetime]:
    """The hours of a year after which the offset is another one."""
    start = datetime(year, 1, 1, tzinfo=UTC)
    hours = [start + timedelta(hours=hour) for hour in range(365 * 24)]
    offsets = [hour.astimezone(zone).utcoffset() for hour in hours]
    return [hours[i] for i in range(1, len(hours)) if offsets[i] != offsets[i - 1]]


class Plan(BaseModel):
    at: datetime


class ZonedPlan(BaseModel):
    at: Zoned
    others: dict[str, list[Zoned | None]] = {}


@dataclass
class Slot:
    at: datetime
    note: str = ""


class Row(TypedDict):
    at: datetime


class Pair(NamedTuple):
    at: datetime


class Odd(tzinfo):
    """A zone of somebody's own, whose offset depends on the day."""

    @override
    def utcoffset(self, dt: datetime | None, /) -> timedelta | None:
        return None if dt is None else timedelta(hours=dt.month)

    @override
    def dst(self, dt: datetime | None, /) -> timedelta | None:
        return None

    @override
    def tzname(self, dt: datetime | None, /) -> str | None:
        return None


def encode(value: Any, type: Any, serializer: Serializer | None = None) -> Any:
    payloads = Payloads(serializer)
    payload, decoded = payloads.encode(value, type, kind="step", where=WHERE)
    assert repr(payloads.decode_step(payload, type, where=WHERE)) == repr(decoded)
    return decoded


def same(one: datetime, other: datetime) -> bool:
    """The same wall clock time at the same moment in the same zone."""
    return (
        one.tzinfo is other.tzinfo
        and one.replace(tzinfo=None, fold=0) == other.replace(tzinfo=None, fold=0)
        and one.utcoffset() == other.utcoffset()
    )


@given(moments)
def test_a_zoned_datetime_comes_back_as_it_is(moment: datetime) -> None:
    assert same(encode(moment, Zoned), moment)
    assert same(encode({"at": [moment]}, dict[str, list[Zoned]])["at"][0], moment)


@pytest.mark.parametrize("name", CHANGING)
@pytest.mark.parametrize("fold", [0, 1])
def test_the_hours_around_every_change_of_the_clock_come_back(
    name: str, fold: int
) -> None:
    zone = ZoneInfo(name)
    for change in changes(zone, 2026):
        # Arithmetic within a zone moves the wall clock, into skipped hours too.
        wall = change.astimezone(zone)
        for minutes in range(-120, 121, 15):
            moment = (wall + timedelta(minutes=minutes)).replace(fold=fold)
            assert same(encode(moment, Zoned), moment)


@given(moments)
def test_what_a_plain_datetime_cannot_hold_is_refused_on_every_day(
    moment: datetime,
) -> None:
    with pytest.raises(SerializationError, match=r"worchflow\.Zoned") as raised:
        encode(moment, datetime)

    assert str(moment.tzinfo) in str(raised.value)


@given(
    st.datetimes(
        timezones=st.one_of(
            st.sampled_from(["UTC", "Etc/GMT+5"]).map(ZoneInfo),
            st.integers(-1439, 1439).map(lambda m: timezone(timedelta(minutes=m))),
        ),
    ).filter(lambda moment: 1 < moment.year < 9999)
)
def test_a_zone_of_one_offset_is_no_more_than_that(moment: datetime) -> None:
    for type_ in (datetime, Zoned):
        decoded = encode(moment, type_)
        assert decoded == moment
        assert decoded.utcoffset() == moment.utcoffset()


@pytest.mark.parametrize(
    ("value", "type", "path"),
    [
        (REPEATED, datetime, "$"),
        (SKIPPED, datetime | None, "$"),
        ([SUMMER], list[datetime], "$[0]"),
        ((1, SUMMER), tuple[int, datetime], "$[1]"),
        (deque([SUMMER]), deque[datetime], "$[0]"),
        ({SUMMER}, set[datetime], "${...}"),
        (frozenset({SUMMER}), frozenset[datetime], "${...}"),
        ({SUMMER: 1}, dict[datetime, int], "$["),
        ({"x": SUMMER}, dict[str, datetime], "$.x"),
        (Plan(at=SUMMER), Plan, "$.at"),
        ([Slot(SUMMER)], list[Slot], "$[0].at"),
        (Row(at=SUMMER), Row, "$.at"),
        (Pair(SUMMER), Pair, "$[0]"),
        (SUMMER, str | datetime, "$"),
    ],
)
def test_the_place_of_a_zone_that_would_be_lost_is_named(
    value: Any, type: Any, path: str
) -> None:
    with pytest.raises(SerializationError, match=r"\.astimezone\(UTC\)") as raised:
        encode(value, type)

    assert f"{WHERE}: {path}" in str(raised.value)
    assert "Europe/Berlin" in str(raised.value)
    assert "annotation name exactly" not in str(raised.value)


def test_a_zone_that_comes_back_elsewhere_excuses_no_loss() -> None:
    class Both(BaseModel):
        zoned: Zoned
        plain: datetime

    with pytest.raises(SerializationError) as raised:
        encode(Both(zoned=SUMMER, plain=SUMMER), Both)

    assert "worchflow.Zoned" in str(raised.value)


def test_the_fold_is_kept_though_equality_ignores_it() -> None:
    class Forgetful(BaseModel):
        at: Zoned

        @field_serializer("at")
        def write(self, at: datetime) -> str:
            first = at.replace(fold=0)
            return f"{first.isoformat()}[Europe/Berlin]"

    assert encode(Forgetful(at=REPEATED), Forgetful).at == REPEATED
    with pytest.raises(SerializationError, match=r"\$\.at"):
        encode(Forgetful(at=REPEATED.replace(fold=1)), Forgetful)


@pytest.mark.parametrize("zone", [Odd(), ZoneInfo.no_cache("Europe/Berlin")])
@pytest.mark.parametrize("type", [datetime, Zoned])
def test_a_zone_that_has_no_name_to_find_it_by_is_refused(
    zone: tzinfo, type: Any
) -> None:
    with pytest.raises(SerializationError, match=r"give it a zoneinfo\.ZoneInfo"):
        encode(SUMMER.replace(tzinfo=zone), type)


def test_a_time_of_day_does_not_lose_its_zone() -> None:
    with pytest.raises(SerializationError, match="in its own field"):
        encode(time(9, tzinfo=BERLIN), time)
    assert encode(time(9, tzinfo=UTC), time) == time(9, tzinfo=UTC)


def test_a_type_may_keep_the_zone_in_its_own_way_or_give_it_up_itself() -> None:
    class InUtc(BaseModel):
        at: Annotated[datetime, AfterValidator(lambda at: at.astimezone(UTC))]

    assert encode(InUtc(at=SUMMER), InUtc).at.tzinfo is UTC

    plan = ZonedPlan(at=REPEATED, others={"a": [SKIPPED, None]})
    decoded = encode(plan, ZonedPlan)
    assert same(decoded.at, REPEATED)
    assert same(decoded.others["a"][0], SKIPPED)


def test_a_cached_property_is_no_part_of_a_value() -> None:
    class Cached(BaseModel):
        at: datetime

        @cached_property
        def local(self) -> datetime:
            return self.at.astimezone(BERLIN)

    value = Cached(at=datetime(2026, 1, 1, tzinfo=UTC))
    assert value.local.tzinfo is BERLIN

    assert encode(value, Cached) == value


def test_an_object_that_leads_back_to_itself_ends_the_search() -> None:
    @dataclass
    class Node:
        at: datetime
        parent: Any = field(default=None, compare=False, repr=False)

    class Own(JSONSerializer):
        def encode(self, value: Any, type: Any) -> str:
            return super().encode(value.at, datetime)

        def decode(self, text: str, type: Any) -> Any:
            node = Node(super().decode(text, datetime))
            node.parent = node
            return node

    node = Node(datetime(2026, 1, 1, tzinfo=UTC))
    node.parent = node

    assert encode(node, Node, Own()).at == node.at
    node.at = SUMMER
    with pytest.raises(SerializationError, match="Europe/Berlin"):
        encode(node, Node, Own())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2026-07-01T09:00:00", "timezone"),
        ("2026-07-01T09:00:00[Europe/Berlin]", "no offset"),
        ("2026-07-01T09:00:00+02:00[Europe/Atlantis]", "Atlantis.*tzdata"),
        ("2026-07-01T09:00:00+02:00[../../etc/passwd]", "does not know"),
        ("2026-07-01T09:00:00+02:00[Europe/Berlin][u-ca=hebrew]", "datetime"),
        ("yesterday[Europe/Berlin]", "isoformat"),
    ],
)
def test_text_that_is_no_moment_with_a_zone_is_refused(text: str, message: str) -> None:
    with pytest.raises(SerializationError, match=message):
        JSONSerializer().decode(f'"{text}"', Zoned)
    with pytest.raises(ValueError, match=message):
        ZonedPlan.model_validate({"at": text})


def test_text_with_or_without_a_zone_is_read() -> None:
    read = TypeAdapter[datetime](Zoned).validate_python

    assert same(
        read("2026-10-25T02:30:00+01:00[Europe/Berlin]"), REPEATED.replace(fold=1)
    )
    assert same(read("2026-07-01T09:00:00+02:00[!Europe/Berlin]"), SUMMER)
    assert read("2026-07-01T07:00:00Z") == SUMMER
    assert TypeAdapter(Zoned).json_schema()["type"] == "string"


def test_the_moment_stays_when_the_rules_of_a_zone_have_changed() -> None:
    # As if Berlin had been at +03:00 when this was written.
    read = JSONSerializer().decode('"2026-07-01T10:00:00+03:00[Europe/Berlin]"', Zoned)

    assert same(read, SUMMER)


def test_the_same_wall_clock_time_at_another_moment_is_other_data() -> None:
    payloads = Payloads()
    texts = [
        payloads.encode(at, Zoned, kind="event", where=WHERE)[0]
        for at in (REPEATED, REPEATED.replace(fold=1))
    ]

    assert not payloads.same_data(*texts, Zoned)
    assert payloads.same_data(texts[0], texts[0], Zoned)
