"""Table I of the ACT paper, with more policies: `python -m benchmarks.table1 --budget 90m`.

Every policy is trained in its paper's form and with chunks, on both tasks and both styles of demonstrations, with three
training seeds. The rows go to benchmarks/results/table1.json.
"""

import sys
from collections.abc import Mapping, Sequence
from functools import partial
from statistics import fmean

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from act.evaluation.execution import MODES, Mode
from act.evaluation.paper import PAPER
from act.types import CONTROL_TIMESTEP
from benchmarks.figures import panels
from benchmarks.grid.cells import Method
from benchmarks.grid.run import main
from benchmarks.grid.statistics import SETTINGS, Counts, Rows, best, detailed, markdown

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
    Method("Two-step regression", "diffusion", flags=("--objective", "regression"), modes=MODES),
    Method("GMM", "gmm"),
    Method("Categorical per dimension", "categorical"),
    Method("Categorical joint", "categorical", flags=("--joint",)),
    Method("VAE", "vae", modes=MODES),
    Method("BeT", "bet"),
    Method("RT-1", "rt1", 10),  # its head has one number per action, dimension and class
    # What the baselines gain from ACT's smooth chunks, longer training or other answers; and ACT with relative targets.
    Method("RT-1, trained 4 times as long", "rt1", 10, length=4),
    Method("BC-ConvMLP, spline", "bc_convmlp", flags=("--actions_per_point", "4"), modes=MODES),
    Method("BC-ConvMLP, spline, l1", "bc_convmlp", flags=("--actions_per_point", "4", "--loss", "l1"), modes=MODES),
    Method("BeT, most probable bin", "bet", flags=("--decode", "argmax"), modes=MODES),
    Method("Categorical per dimension, most probable", "categorical", flags=("--decode", "argmax"), modes=MODES),
    Method("Categorical per dimension, mean", "categorical", flags=("--decode", "mean"), modes=MODES),
    Method("VINN, distance of joints added", "vinn", 1, ("--state_weight", "10"), tracks=("images",)),
    Method("ACT, relative targets", "act", flags=("--relative_actions",), human=("--use_cvae",), modes=MODES),
)
Form = tuple[Method, Mode]  # a method and the mode in which it is executed
COLUMNS = {"single step": ("o", "#0072b2"), "chunks of 60": ("s", "#e69f00"), "chunks, ensembled": ("D", "#009e73")}
HOLLOW = {"markersize": 7, "markerfacecolor": "none", "markeredgewidth": 1.6, "linestyle": "none"}


def all_forms(methods: Sequence[Method]) -> list[Form]:
    """Returns every method in every mode."""
    return [(method, mode) for method in methods for mode in method.modes]


def forms(rows: Rows, track: str) -> list[Form]:
    """Returns the methods and modes that have results in any setting."""
    return [form for form in all_forms(METHODS) if any(rows.settings(form[0], track, form[1]))]


def column(method: Method, mode: Mode) -> int:
    """Returns the index of its form in COLUMNS."""
    return 0 if method.chunk_size == 1 else 1 + MODES.index(mode)


def counts_of(rows: Rows, track: str, task: str, style: str, methods: Sequence[Method] = METHODS) -> dict[Form, Counts]:
    """Returns all results of one setting."""
    found = {form: rows.counts(form[0], task, style, track, form[1]) for form in all_forms(methods)}
    return {form: counts for form, counts in found.items() if counts}


def paper_success(method: Method, mode: Mode, task: str, style: str) -> float | None:
    """Returns the paper's figure [%]: ACT is ensembled there, the other methods act in single steps."""
    same = mode == "ensemble" if method.label == "ACT" else method.chunk_size == 1
    figures = PAPER[task].methods.get(method.label) if same else None
    return figures[-1][style == "human"] if figures else None


def overview(rows: Rows, track: str) -> str:
    """Success [%] in all settings, and the paper's; bold is the best, and what paired tests do not separate from it."""
    found = [counts_of(rows, track, *setting) for setting in SETTINGS]
    bold, lines = [best(counts) for counts in found], []
    for form in forms(rows, track):
        cells = [detailed(counts.get(form), form in top) for counts, top in zip(found, bold, strict=True)]
        figures = [paper_success(*form, *setting) for setting in SETTINGS]
        paper = " / ".join(f"{figure:g}" for figure in figures if figure is not None)
        lines.append([f"{form[0].label}, {form[0].form(form[1])}", *cells, paper])
    return markdown(["", *SETTINGS.values(), "paper"], lines)


