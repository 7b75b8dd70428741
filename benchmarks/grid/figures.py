"""Results of the grids as pictures for README.md and docs/: Table I as dots beside the paper's, Fig. 8 as lines."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from act.evaluation.paper import PAPER
from act.files import whole_file
from benchmarks import ablations, table1
from benchmarks.grid.cells import MODES, Method
from benchmarks.grid.statistics import SETTINGS, Mean, Rows, Tally
from benchmarks.grid.tables import named

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SINGLE, CHUNKS, ENSEMBLED = "single step", "chunks", "chunks, ensembled"
MARKS = {SINGLE: ("o", "#0072b2"), CHUNKS: ("s", "#e69f00"), ENSEMBLED: ("D", "#009e73")}  # Okabe and Ito 2008
OFFSETS = {SINGLE: 0.22, CHUNKS: 0.0, ENSEMBLED: -0.22}  # rows, so that intervals do not hide each other
COLOURS = {"ACT": "#0072b2", "BC-ConvMLP": "#e69f00", "VINN": "#009e73", "scripted": "#0072b2", "human": "#d55e00"}
GREY = "0.25"


def dots(rows: Rows, track: str) -> "Figure":
    """Table I: in every setting that has numbers a row per method, in it a mark with its interval per form.

    Hollow marks are the paper's, small dots single training seeds.
    """
    from matplotlib.figure import Figure

    forms = table1.forms(rows, track)
    labels = list(dict.fromkeys(method.label for method, _ in forms))
    there = [setting for setting in SETTINGS if table1.tallies(rows, *setting, track)]
    lines = (len(there) + 1) // 2
    figure = Figure((9.6, (0.32 * len(labels) + 0.5) * lines + 0.5), layout="constrained")
    panels = list(figure.subplots(lines, 2, sharex=True, sharey=True, squeeze=False).flat)
    for axes in panels[len(there) :]:
        axes.set_axis_off()
    for axes, (task, style) in zip(panels, there, strict=False):
        found = table1.tallies(rows, task, style, track)
        for method, mode in forms:
            form = form_of(method, mode)
            y = OFFSETS[form] - labels.index(method.label)
            if tally := found.get(named(method, mode)):
                _mark(axes, tally, y, form)
            if (theirs := table1.theirs(method, mode, task, style)) is not None:
                axes.plot(theirs, y, **_hollow(form))
        axes.set(title=f"{PAPER[task].title}, {style}", xlim=(-2, 102), ylim=(0.5 - len(labels), 0.6))
        axes.set_yticks([-i for i in range(len(labels))], labels)
        _plain(axes)
        axes.grid(axis="x", color="0.9")
    axes = panels[0]
    handles = [axes.plot([], [], marker, color=colour, label=form)[0] for form, (marker, colour) in MARKS.items()]
    handles += axes.plot([], [], label="hollow: the paper's, from images", **(_hollow(SINGLE) | {"color": GREY}))
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), frameon=False, fontsize=9)
    figure.supxlabel("success [%], 95 % interval", fontsize=10)
    return figure


def fig8(rows: Rows, track: str) -> "Figure":
    """Fig. 8: chunk size, ensembling, CVAE; solid ours with its interval, dashed the paper's.

    A mean that lacks a setting is left out; two that are compared are of the rollouts they share.
    """
    from matplotlib.figure import Figure

    figure = Figure((9.6, 3.4), layout="constrained")
    sizes, ensembling, cvae = figure.subplots(1, 3, sharey=True, width_ratios=(2.2, 1, 1))
    for label, methods in ablations.SIZED.items():
        ours = [rows.settings(method, track, "chunk") for method in methods]
        _curve(sizes, COLOURS[label], ours, ablations.PAPER_SIZES[label])
        method = methods[ablations.SIZES.index(ablations.ENSEMBLED)]
        ours = ablations.shared(*(rows.settings(method, track, mode) for mode in MODES))
        _curve(ensembling, COLOURS[label], ours, ablations.PAPER_ENSEMBLE[label])
    for style, theirs in ablations.PAPER_CVAE.items():
        ours = ablations.shared(*(rows.settings(method, track, "ensemble", [style]) for method in ablations.CVAE))
        _curve(cvae, COLOURS[style], ours, theirs)
    sizes.set(title="a. chunk size", ylabel="success [%]", ylim=(0, 101), xlabel="control steps")
    sizes.set_xticks(range(len(ablations.SIZES)), [str(size) for size in ablations.SIZES])
    ensembling.set(title="b. ensembling", xlim=(-0.3, 1.3))
    ensembling.set_xticks([0, 1], ["off", "on"])
    cvae.set(title="c. CVAE, ensembled", xlim=(-0.3, 1.3))
    cvae.set_xticks([0, 1], ["without", "with"])
    for axes, names in ((sizes, list(ablations.SIZED)), (cvae, list(ablations.PAPER_CVAE))):
        _plain(axes)
        handles = [axes.plot([], [], "o-", color=COLOURS[name], label=name)[0] for name in names]
        handles += axes.plot([], [], "--", color=GREY, label="paper") if axes is sizes else []
        axes.legend(handles=handles, frameon=False, fontsize=8, loc="lower right" if axes is cvae else "upper right")
    _plain(ensembling)
    return figure


def form_of(method: Method, mode: str) -> str:
    """Which of MARKS stands for it."""
    return SINGLE if method.chunk_size == 1 else ENSEMBLED if mode == "ensemble" else CHUNKS


def save(figure: "Figure", path: Path) -> None:
    """A PNG, whole or not at all."""
    with whole_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=130)


def _mark(axes: "Axes", tally: Tally, y: float, form: str) -> None:
    marker, colour = MARKS[form]
    rate = tally.success
    axes.plot([100 * rate.low, 100 * rate.high], [y, y], color=colour, linewidth=1.6)
    axes.plot(100 * rate.rate, y, marker, color=colour, markersize=5)
    if len(tally.rows) > 1:
        each = [100 * rate for rate in tally.rates]
        axes.plot(each, [y] * len(each), ".", color=colour, alpha=0.5, markersize=4)


def _hollow(form: str) -> dict[str, Any]:
    marker, colour = MARKS[form]
    style = {"markersize": 7, "markerfacecolor": "none", "markeredgewidth": 1.6, "linestyle": "none"}
    return {"marker": marker, "color": colour, **style}


def _curve(axes: "Axes", colour: str, ours: Sequence[Mean], theirs: Sequence[float]) -> None:
    """Ours, where all settings have numbers, and the paper's; a line has a gap where there are none."""
    places, gap = range(len(ours)), math.nan
    means = [mean.success for mean in ours]
    rates, lows, highs = ([100 * getattr(m, end) if m else gap for m in means] for end in ("rate", "low", "high"))
    axes.plot(places, rates, "o-", color=colour, markersize=5)
    axes.vlines(places, lows, highs, color=colour, alpha=0.4)
    axes.fill_between(places, lows, highs, color=colour, alpha=0.15, linewidth=0)
    axes.plot(range(len(theirs)), theirs, ".--", color=colour, alpha=0.7, linewidth=1)


def _plain(axes: "Axes") -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.title.set_fontsize(10)
    axes.tick_params(labelsize=8)
