"""Charts as SVG inside a page whose style has ``--ink``, ``--line`` and ``--series-0`` to ``-5``:
legible by day and night. Equal charts are equal to the byte."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Hashable, Sequence
from io import StringIO
from typing import NamedTuple

import numpy as np
from markupsafe import Markup
from matplotlib import rcParams, style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from bestie_d2.evaluation.label_quality import BINS

WIDTH, HEIGHT, LEGEND_ROW, LETTER, LEGEND_LINE = 320, 195, 13, 5, 38  # points, of 72 an inch
WIDE_RANGE = 100  # a logarithmic axis over more than this has a tick for each power of ten
FEW_POINTS = 40  # so many are marked with dots
DASHES = ("-", (0, (4, 2)), (0, (1, 1.5)), (0, (5, 2, 1, 2)), (0, (3, 1)), (0, (1, 3)))
LOOK = {
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.xmargin": 0,
    "axes.ymargin": 0,
    "axes.axisbelow": True,
    "axes.autolimit_mode": "round_numbers",
    "legend.frameon": False,
}
COLORS = ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b")  # matplotlib's C0 on
VARIABLES = {color: f"series-{number}" for number, color in enumerate(COLORS)}
VARIABLES |= {"#000000": "ink", "#b0b0b0": "line"}  # axes, and the grid
UNWANTED = (  # of a file alone, names that other charts have too, fonts, tenths of points, spaces
    r"^.*?<svg[^>]*>|<metadata>.*?</metadata>|<defs>\s*<style.*?</defs>",
    r'(?<=<g) id="[^"]*"|font-family: [^;]*; ',
    r"(?<=\.\d)\d+(?=[^<>]*>)|\n\s*",
)


class Series(NamedTuple):
    """A curve: (x, y) points by rising x; ``level`` draws its last value across the chart."""

    name: str
    points: Sequence[tuple[float, float]]
    level: bool = False


class Chart(NamedTuple):
    """An SVG element between its title and a note."""

    title: str
    svg: Markup
    note: str = ""


@style.context(["default", LOOK])
def line_chart(title: str, series: Sequence[Series], y_title: str, *, log: bool = False) -> Chart:
    """Curves by iteration over a legend; values that are not finite have no place, nor on a
    logarithmic y axis values of 0 and less. Another axis starts at 0."""
    low = 0.0 if log else -math.inf
    drawn = [s._replace(points=[p for p in s.points if low < p[1] < math.inf]) for s in series]
    drawn = [one for one in drawn if one.points]
    longest = max((len(one.name) for one in drawn), default=0)
    columns = max(1, WIDTH // (LEGEND_LINE + LETTER * longest))
    figure, axes = _figure("iteration", y_title, legend_rows=math.ceil(len(drawn) / columns))
    described = []
    for number, one in enumerate(drawn):
        color, dashes = COLORS[number % len(COLORS)], DASHES[number % len(DASHES)]
        x, y = zip(*one.points, strict=True)
        if one.level:
            line = axes.axhline(y[-1])
            described.append(f"{one.name}: {y[-1]:.4g} throughout")
        else:
            described.append(f"{one.name}: from {y[0]:.4g} to {y[-1]:.4g}")
            (line,) = axes.plot(x, y, marker="." if len(x) <= FEW_POINTS else "")
        line.set(label=one.name, color=color, linestyle=dashes, clip_on=False)
    values = [y for one in drawn for _, y in one.points]
    log = log and bool(values)
    axes.update_datalim([(0, 0), (1, 0 if any(values) else 1)], updatey=not log)
    if log:
        wide = max(values) > WIDE_RANGE * min(values)
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1,) if wide else (1, 2, 5)))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_major_formatter("{x:,.6g}")
    axes.autoscale_view()
    if drawn:
        figure.legend(loc="outside lower left", ncols=columns)
    return _chart(title, figure, described)


@style.context(["default", LOOK])
def bar_chart(title: str, bars: Sequence[tuple[str, int]], x_title: str, y_title: str) -> Chart:
    """A bar for each name and count."""
    figure, axes = _figure(x_title, y_title)
    counts = [count for _, count in bars]
    axes.bar(range(len(bars)), counts, color=COLORS[0], clip_on=False)
    axes.set_xticks(range(len(bars)), [name for name, _ in bars])
    axes.set_xlim(-0.6, max(len(bars), 1) - 0.4)
    axes.update_datalim([(0, 0 if any(counts) else 1)])
    return _chart(title, figure, [f"{name}: {count}" for name, count in bars])


def score_chart(scores: Sequence[float], what: str) -> Chart:
    """How many scores in [0, 1] there are from each tenth on."""
    counts, edges = np.histogram(scores, bins=BINS, range=(0, 1))
    bars = [(f"{start:.1f}", count) for start, count in zip(edges, counts.tolist(), strict=False)]
    return bar_chart(f"Scores of {what}", bars, "score, from this number on", what)


def count_chart(images: Sequence[Hashable], total: int, what: str) -> Chart:
    """How many of ``total`` images are named how often; higher numbers share a bar."""
    numbers = list(Counter(images).values())
    numbers += [0] * (total - len(numbers))
    width = math.ceil((max(numbers, default=0) + 1) / BINS)
    counts = np.bincount(np.array(numbers, int) // width, minlength=1).tolist()
    bars = [(str(number * width), count) for number, count in enumerate(counts)]
    x_title = f"{what} in an image" + (", from this number on" if width > 1 else "")
    return bar_chart(f"{what.capitalize()} in an image", bars, x_title, "images")


def _figure(x_title: str, y_title: str, legend_rows: int = 0) -> tuple[Figure, Axes]:
    height = HEIGHT + LEGEND_ROW * legend_rows
    figure = Figure((WIDTH / 72, height / 72), layout="constrained")
    axes = figure.add_subplot(xlabel=x_title, ylabel=y_title)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(6, steps=(1, 2, 5, 10)))
        axis.set_major_formatter("{x:,.6g}")
    axes.spines[["left", "right", "top"]].set_visible(False)
    axes.tick_params(which="both", left=False, bottom=False)
    axes.grid(axis="y", clip_on=False)
    return figure, axes


def _chart(title: str, figure: Figure, described: Sequence[str]) -> Chart:
    file, alternative = StringIO(), "; ".join(described)
    rcParams["svg.hashsalt"] = title + alternative  # ids differ between the charts of a page
    figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    drawn = file.getvalue()
    for pattern in UNWANTED:
        drawn = re.sub(pattern, "", drawn, flags=re.DOTALL)
    for color, name in VARIABLES.items():
        drawn = drawn.replace(color, f"var(--{name})")
    height = figure.get_figheight() * 72
    head = f'<svg class="chart" viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="%s">'
    return Chart(title, Markup(head) % alternative + Markup(drawn))
