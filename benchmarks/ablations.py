"""Fig. 8 of the ACT paper (chunk size, ensembling, CVAE): `python -m benchmarks.ablations --budget 90m`.

The rows go to benchmarks/results/ablations.json. Training runs that Table I has, too, are shared with it.
"""

import math
import sys
from collections.abc import Sequence
from functools import partial
from itertools import product

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from act.evaluation.execution import MODES
from benchmarks.figures import curve, panels
from benchmarks.grid import statistics as stats
from benchmarks.grid.cells import Method
from benchmarks.grid.run import main
from benchmarks.grid.statistics import SETTINGS, STYLES, Rows, markdown, mean

WITH_CVAE = ("--use_cvae",)
SIZES = (1, 10, 100, 200, 400)
# Success [%] averaged over the four settings (Zhao et al. 2023, Fig. 8); ensembling at the best size of each method.
PAPER_SIZES = {"ACT": (1, 21, 44, 42, 41), "BC-ConvMLP": (1, 1, 24, 25, 20), "VINN": (0, 6, 23, 27.25, 37)}
PAPER_ENSEMBLE = {"ACT": (44, 47.3), "BC-ConvMLP": (25, 29), "VINN": (37, 17)}
PAPER_CVAE = {"scripted": (58, 59), "human": (2, 35.3)}  # without, with
COLOURS = {"ACT": "#0072b2", "BC-ConvMLP": "#e69f00", "VINN": "#009e73", "scripted": "#0072b2", "varied": "#d55e00"}


def sized(label: str, policy: str, size: int) -> Method:
    """A method of Fig. 8a. ACT's chunks have a control point every 4 steps as in the preset, or every gcd(size, 4)."""
    modes = MODES if size == 100 else ("chunk",)
    if policy != "act":
        return Method(label, policy, size, modes=modes)
    return Method(label, policy, size, ("--actions_per_query", str(math.gcd(size, 4))), WITH_CVAE, modes)


POLICIES = {"ACT": "act", "BC-ConvMLP": "bc_convmlp", "VINN": "vinn"}
SIZED = {label: [sized(label, policy, size) for size in SIZES] for label, policy in POLICIES.items()}
HUNDREDS = {label: methods[SIZES.index(100)] for label, methods in SIZED.items()}
CVAE = (Method("ACT without CVAE", "act", modes=MODES), Method("ACT with CVAE", "act", 60, WITH_CVAE, modes=MODES))
# Not in the paper: nothing is trained on demonstrations that are held out, and the insertion needs all of them.
ALL = ("--val_fraction", "0")
NONE_HELD_OUT = Method("ACT, none held out", "act", 60, ALL, WITH_CVAE, MODES, tasks=("insertion",))
METHODS = (*CVAE, *(methods[i] for i in (2, 0, 3, 1, 4) for methods in SIZED.values()), NONE_HELD_OUT)


def fig8a(rows: Rows, track: str) -> str:
    """Success [%] over chunk size, mean of all settings."""
    lines = []
    for label, methods in SIZED.items():
        lines.append([label, *(stats.percent(mean(rows.settings(method, track, "chunk"))) for method in methods)])
        lines.append(["paper", *map("{:g}".format, PAPER_SIZES[label])])
    return markdown(["", *map(str, SIZES)], lines)


def fig8b(rows: Rows, track: str) -> str:
    """Success [%] of chunks of 100 and of ensembled chunks, mean of all settings."""
    pairs = []
    for label, method in HUNDREDS.items():
        off, on = (rows.settings(method, track, mode) for mode in MODES)
        pairs.append((label, off, on, PAPER_ENSEMBLE[label]))
    return stats.compared(["chunks", "ensembled"], pairs)


def fig8c(rows: Rows, track: str) -> str:
    """Success [%] of ACT without and with the CVAE, mean of both tasks."""
    pairs = []
    for style, mode in product(STYLES, MODES):
        off, on = (rows.settings(method, track, mode, [style]) for method in CVAE)
        figures = PAPER_CVAE[style] if mode == "ensemble" else ()
        pairs.append((f"{STYLES[style]} ({CVAE[0].form(mode)})", off, on, figures))
    return stats.compared(["without", "with"], pairs)


