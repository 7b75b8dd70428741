"""Figures of the grids: Table I as dots beside the paper's figures, Fig. 8 as lines."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from act.evaluation.paper import PAPER
from act.files import whole_file
from benchmarks import ablations, table1
from benchmarks.grid.cells import MODES, Method
from benchmarks.grid.statistics import SETTINGS, Counts, Rows, mean
from benchmarks.grid.tables import STYLE_NAMES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SINGLE, CHUNKS, ENSEMBLED = "single step", "chunks", "chunks, ensembled"
MARKS = {SINGLE: ("o", "#0072b2"), CHUNKS: ("s", "#e69f00"), ENSEMBLED: ("D", "#009e73")}  # Okabe and Ito 2008
OFFSETS = {SINGLE: 0.22, CHUNKS: 0.0, ENSEMBLED: -0.22}  # in a row, so that intervals do not cover each other
COLOURS = {"ACT": "#0072b2", "BC-ConvMLP": "#e69f00", "VINN": "#009e73", "scripted": "#0072b2", "human": "#d55e00"}
GREY = "0.25"


def dots(rows: Rows, track: str) -> "Figure":
    """Table I: a panel for each setting with results, in it a row per method and a mark with an interval per form.

    Hollow marks are the paper's figures, small dots are single training seeds.
    """
    from matplotlib.figure import Figure

    labels = list(dict.fromkeys(method.label for method, _ in table1.forms(rows, track)))
    settings = [setting for setting in SETTINGS if table1.counts_of(rows, *setting, track)]
    lines = (len(settings) + 1) // 2
    figure = Figure((9.6, (0.32 * len(labels) + 0.5) * lines + 0.5), layout="constrained")
    panels = list(figure.subplots(lines, 2, sharex=True, sharey=True, squeeze=False).flat)
    for axes in panels[len(settings) :]:
        axes.set_axis_off()
    for axes, setting in zip(panels, settings, strict=False):
        _setting(axes, rows, track, *setting, labels)
    handles = [panels[0].plot([], [], marker, color=colour, label=form)[0] for form, (marker, colour) in MARKS.items()]
    hollow = _hollow(SINGLE) | {"color": GREY}
    handles += panels[0].plot([], [], label="hollow: the paper's, from images", **hollow)
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), frameon=False, fontsize=9)
    figure.supxlabel("success [%], 95 % interval", fontsize=10)
    return figure


def _setting(axes: "Axes", rows: Rows, track: str, task: str, style: str, labels: Sequence[str]) -> None:
    found = table1.counts_of(rows, task, style, track)
    for method, mode in table1.forms(rows, track):
        form = form_of(method, mode)
        y = OFFSETS[form] - labels.index(method.label)
        if counts := found.get((method, mode)):
            _mark(axes, counts, y, form)
        if (paper := table1.paper_success(method, mode, task, style)) is not None:
            axes.plot(paper, y, **_hollow(form))
    title = f"{PAPER[task].title}, {STYLE_NAMES[style]}"
    axes.set(title=title, xlim=(-2, 102), ylim=(0.5 - len(labels), 0.6))
    axes.set_yticks([-i for i in range(len(labels))], labels)
    _plain(axes)
    axes.grid(axis="x", color="0.9")


def fig8(rows: Rows, track: str) -> "Figure":
    """Fig. 8: chunk size, ensembling, CVAE. Solid lines with intervals are ours, dashed ones the paper's.

    A mean that lacks a setting is left out; two that are compared are means of the rollouts they share.
    """
    from matplotlib.figure import Figure

    figure = Figure((9.6, 3.4), layout="constrained")
    sizes, ensembling, cvae = figure.subplots(1, 3, sharey=True, width_ratios=(2.2, 1, 1))
    for label, methods in ablations.SIZED.items():
        means = [mean(rows.settings(method, track, "chunk")) for method in methods]
        _curve(sizes, COLOURS[label], means, ablations.PAPER_SIZES[label])
        method = methods[ablations.SIZES.index(ablations.ENSEMBLED)]
        pair = ablations.shared(*(rows.settings(method, track, mode) for mode in MODES))
        _curve(ensembling, COLOURS[label], pair, ablations.PAPER_ENSEMBLE[label])
    for style, paper in ablations.PAPER_CVAE.items():
        pair = ablations.shared(*(rows.settings(method, track, "ensemble", [style]) for method in ablations.CVAE))
        _curve(cvae, COLOURS[style], pair, paper)
    sizes.set(ylabel="success [%]", ylim=(0, 101), xlabel="control steps")
    for axes, title, ticks in (
        (sizes, "a. chunk size", ablations.SIZES),
        (ensembling, "b. ensembling", ("off", "on")),
        (cvae, "c. CVAE, ensembled", ("without", "with")),
    ):
        axes.set(title=title, xlim=(-0.3, len(ticks) - 0.7))
        axes.set_xticks(range(len(ticks)), [str(tick) for tick in ticks])
        _plain(axes)
    handles = [sizes.plot([], [], "o-", color=COLOURS[label], label=label)[0] for label in ablations.SIZED]
    handles += sizes.plot([], [], "--", color=GREY, label="paper")
    sizes.legend(handles=handles, frameon=False, fontsize=8, loc="upper right")
    handles = [cvae.plot([], [], "o-", color=COLOURS[s], label=STYLE_NAMES[s])[0] for s in ablations.PAPER_CVAE]
    cvae.legend(handles=handles, frameon=False, fontsize=8, loc="lower right")
    return figure


def form_of(method: Method, mode: str) -> str:
    """Returns the key of MARKS."""
    return SINGLE if method.chunk_size == 1 else ENSEMBLED if mode == "ensemble" else CHUNKS


def save(figure: "Figure", path: Path) -> None:
    """Writes a PNG."""
    with whole_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=130)


def _mark(axes: "Axes", counts: Counts, y: float, form: str) -> None:
    marker, colour = MARKS[form]
    rate = counts.success
    axes.plot([100 * rate.low, 100 * rate.high], [y, y], color=colour, linewidth=1.6)
    axes.plot(100 * rate.rate, y, marker, color=colour, markersize=5)
    if len(counts.rows) > 1:
        each = [100 * rate for rate in counts.rates]
        axes.plot(each, [y] * len(each), ".", color=colour, alpha=0.5, markersize=4)


def _hollow(form: str) -> dict[str, Any]:
    marker, colour = MARKS[form]
    style = {"markersize": 7, "markerfacecolor": "none", "markeredgewidth": 1.6, "linestyle": "none"}
    return {"marker": marker, "color": colour, **style}


def _curve(axes: "Axes", colour: str, means: Sequence[Counts | None], paper: Sequence[float]) -> None:
    """Draws means and the paper's figures; a line has a gap where a setting lacks results."""
    places, gap = range(len(means)), math.nan
    found = [counts and counts.success for counts in means]
    rates, lows, highs = ([100 * getattr(m, end) if m else gap for m in found] for end in ("rate", "low", "high"))
    axes.plot(places, rates, "o-", color=colour, markersize=5)
    axes.vlines(places, lows, highs, color=colour, alpha=0.4)
    axes.fill_between(places, lows, highs, color=colour, alpha=0.15, linewidth=0)
    axes.plot(range(len(paper)), paper, ".--", color=colour, alpha=0.7, linewidth=1)


def _plain(axes: "Axes") -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.title.set_fontsize(10)
    axes.tick_params(labelsize=8)
