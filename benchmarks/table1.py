"""Table I of the ACT paper, with more policies: `python -m benchmarks.table1 --budget 90m`.

Every policy is trained in its paper's form and with chunks, on both tasks and both styles of demonstrations, with three
training seeds. The rows go to benchmarks/results/table1.json.
"""

import sys
from collections.abc import Sequence
from functools import partial
from statistics import fmean
from typing import TYPE_CHECKING

from act.evaluation.execution import MODES, Mode
from act.evaluation.paper import PAPER
from act.types import CONTROL_TIMESTEP
from benchmarks.figures import panels, plain
from benchmarks.grid.cells import Method
from benchmarks.grid.run import main
from benchmarks.grid.statistics import SETTINGS, Counts, Rows, best
from benchmarks.grid.tables import STYLE_NAMES, detailed, markdown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Scripted and varied demonstrations differ in the CVAE, as preset `fast` recommends.
METHODS = (
    Method("ACT", "act", human=("--use_cvae",), modes=MODES),
    Method("BC-ConvMLP", "bc_convmlp", 1),
    Method("BeT", "bet", 1, ("--n_obs_steps", "100")),
    Method("RT-1", "rt1", 1, length=4),  # 256 classes per number learn slowly, as validation rollouts showed
    Method("VINN", "vinn", 1),
    Method("BC-ConvMLP", "bc_convmlp", modes=MODES),
    Method("VINN", "vinn", modes=MODES),
    Method("Diffusion", "diffusion"),
    Method("Flow matching", "diffusion", flags=("--objective", "flow")),
    Method("Two-step regression", "diffusion", flags=("--objective", "regression")),
    Method("GMM", "gmm"),
    Method("Categorical per dimension", "categorical"),
    Method("Categorical joint", "categorical", flags=("--joint",)),
    Method("VAE", "vae"),
    Method("BeT", "bet"),
    Method("RT-1", "rt1", 10),  # its head has one number per action, dimension and class
)
Form = tuple[Method, Mode]  # a method and the mode in which it is executed
COLUMNS = ("single step", "chunks of 60", "chunks, ensembled")
MARKS = (("o", "#0072b2"), ("s", "#e69f00"), ("D", "#009e73"))  # of the columns; colours of Okabe and Ito 2008
HOLLOW = {"markersize": 7, "markerfacecolor": "none", "markeredgewidth": 1.6, "linestyle": "none"}


def forms(rows: Rows, track: str) -> list[Form]:
    """Returns the methods and modes that have results in any setting."""
    return [(m, mode) for m in METHODS for mode in m.modes if any(rows.settings(m, track, mode))]


def column(method: Method, mode: Mode) -> int:
    """Returns the index of its form in COLUMNS."""
    return 0 if method.chunk_size == 1 else 1 + MODES.index(mode)


def counts_of(rows: Rows, task: str, style: str, track: str) -> dict[Form, Counts]:
    """Returns all results of one setting."""
    found = {form: rows.counts(form[0], task, style, track, form[1]) for form in forms(rows, track)}
    return {form: counts for form, counts in found.items() if counts}


def paper_success(method: Method, mode: Mode, task: str, style: str) -> float | None:
    """Returns the paper's figure [%]: ACT is ensembled there, the other methods act in single steps."""
    same = mode == "ensemble" if method.label == "ACT" else method.chunk_size == 1
    return PAPER[task].methods[method.label][-1][style == "human"] if same else None


def overview(rows: Rows, track: str) -> str:
    """Success [%] in all settings, and the paper's; bold is the best, and what paired tests do not separate from it."""
    found = {setting: counts_of(rows, *setting, track) for setting in SETTINGS}
    bold, lines = {setting: best(counts) for setting, counts in found.items()}, []
    for form in forms(rows, track):
        cells = [detailed(counts.get(form), form in bold[setting]) for setting, counts in found.items()]
        figures = [paper_success(*form, *setting) for setting in SETTINGS]
        paper = " / ".join(f"{figure:g}" for figure in figures if figure is not None)
        lines.append([f"{form[0].label}, {form[0].form(form[1])}", *cells, paper])
    return markdown(["", *(f"{PAPER[task].title}, {STYLE_NAMES[style]}" for task, style in SETTINGS), "paper"], lines)


