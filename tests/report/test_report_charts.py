"""Charts: where their points lie, what their axes say."""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import pytest

from bestie_d2.report.charts import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Series,
    bar_chart,
    line_chart,
)

FOOT, HEAD = HEIGHT - BOTTOM, TOP
INNER_WIDTH, INNER_HEIGHT = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM


def svg_of(html: str) -> ElementTree.Element:
    return ElementTree.fromstring(html[: html.index("</svg>") + len("</svg>")])


def texts(html: str) -> list[str]:
    return [element.text for element in svg_of(html).iter("text")]


def points_of(html: str) -> list[list[tuple[float, float]]]:
    """The points of each path."""
    paths = [element.attrib["d"] for element in svg_of(html).iter("path")]
    numbers = [[float(n) for n in re.findall(r"[\d.]+", path)] for path in paths]
    return [list(zip(row[::2], row[1::2], strict=False)) for row in numbers]


def test_points_lie_between_zero_and_the_next_round_number():
    html = line_chart([Series("AP", [(0, 0.0), (50, 5.0), (100, 10.0)])], x_title="i", y_title="p")
    middle = (LEFT + INNER_WIDTH / 2, HEAD + INNER_HEIGHT / 2)
    expected = [(LEFT, FOOT), middle, (WIDTH - RIGHT, HEAD)]
    assert points_of(html) == [[pytest.approx(place, abs=0.06) for place in expected]]
    y_axis, x_axis = ["0", "2", "4", "6", "8", "10"], ["0", "20", "40", "60", "80", "100"]
    assert texts(html) == [*y_axis, *x_axis, "i", "p"]
    assert len(list(svg_of(html).iter("circle"))) == 3


def test_a_logarithmic_axis_goes_from_one_round_number_to_the_next():
    curve = [(0, 0.7), (10, 0.1), (20, 0.0)]  # no place for the last one
    html = line_chart([Series("loss", curve)], x_title="i", y_title="loss", log=True)
    assert texts(html)[:4] == ["0.1", "0.2", "0.5", "1"]
    (places,) = points_of(html)
    assert [round(y, 1) for _, y in places] == [
        pytest.approx(HEAD + 0.155 * INNER_HEIGHT, abs=0.1),
        FOOT,
    ]
    wide = line_chart([Series("loss", [(0, 5), (1, 0.02)])], x_title="", y_title="", log=True)
    assert texts(wide)[:4] == ["0.01", "0.1", "1", "10"]


def test_a_level_crosses_the_chart_at_its_last_value():
    series = [Series("all", [(0, 0), (9, 100)]), Series("level", [(3, 70), (6, 50)], level=True)]
    html = line_chart(series, x_title="", y_title="")
    middle = f"{(HEAD + FOOT) / 2:.1f}"
    assert f'd="M{LEFT} {middle}H{WIDTH - RIGHT}"' in html
    assert svg_of(html).attrib["aria-label"] == "all: from 0 to 100; level: 50 throughout"


def test_the_legend_has_each_curve_in_a_style_of_its_own():
    series = [Series(f"<{number}>", [(0, 1), (1, 2)]) for number in range(6)]
    html = line_chart(series, x_title="", y_title="")
    legend = html[html.index('<ul class="legend">') :]
    assert re.findall(r"&lt;(\d)&gt;</li>", legend) == list("012345")
    styles = re.findall(r"<path (.*?) d=", legend)
    assert len(set(styles)) == 6


@pytest.mark.parametrize("log", [False, True])
def test_nothing_to_draw_is_an_empty_chart(log):
    html = line_chart([Series("zero", [(0, 0.0)])] if log else [], x_title="", y_title="", log=log)
    assert not list(svg_of(html).iter("path"))


@pytest.mark.parametrize("log", [False, True])
def test_values_that_are_not_finite_are_left_out(log):
    nowhere = [(1, math.inf), (2, -math.inf), (3, math.nan)]
    series = [Series("loss", [(0, 1.0), *nowhere, (4, 2.0)]), Series("lost", nowhere)]
    html = line_chart(series, x_title="", y_title="", log=log)
    assert svg_of(html).attrib["aria-label"] == "loss: from 1 to 2"
    assert html == line_chart(
        [Series("loss", [(0, 1.0), (4, 2.0)])], x_title="", y_title="", log=log
    )


def test_no_bars_are_an_empty_chart():
    html = bar_chart([], x_title="x", y_title="y")
    assert not list(svg_of(html).iter("rect"))
    assert texts(html)[-2:] == ["x", "y"]


def test_bars_are_as_high_as_their_numbers():
    html = bar_chart([("a", 10), ("b", 5), ("c", 0)], x_title="x", y_title="y")
    heights = [float(bar.attrib["height"]) for bar in svg_of(html).iter("rect")]
    assert heights == [pytest.approx(share * INNER_HEIGHT, abs=0.1) for share in (1, 0.5, 0)]
    assert texts(html)[-5:] == ["a", "b", "c", "x", "y"]
    assert svg_of(html).attrib["aria-label"] == "a: 10; b: 5; c: 0"
