"""Table I of the ACT paper, with more policies: `python -m benchmarks.table1 --budget 90m`.

Every policy is trained in its paper's form and with chunks, on both tasks and both styles of demonstrations, with three
training seeds. The rows go to benchmarks/results/table1.json.
"""

import sys
from collections.abc import Sequence
from statistics import fmean

from act.evaluation.paper import PAPER
from act.types import CONTROL_TIMESTEP
from benchmarks.grid.cells import MODES, Method
from benchmarks.grid.run import main
from benchmarks.grid.statistics import SETTINGS, Counts, Rows, best
from benchmarks.grid.tables import STYLE_NAMES, detailed, markdown, percent

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
Form = tuple[Method, str]  # a method and the mode in which it is executed


def forms(rows: Rows, track: str) -> list[Form]:
    """Returns the methods and modes that have results in any setting."""
    pairs = [(method, mode) for method in METHODS for mode in method.modes]
    return [(method, mode) for method, mode in pairs if any(rows.settings(method, track, mode))]


def counts_of(rows: Rows, task: str, style: str, track: str) -> dict[Form, Counts]:
    """Returns all results of one setting."""
    found = {form: rows.counts(form[0], task, style, track, form[1]) for form in forms(rows, track)}
    return {form: counts for form, counts in found.items() if counts}


def paper_success(method: Method, mode: str, task: str, style: str, stage: int = -1) -> float | None:
    """Returns the paper's figure [%]: ACT is ensembled there, the other methods act in single steps."""
    same = mode == "ensemble" if method.label == "ACT" else method.chunk_size == 1
    return PAPER[task].methods[method.label][stage][style == "human"] if same else None


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
        counts, column = found.get((method, mode)), 0 if method.chunk_size == 1 else 1 + MODES.index(mode)
        line[column] = (other_size if counts else "") + detailed(counts, (method, mode) in bold, strict=True)
        figure = paper_success(method, mode, task, style)
        line[3] = line[3] if figure is None else f"{figure:g}"
    head = ("", "single step", "chunks of 60", "chunks, ensembled", "paper (images)")
    return markdown(head, [[label, *line] for label, line in lines.items()])


def stages(rows: Rows, track: str, task: str, style: str) -> str:
    """Success [%] at every stage, and below it the paper's."""
    paper, lines = PAPER[task], []
    for method, mode in forms(rows, track):
        counts = rows.counts(method, task, style, track, mode)
        cells = [percent(counts, counts and counts.stage(reward)) for _, reward in paper.stages]
        lines.append([f"{method.label} ({method.form(mode)})", *cells, percent(counts, counts and counts.strict)])
        figures = [paper_success(method, mode, task, style, i) for i in range(len(paper.stages))]
        if None not in figures:
            lines.append(["paper", *(f"{figure:g}" for figure in figures), "–"])
    return markdown(["", *(name for name, _ in paper.stages), "Strict"], lines)


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


TABLES = {"overview": overview, "latency": latency}
SETTING_TABLES = {"setting": setting, "stages": stages}


def program(argv: Sequence[str] | None = None) -> int:
    return main("table1", METHODS, (TABLES, SETTING_TABLES), __doc__, argv)


if __name__ == "__main__":
    sys.exit(program())