def setting(rows: Rows, track: str, task: str, style: str) -> str:
    """Success [%], strict success, and each training seed's success."""
    found, lines = counts_of(rows, track, task, style), {}
    bold = best(found)
    for method, mode in forms(rows, track):
        line = lines.setdefault(method.label, [""] * 4)
        other_size = f"of {method.chunk_size}: " if method.chunk_size not in (1, 60) else ""
        text = detailed(found.get((method, mode)), (method, mode) in bold, strict=True)
        line[column(method, mode)] = text and other_size + text
        if (figure := paper_success(method, mode, task, style)) is not None:
            line[3] = f"{figure:g}"
    return markdown(["", *COLUMNS, "paper (images)"], [[label, *line] for label, line in lines.items()])


def latency(rows: Rows, track: str) -> str:
    """Time of a query with one observation, beside the time until the next query is due."""
    lines = []
    for method, mode in forms(rows, track):
        found = [row for counts in rows.settings(method, track, mode) if counts for row in counts.rows]
        if times := [row["single_query"] for row in found if row["single_query"]]:
            due = 1e3 * CONTROL_TIMESTEP * found[0]["n_action_steps"]  # [ms]
            p50, p99 = (fmean(time[key] for time in times) for key in ("p50_ms", "p99_ms"))
            name, in_time = f"{method.label} ({method.form(mode)})", "yes" if p99 <= due else "no"
            lines.append([name, f"{p50:.1f}", f"{p99:.1f}", f"{due:.0f}", in_time])
    return markdown(["", "p50 [ms]", "p99 [ms]", "due every [ms]", "in time"], lines)


def figure(rows: Rows, track: str) -> Figure:
    """A panel for each setting with results, in it a row per method, and a mark with an interval per form.

    Hollow marks are the paper's figures, small dots are single training seeds.
    """
    labels = list(dict.fromkeys(method.label for method, _ in forms(rows, track)))
    settings = [setting for setting in SETTINGS if (track, *setting) in rows.where]
    lines = (len(settings) + 1) // 2
    made, axes = panels((9.6, (0.32 * len(labels) + 0.5) * lines + 0.5), lines, 2, sharex=True)
    for panel, setting in zip(axes, settings, strict=False):
        figures = {form: paper_success(*form, *setting) for form in forms(rows, track)}
        draw(panel, counts_of(rows, track, *setting), figures, labels, SETTINGS[setting])
    for panel in axes[len(settings) :]:
        panel.set_axis_off()
    explain(made, axes[0], "the paper's, from images")
    return made


def explain(made: Figure, axes: Axes, hollow: str) -> None:
    """Adds the legend and the name of the axis of success; `hollow` says what the hollow marks are."""
    for name, (marker, colour) in COLUMNS.items():
        axes.plot([], [], marker, color=colour, label=name.removesuffix(" of 60"))
    axes.plot([], [], "o", color="0.25", label=f"hollow: {hollow}", **HOLLOW)
    made.legend(loc="outside upper center", ncols=4, frameon=False, fontsize=9)
    made.supxlabel("success [%], 95 % interval", fontsize=10)


def draw(
    axes: Axes, found: Mapping[Form, Counts], figures: Mapping[Form, float | None], labels: Sequence[str], title: str
) -> None:
    """Draws the panel of one setting; forms of one method stand a little apart, so that intervals stay visible."""
    for form in dict.fromkeys((*figures, *found)):
        marker, colour = list(COLUMNS.values())[column(*form)]
        y = 0.22 * (1 - column(*form)) - labels.index(form[0].label)
        if counts := found.get(form):
            rate, each = counts.rate(), [100 * rate for rate in counts.rates]
            axes.plot([100 * rate.low, 100 * rate.high], [y, y], color=colour, linewidth=1.6)
            axes.plot(100 * rate.rate, y, marker, color=colour, markersize=5)
            if len(each) > 1:
                axes.plot(each, [y] * len(each), ".", color=colour, alpha=0.5, markersize=4)
        if (paper := figures.get(form)) is not None:
            axes.plot(paper, y, marker, color=colour, **HOLLOW)
    axes.set(xlim=(-2, 102), ylim=(0.5 - len(labels), 0.6))
    axes.set_title(title, fontsize=10)
    axes.set_yticks([-i for i in range(len(labels))], labels)
    axes.grid(axis="x", color="0.9")


TABLES = {"overview": overview, "latency": latency}
SETTING_TABLES = {"setting": setting}
program = partial(main, "table1", METHODS, TABLES, __doc__)

if __name__ == "__main__":
    sys.exit(program())
