"""The lecture's table of real tasks, on their rigid versions here: `python -m benchmarks.lecture_table --budget 90m`.

Slide Ziploc, Slot Battery and Open Cup, for ACT and the four methods beside it in the lecture, in the form of their
papers, and two of them in chunks as well. The rows go to benchmarks/results/lecture_table.json.
"""

import sys
from dataclasses import dataclass, replace
from functools import partial

from matplotlib.figure import Figure

from benchmarks import table1
from benchmarks.figures import panels
from benchmarks.grid import cells
from benchmarks.grid.cells import Task
from benchmarks.grid.run import main
from benchmarks.grid.statistics import Rows, best, markdown, percent

TITLES: dict[Task, str] = {"slide_ziploc": "Slide Ziploc", "slot_battery": "Slot Battery", "open_cup": "Open Cup"}
SETTINGS = {(task, "scripted"): title for task, title in TITLES.items()}
METHODS = tuple(replace(method, tasks=tuple(TITLES)) for method in table1.METHODS[:7])  # the paper's, then in chunks

# Tables I and II of Zhao et al. 2023: success [%] of each stage on the real robot, 25 trials, people's demonstrations.
REAL: dict[str, dict[str, tuple[int, int, int]]] = {
    "slide_ziploc": {"ACT": (92, 96, 88), "BeT": (8, 0, 0), "RT-1": (4, 0, 0), "VINN": (28, 0, 0)},
    "slot_battery": {"ACT": (100, 100, 96), "BeT": (4, 0, 0), "RT-1": (4, 0, 0), "VINN": (20, 0, 0)},
    "open_cup": {"ACT": (100, 96, 84), "BeT": (12, 0, 0)},
}
REAL["slide_ziploc"]["BC-ConvMLP"] = REAL["slot_battery"]["BC-ConvMLP"] = (0, 0, 0)


@dataclass(frozen=True)
class Options(cells.Options):
    """Selects parts of the table, and how they are run. The same command continues where it stopped."""

    tasks: tuple[Task, ...] = tuple(TITLES)
    styles: tuple[cells.Style, ...] = ("scripted",)


def real(form: table1.Form, task: str) -> tuple[int, int, int] | None:
    """Returns the paper's figures, if the method acts here as it did there: ACT ensembled, the others step by step."""
    method, mode = form
    same = mode == "ensemble" if method.label == "ACT" else method.chunk_size == 1
    return REAL[task].get(method.label) if same else None


def stages(rows: Rows, track: str, task: str, style: str) -> str:
    """Rollouts that reached each stage [%], with the interval of the last one, strict success, and the paper's."""
    found, lines = table1.counts_of(rows, track, task, style, METHODS), []
    bold, names = best(found), next(iter(found.values())).rows[0]["stages"] if found else []
    for form, counts in found.items():
        method, mode = form
        first = [f"{100 * counts.rate(stage=stage).rate:.1f}" for stage in range(1, len(names))]
        strict = f"{100 * counts.rate(strict=True).rate:.1f}"
        figures = " / ".join(map(str, real(form, task) or ()))
        name = f"{method.label}, {method.form(mode)}"
        lines.append([name, *first, percent(counts, form in bold), strict, str(len(counts.rows)), figures])
    return markdown(["", *names, "strict", "training seeds", "paper, real robot"], lines)


def overview(rows: Rows, track: str) -> str:
    """Success in all tasks [%], with its interval; bold is the best, and what paired tests do not separate from it."""
    found = {task: table1.counts_of(rows, track, task, "scripted", METHODS) for task in TITLES}
    bold = {task: best(counts) for task, counts in found.items()}
    forms = dict.fromkeys(form for counts in found.values() for form in counts)
    lines = [
        [f"{form[0].label}, {form[0].form(form[1])}", *(percent(found[t].get(form), form in bold[t]) for t in TITLES)]
        for form in forms
    ]
    return markdown(["", *TITLES.values()], lines)


def figure(rows: Rows, track: str) -> Figure:
    """A panel for each task, in it a row per method, and hollow marks for the paper's figures on the real robot."""
    labels = list(dict.fromkeys(method.label for method in METHODS))
    made, axes = panels((9.6, 0.32 * len(labels) + 1.5), 1, len(TITLES), sharex=True)
    for panel, (task, title) in zip(axes, TITLES.items(), strict=True):
        figures = {form: figures[-1] for form in table1.all_forms(METHODS) if (figures := real(form, task))}
        table1.draw(panel, table1.counts_of(rows, track, task, "scripted", METHODS), figures, labels, title)
    table1.explain(made, axes[0], "the paper's, real robot")
    return made


TABLES = {"overview": overview}
SETTING_TABLES = {"stages": stages}
program = partial(main, "lecture_table", METHODS, TABLES, __doc__, kind=Options, page="docs/lecture.md")

if __name__ == "__main__":
    sys.exit(program())
