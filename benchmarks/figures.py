"""What the figures of benchmarks have in common: panels, and curves with intervals."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure


def panels(size: tuple[float, float], lines: int, columns: int, **more: Any) -> tuple[Figure, list[Axes]]:
    """Returns a figure of `size` [inches] and its axes, line by line, which share their y axis."""
    figure = Figure(size, layout="constrained")
    panels = [*figure.subplots(lines, columns, sharey=True, squeeze=False, **more).flat]
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
    return figure, panels


def curve(axes: Axes, colour: str, label: str, xs: Sequence[float], ys: Sequence[tuple | None]) -> None:
    """Draws a line in percent with its intervals. ys: rate, low and high, 0 to 1, or None where the line has a gap."""
    rates, lows, highs = 100 * np.array([y or (math.nan, math.nan, math.nan) for y in ys]).T
    axes.plot(xs, rates, "o-", color=colour, markersize=5, label=label)
    axes.vlines(xs, lows, highs, color=colour, alpha=0.4)
    axes.fill_between(xs, lows, highs, color=colour, alpha=0.15, linewidth=0)
