"""Charts are whole, tell the truth and need no colours."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from benchmarks.charts import Bar, bar_chart

SVG = "{http://www.w3.org/2000/svg}"


def read(chart: str) -> ET.Element:
    return ET.fromstring(chart)  # noqa: S314 - we have just written it


def bars_of(chart: str) -> dict[str, float]:
    """The length of each bar by the label beside it."""
    root = read(chart)
    labels = [
        text.text or ""
        for text in root.iter(f"{SVG}text")
        if "text-anchor" in text.attrib
    ]
    lengths = [float(rect.attrib["width"]) for rect in root.iter(f"{SVG}rect")]
    return dict(zip(labels, lengths, strict=False))


def test_a_bar_is_as_long_as_its_value() -> None:
    chart = bar_chart(
        "Rates", "per second", [Bar("a", "worchflow", 1000), Bar("b", "durable", 250)]
    )

    lengths = bars_of(chart)
    assert lengths["b"] * 4 == lengths["a"]


def test_every_figure_is_written_beside_its_bar() -> None:
    chart = bar_chart("Rates", "per second", [Bar("a", "bare", 12345.6)])

    texts = [each.text for each in read(chart).iter(f"{SVG}text")]
    assert texts == [
        "Rates, per second",
        "a",
        "12,346",
        "bare writes of the same store",
    ]


def test_a_label_is_only_ever_text() -> None:
    chart = bar_chart("<b>", "&", [Bar('"><script/>', "queue", 1)])

    root = read(chart)
    assert not list(root.iter(f"{SVG}script"))
    assert '"><script/>' in [each.text for each in root.iter(f"{SVG}text")]


def test_a_chart_of_nothing_is_a_chart() -> None:
    assert read(bar_chart("Rates", "per second", [])).tag == f"{SVG}svg"


def test_light_and_dark_have_colours_of_their_own() -> None:
    assert "prefers-color-scheme: dark" in bar_chart("Rates", "per second", [])
