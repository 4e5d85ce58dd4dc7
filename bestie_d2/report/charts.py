"""Charts as inline SVG, colored by the page's style, so that they are legible light and dark."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from matplotlib.ticker import MaxNLocator

WIDTH, HEIGHT = 400, 250  # units of the drawing; about pixels
LEFT, RIGHT, TOP, BOTTOM = 58, 22, 10, 46  # margins
TICKS = 6  # intervals of an axis, about
STEPS = (1, 2, 5, 10)  # between ticks, times a power of ten
WIDE_RANGE = 100  # a logarithmic axis over more than this has a tick for each power of ten
FEW_POINTS = 40  # so many are marked with dots
DASHES = ("", "7 3", "2 3", "9 3 2 3", "5 2", "1 4")  # of the series, beside their colors
COLORS = len(DASHES)
LABEL_GAP = 6  # between an axis and its numbers
BAR_SHARE = 0.8  # of the width that a bar could have


@dataclass(frozen=True)
class Series:
    """A curve: (x, y) points by rising x; ``level`` draws its last value across the chart."""

    name: str
    points: Sequence[tuple[float, float]]
    level: bool = False


class _Plot:
    """The frame of a chart: where values lie, axes, and what is drawn."""

    def __init__(
        self, x_range: tuple[float, float], y_ticks: Sequence[float], *, log: bool
    ) -> None:
        self._left, self._right = x_range
        self._log = log
        self._low, self._high = (self._scale(y) for y in (y_ticks[0], y_ticks[-1]))
        self._parts: list[str] = []
        for value in y_ticks:
            y = self.y(value)
            self._line("grid", LEFT, y, WIDTH - RIGHT, y)
            self._text(LEFT - LABEL_GAP, y + 4, _number(value), "end")
        self._line("axis", LEFT, HEIGHT - BOTTOM, WIDTH - RIGHT, HEIGHT - BOTTOM)

    def _scale(self, y: float) -> float:
        return math.log10(y) if self._log else y

    def x(self, value: float) -> float:
        share = (value - self._left) / ((self._right - self._left) or 1)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        share = (self._scale(value) - self._low) / ((self._high - self._low) or 1)
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)

    def _line(self, kind: str, *ends: float) -> None:
        x1, y1, x2, y2 = (f"{end:.1f}" for end in ends)
        self._parts.append(f'<line class="{kind}" x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"/>')

    def _text(self, x: float, y: float, text: str, anchor: str, more: str = "") -> None:
        self._parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{more}>{escape(text)}</text>'
        )

    def add(self, part: str) -> None:
        self._parts.append(part)

    def x_label(self, x: float, text: str) -> None:
        """A number under the axis, at a place of the drawing."""
        self._text(x, HEIGHT - BOTTOM + 16, text, "middle")

    def svg(self, x_title: str, y_title: str, alternative: str) -> str:
        middle = (TOP + HEIGHT - BOTTOM) / 2
        self._text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, x_title, "middle")
        self._text(14, middle, y_title, "middle", f' transform="rotate(-90 14 {middle:.1f})"')
        return (
            f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
            f'aria-label="{escape(alternative)}">{"".join(self._parts)}</svg>'
        )


def line_chart(series: Sequence[Series], *, x_title: str, y_title: str, log: bool = False) -> str:
    """Curves with a legend below; values that are not finite have no place.

    Args:
        log: a logarithmic y axis, on which values of 0 and less are left out; else it starts at 0.
    """
    lowest = 0.0 if log else -math.inf
    series = [
        Series(s.name, [(x, y) for x, y in s.points if lowest < y < math.inf], s.level)
        for s in series
    ]
    series = [s for s in series if s.points]
    values = [y for s in series for _, y in s.points]
    last = max((x for s in series for x, _ in s.points), default=0)
    x_ticks = _ticks(last)
    y_ticks = _log_ticks(values) if log else _ticks(max(values, default=0))
    plot = _Plot((0, x_ticks[-1]), y_ticks, log=log)
    for value in x_ticks:
        plot.x_label(plot.x(value), _number(value))
    for number, one in enumerate(series):
        plot.add(_curve(plot, one, number))
    return plot.svg(x_title, y_title, describe(series)) + _legend(series)


def _ticks(high: float) -> list[float]:
    """From 0 to the first one that is not below ``high``."""
    return MaxNLocator(TICKS, steps=STEPS).tick_values(0, high or 1).tolist()


def _log_ticks(values: Sequence[float]) -> list[float]:
    """From the last one that is not above any value to the first that is not below any."""
    low, high = (min(values), max(values)) if values else (1, 1)
    steps = (1,) if high > WIDE_RANGE * low else STEPS[:-1]
    powers = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 2)
    ticks = [step * 10.0**power for power in powers for step in steps]
    first = max(tick for tick in ticks if tick <= low)
    last = min(tick for tick in ticks if tick > high)
    return [tick for tick in ticks if first <= tick <= last]


def _curve(plot: _Plot, series: Series, number: int) -> str:
    style = _style(number)
    if series.level:
        y = plot.y(series.points[-1][1])
        return f'<path {style} d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>'
    places = [(plot.x(x), plot.y(y)) for x, y in series.points]
    path = f'<path {style} d="M{"L".join(f"{x:.1f} {y:.1f}" for x, y in places)}"/>'
    if len(places) > FEW_POINTS:
        return path
    color = f"series-{number % COLORS}"
    dots = (f'<circle class="curve {color}" cx="{x:.1f}" cy="{y:.1f}" r="2"/>' for x, y in places)
    return path + "".join(dots)


def _style(number: int) -> str:
    dashes = DASHES[number % COLORS]
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    return f'class="curve series-{number % COLORS}"{dashed}'


def _legend(series: Sequence[Series]) -> str:
    items = (
        f'<li><svg viewBox="0 0 33 12" aria-hidden="true"><path {_style(number)} d="M0 6H33"/>'
        f"</svg>{escape(one.name)}</li>"
        for number, one in enumerate(series)
    )
    return f'<ul class="legend">{"".join(items)}</ul>'


def describe(series: Sequence[Series]) -> str:
    """The first and last value of each curve, for those who can't see it."""
    return "; ".join(
        f"{one.name}: {one.points[-1][1]:.4g} throughout"
        if one.level
        else f"{one.name}: from {one.points[0][1]:.4g} to {one.points[-1][1]:.4g}"
        for one in series
    )


def bar_chart(bars: Sequence[tuple[str, int]], *, x_title: str, y_title: str) -> str:
    """A bar for each name and count."""
    plot = _Plot((0, len(bars)), _ticks(max((count for _, count in bars), default=0)), log=False)
    for place, (name, count) in enumerate(bars):
        left, right = (plot.x(place + (1 + side * BAR_SHARE) / 2) for side in (-1, 1))
        top = plot.y(count)
        plot.add(
            f'<rect class="bar" x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" '
            f'height="{HEIGHT - BOTTOM - top:.1f}"/>'
        )
        plot.x_label((left + right) / 2, name)
    alternative = "; ".join(f"{name}: {count}" for name, count in bars)
    return plot.svg(x_title, y_title, alternative)


def _number(value: float) -> str:
    return f"{value:,.6g}"