def setting(rows: Rows, track: str, task: str, style: str) -> str:
    """Success [%], strict success, and each training seed's success."""
    found, lines = counts_of(rows, task, style, track), {}
    bold = best(found)
    for method, mode in forms(rows, track):
        line = lines.setdefault(method.label, [""] * 4)
        other_size = f"of {method.chunk_size}: " if method.chunk_size not in (1, 60) else ""
        text = detailed(found.get((method, mode)), (method, mode) in bold, strict=True)
        line[column(method, mode)] = text and other_size + text
        figure = paper_success(method, mode, task, style)
        line[3] = line[3] if figure is None else f"{figure:g}"
    return markdown(["", *COLUMNS, "paper (images)"], [[label, *line] for label, line in lines.items()])


def latency(rows: Rows, track: str) -> str:
    """Time of a query with one observation, beside the time until the next query is due."""
    lines = []
    for method, mode in forms(rows, track):
        found = [row for counts in rows.settings(method, track, mode) if counts for row in counts.rows]
        if times := [row["single_query"] for row in found if row["single_query"]]:
            due = 1e3 * CONTROL_TIMESTEP * found[0]["n_action_steps"]  # [ms]
            p50, p99 = fmean(time["p50_ms"] for time in times), fmean(time["p99_ms"] for time in times)
            figures = [f"{p50:.1f}", f"{p99:.1f}", f"{due:.0f}", "yes" if p99 <= due else "no"]
            lines.append([f"{method.label} ({method.form(mode)})", *figures])
    return markdown(["", "p50 [ms]", "p99 [ms]", "due every [ms]", "in time"], lines)


def figure(rows: Rows, track: str) -> "Figure":
    """A panel for each setting with results, in it a row per method, and a mark with an interval per form.

    Hollow marks are the paper's figures, small dots are single training seeds.
    """
    labels = list(dict.fromkeys(method.label for method, _ in forms(rows, track)))
    settings = [setting for setting in SETTINGS if (track, *setting) in rows.where]
    lines = (len(settings) + 1) // 2
    made, axes = panels((9.6, (0.32 * len(labels) + 0.5) * lines + 0.5), lines, 2, sharex=True)
    for panel in axes[len(settings) :]:
        panel.set_axis_off()
    for panel, setting in zip(axes, settings, strict=False):
        draw(panel, rows, track, *setting, labels)
    marks = zip(COLUMNS, MARKS, strict=True)
    handles = [
        axes[0].plot([], [], marker, color=colour, label=form.removesuffix(" of 60"))[0]
        for form, (marker, colour) in marks
    ]
    handles += axes[0].plot([], [], "o", color="0.25", label="hollow: the paper's, from images", **HOLLOW)
    made.legend(handles=handles, loc="outside upper center", ncols=len(handles), frameon=False, fontsize=9)
    made.supxlabel("success [%], 95 % interval", fontsize=10)
    return made


def draw(axes: "Axes", rows: Rows, track: str, task: str, style: str, labels: Sequence[str]) -> None:
    """Draws the panel of one setting."""
    for method, mode in forms(rows, track):
        place = column(method, mode)
        (marker, colour), y = (
            MARKS[place],
            0.22 * (1 - place) - labels.index(method.label),
        )  # so that intervals do not cover each other
        if counts := rows.counts(method, task, style, track, mode):
            rate, each = counts.rate(), [100 * rate for rate in counts.rates]
            axes.plot([100 * rate.low, 100 * rate.high], [y, y], color=colour, linewidth=1.6)
            axes.plot(100 * rate.rate, y, marker, color=colour, markersize=5)
            if len(each) > 1:
                axes.plot(each, [y] * len(each), ".", color=colour, alpha=0.5, markersize=4)
        if (paper := paper_success(method, mode, task, style)) is not None:
            axes.plot(paper, y, marker, color=colour, **HOLLOW)
    title = f"{PAPER[task].title}, {STYLE_NAMES[style]}"
    axes.set(title=title, xlim=(-2, 102), ylim=(0.5 - len(labels), 0.6))
    axes.set_yticks([-i for i in range(len(labels))], labels)
    axes.grid(axis="x", color="0.9")
    plain(axes)


TABLES = {"overview": overview, "latency": latency}
SETTING_TABLES = {"setting": setting}


program = partial(main, "table1", METHODS, (TABLES, SETTING_TABLES), __doc__)

if __name__ == "__main__":
    sys.exit(program())
