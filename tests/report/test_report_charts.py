"""Charts: where their points lie, what their axes say."""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import numpy as np
import pytest

from bestie_d2.report.charts import VARIABLES, Chart, Series, bar_chart, line_chart


def svg_of(chart: Chart) -> ElementTree.Element:
    return ElementTree.fromstring(chart.svg.replace("xlink:", ""))


def texts(chart: Chart) -> list[str]:
    return ["".join(element.itertext()) for element in svg_of(chart).iter("text")]


def x_of(chart: Chart, text: str) -> float:
    """Where a tick's number is."""
    return next(float(e.attrib["x"]) for e in svg_of(chart).iter("text") if e.text == text)


def paths(chart: Chart, color: str) -> list[list[tuple[float, float]]]:
    """The points of each path of a color, but for samples in the legend and the dots."""
    found = [e for e in svg_of(chart).iter("path") if color in e.attrib["style"]]
    numbers = [[float(n) for n in re.findall(r"-?[\d.]+", e.attrib["d"])] for e in found]
    points = [list(zip(row[::2], row[1::2], strict=True)) for row in numbers]
    return [row for row in points if max(x for x, _ in row) > 40]


def grid(chart: Chart) -> list[float]:
    """The heights of the grid's lines, from the lowest on."""
    return sorted({y for line in paths(chart, "--line") for _, y in line}, reverse=True)


def test_points_lie_between_zero_and_the_next_round_number():
    curve = [(0, 0.0), (50, 5.0), (100, 10.0)]
    chart = line_chart("", [Series("AP", curve)], "p")
    x_axis, y_axis = ["0", "20", "40", "60", "80", "100"], ["0", "2", "4", "6", "8", "10"]
    assert texts(chart) == [*x_axis, "iteration", *y_axis, "p", "AP"]
    foot, head = grid(chart)[0], grid(chart)[-1]
    left, right = x_of(chart, "0"), x_of(chart, "100")
    expected = [(left, foot), ((left + right) / 2, (foot + head) / 2), (right, head)]
    assert np.allclose(paths(chart, "--series-0")[0], expected, atol=0.15)
    assert len(list(svg_of(chart).iter("use"))) == 3 + 1  # dots, and that of the legend
    short = line_chart("", [Series("AP", [(0, 84.0)])], "")
    assert texts(short)[-2] == "100"


def test_a_logarithmic_axis_goes_from_one_round_number_to_the_next():
    curve = [(0, 0.7), (10, 0.1), (20, 0.0)]  # no place for the last one
    chart = line_chart("", [Series("loss", curve)], "loss", log=True)
    assert texts(chart)[-6:-2] == ["0.1", "0.2", "0.5", "1"]
    foot, head = grid(chart)[0], grid(chart)[-1]
    (places,) = paths(chart, "--series-0")
    expected = [foot + (head - foot) * share for share in (0.845, 0)]
    assert [y for _, y in places] == pytest.approx(expected, abs=0.2)
    wide = line_chart("", [Series("loss", [(0, 5), (1, 0.02)])], "", log=True)
    assert texts(wide)[-5:-1] == ["0.01", "0.1", "1", "10"]


def test_a_level_crosses_the_chart_at_its_last_value():
    series = [Series("all", [(4, 0), (9, 100)]), Series("level", [(3, 70), (6, 50)], level=True)]
    chart = line_chart("", series, "")
    level = paths(chart, "--series-1")[0]
    middle = (grid(chart)[0] + grid(chart)[-1]) / 2
    assert np.allclose(level, [(x_of(chart, "0"), middle), (x_of(chart, "10"), middle)], atol=0.15)
    assert svg_of(chart).attrib["aria-label"] == "all: from 0 to 100; level: 50 throughout"


def test_each_curve_has_a_style_and_every_color_is_the_page_s():
    series = [Series(f"<{number}>", [(0, 1), (1, 2)]) for number in range(6)]
    chart = line_chart("", series, "")
    assert texts(chart)[-6:] == [f"<{number}>" for number in range(6)]
    assert "<0>" not in chart.svg
    styles = {
        e.attrib["style"] for e in svg_of(chart).iter("path") if "series" in e.attrib["style"]
    }
    dashes = {re.search("dasharray: [^;]*|$", style)[0] for style in styles}
    assert len(dashes) == 6
    assert not re.search("#[0-9a-f]{6}[^0-9a-f]", chart.svg)
    assert all(f"var(--{name})" in chart.svg for name in VARIABLES.values())


def test_equal_charts_are_equal_and_short():
    curves = [Series("loss", [(n, 2.0 + math.sin(n)) for n in range(120)])]
    charts = [line_chart("", curves, "loss") for _ in range(2)]
    assert charts[0] == charts[1]
    assert len(charts[0].svg) < 6000
    assert "url(" not in charts[0].svg


def test_no_two_charts_of_a_page_share_an_id():
    charts = [line_chart(title, [Series("loss", [(0, 1.0)])], "loss") for title in ("one", "two")]
    first, second = (re.findall(r' id="([^"]*)"', chart.svg) for chart in charts)
    assert len(first) > 0
    assert set(first).isdisjoint(second)


@pytest.mark.parametrize("log", [False, True])
def test_nothing_to_draw_is_an_empty_chart(log):
    series = [Series("zero", [(0, 0.0)])] if log else []
    assert not paths(line_chart("", series, "", log=log), "--series")


@pytest.mark.parametrize("log", [False, True])
def test_values_that_are_not_finite_are_left_out(log):
    nowhere = [(1, math.inf), (2, -math.inf), (3, math.nan)]
    series = [Series("loss", [(0, 1.0), *nowhere, (4, 2.0)]), Series("lost", nowhere)]
    chart = line_chart("", series, "", log=log)
    assert svg_of(chart).attrib["aria-label"] == "loss: from 1 to 2"
    finite = [Series("loss", [(0, 1.0), (4, 2.0)])]
    assert chart == line_chart("", finite, "", log=log)


def test_no_bars_are_an_empty_chart():
    chart = bar_chart("", [], "x", "y")
    assert not paths(chart, "--series")
    assert {"x", "y"} <= set(texts(chart))


def test_bars_are_as_high_as_their_numbers():
    chart = bar_chart("", [("a", 10), ("b", 5), ("c", 0)], "x", "y")
    height = grid(chart)[0] - grid(chart)[-1]
    heights = [
        max(y for _, y in bar) - min(y for _, y in bar) for bar in paths(chart, "--series-0")
    ]
    assert heights == pytest.approx([height, height / 2, 0], abs=0.2)
    assert texts(chart)[:4] == ["a", "b", "c", "x"]
    assert svg_of(chart).attrib["aria-label"] == "a: 10; b: 5; c: 0"
