"""What the figures of benchmarks have in common: panels, curves with intervals, and the file."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from act.files import whole_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def panels(size: tuple[float, float], lines: int, columns: int, **more: Any) -> "tuple[Figure, list[Axes]]":
    """Returns a figure of `size` [inches] and its axes, line by line, which share their y axis."""
    from matplotlib.figure import Figure

    figure = Figure(size, layout="constrained")
    return figure, [*figure.subplots(lines, columns, sharey=True, squeeze=False, **more).flat]


def curve(
    axes: "Axes", colour: str, xs: Sequence[float], ys: Sequence[tuple[float, float, float]], label: str | None = None
) -> None:
    """Draws a line in percent with its intervals. ys: rate, low and high, 0 to 1, or NaN where the line has a gap."""
    rates, lows, highs = ([100 * y for y in part] for part in zip(*ys, strict=True))
    axes.plot(xs, rates, "o-", color=colour, markersize=5, label=label)
    axes.vlines(xs, lows, highs, color=colour, alpha=0.4)
    axes.fill_between(xs, lows, highs, color=colour, alpha=0.15, linewidth=0)


def plain(axes: "Axes") -> None:
    """Takes away the frame's upper and right edge, and makes the text small."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.title.set_fontsize(10)
    axes.tick_params(labelsize=8)


def save(figure: "Figure", path: Path) -> None:
    """Writes a PNG."""
    with whole_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=130)