def held_out(rows: Rows, track: str) -> str:
    """Success [%] of ACT at the insertion, trained on nine tenths or on all of the demonstrations."""
    pairs = []
    for style, mode in product(STYLES, MODES):
        methods = CVAE[style == "human"], NONE_HELD_OUT
        usual, none = ([rows.counts(method, "insertion", style, track, mode)] for method in methods)
        pairs += [(f"{STYLES[style]} ({NONE_HELD_OUT.form(mode)})", usual, none, ())] if any(none) else []
    return stats.compared(["a tenth held out", "none"], pairs)


def sizes(rows: Rows, track: str, task: str, style: str) -> str:
    """Success [%] over chunk size, and each training seed's success."""
    lines = []
    for label, methods in SIZED.items():
        found = [rows.counts(method, task, style, track, "chunk") for method in methods]
        found.append(rows.counts(HUNDREDS[label], task, style, track, "ensemble"))
        lines.append([label, *map(stats.detailed, found)])
    return markdown(["", *map(str, SIZES), "100, ensembled"], lines)


def cvae(rows: Rows, track: str) -> str:
    """Success [%] of ACT without and with the CVAE, strict success, and each training seed's success."""
    lines = []
    for (task, style), title in SETTINGS.items():
        found = [rows.counts(method, task, style, track, mode) for mode in MODES for method in CVAE]
        lines.append([title, *(stats.detailed(counts, strict=True) for counts in found)])
    head = [f"{how}, {which} CVAE" for how in ("chunks", "ensembled") for which in ("without", "with")]
    return markdown(["", *head], lines)


def figure(rows: Rows, track: str) -> Figure:
    """Solid lines with intervals are ours, dashed ones the paper's. Means that are compared share their rollouts."""
    made, (sizes, ensembling, cvae) = panels((9.6, 3.4), 1, 3, width_ratios=(2.2, 1, 1))
    for label, methods in SIZED.items():
        draw(sizes, label, [mean(rows.settings(m, track, "chunk")) for m in methods], PAPER_SIZES[label])
        pair = (rows.settings(HUNDREDS[label], track, mode) for mode in MODES)
        draw(ensembling, label, stats.shared(*pair), PAPER_ENSEMBLE[label])
    for style, figures in PAPER_CVAE.items():
        pair = (rows.settings(method, track, "ensemble", [style]) for method in CVAE)
        draw(cvae, STYLES[style], stats.shared(*pair), figures)
    sizes.plot([], [], "--", color="0.25", label="paper")
    sizes.set(ylabel="success [%]", ylim=(0, 101), xlabel="control steps")
    titles = {"a. chunk size": SIZES, "b. ensembling": ("off", "on"), "c. CVAE, ensembled": ("without", "with")}
    for axes, (title, ticks) in zip((sizes, ensembling, cvae), titles.items(), strict=True):
        axes.set_title(title, fontsize=10)
        axes.set_xlim(-0.3, len(ticks) - 0.7)
        axes.set_xticks(range(len(ticks)), [str(tick) for tick in ticks])
    sizes.legend(frameon=False, fontsize=8, loc="upper right")
    cvae.legend(frameon=False, fontsize=8, loc="lower right")
    return made


def draw(axes: Axes, label: str, means: stats.Settings, figures: Sequence[float]) -> None:
    """Draws means and the paper's figures; a line has a gap where a setting lacks results."""
    rates = [counts.rate() if counts else None for counts in means]
    ys = [rate and (rate.rate, rate.low, rate.high) for rate in rates]
    curve(axes, COLOURS[label], label, range(len(ys)), ys)
    axes.plot(range(len(figures)), figures, ".--", color=COLOURS[label], alpha=0.7, linewidth=1)


TABLES = {"fig8a": fig8a, "fig8b": fig8b, "fig8c": fig8c, "held_out": held_out, "cvae": cvae}
SETTING_TABLES = {"sizes": sizes}
program = partial(main, "ablations", METHODS, TABLES, __doc__)

if __name__ == "__main__":
    sys.exit(program())
