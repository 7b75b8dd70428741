"""Table I of the ACT paper, and the policies it could not know: `python -m benchmarks.table1 --budget 90m`.

Every policy in its paper's form and with chunks, on both tasks, both demonstration styles, several training seeds.
Results go to benchmarks/results/table1.json, the page to runs/table1.html.
"""

import sys
from collections.abc import Mapping, Sequence

from act.evaluation.paper import PAPER
from benchmarks.grid.cells import MODES, STEPS, STYLES, Method, Options
from benchmarks.grid.results import Row
from benchmarks.grid.run import main
from benchmarks.grid.statistics import REAL, SETTINGS, TRACKS, Rows, Tally, differences
from benchmarks.grid.tables import Entry, Table, compose, each_seed, latencies, matrix, named, of_rate, strip

# What differs between scripted and human demonstrations is the CVAE, as preset `fast` recommends it.
METHODS = (
    Method("ACT", "act", human=("--use_cvae",), modes=MODES),
    Method("BC-ConvMLP", "bc_convmlp", 1),
    Method("BeT", "bet", 1, ("--n_obs_steps", "100")),
    Method("RT-1", "rt1", 1, length=4),  # 256 classes per number learn slowly; validation rollouts
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
    Method("RT-1", "rt1", 10),  # its head has a number per action, dimension and bin
)
LEAD = (
    "Success in % of rollouts on test seeds that nothing was chosen by, with 95 % Wilson intervals in which all "
    "training seeds count and those that win the same starts weigh as one; 50 demonstrations per task and style. "
    "Paper: Zhao et al. 2023, Table I, 3 seeds × 50 rollouts, images of one camera, human demonstrations where ours "
    "are a scripted stand-in. Tracks see different things and are never compared."
)


def forms(rows: Rows, track: str) -> list[tuple[Method, str]]:
    """Methods and ways of execution that have a number in any setting."""
    pairs = [(method, mode) for method in METHODS for mode in method.modes]
    return [(method, mode) for method, mode in pairs if any(rows.settings(method, track, mode).tallies)]


def tallies(rows: Rows, task: str, style: str, track: str) -> dict[Entry, Tally]:
    """All there is in one setting."""
    found = {named(*form): rows.tally(form[0], task, style, track, form[1]) for form in forms(rows, track)}
    return {name: tally for name, tally in found.items() if tally}


def theirs(method: Method, mode: str, task: str, style: str, stage: int = -1) -> float | None:
    """The paper's figure [%]: ACT ensembled, the others in single steps."""
    same = mode == "ensemble" if method.label == "ACT" else method.chunk_size == 1
    return PAPER[task].methods[method.label][stage][style == "human"] if same else None


def overview(rows: Rows, track: str) -> Table:
    """Success of every method in the four settings, drawn; bold what is not told apart from the best."""
    settings = {setting: tallies(rows, *setting, track) for setting in SETTINGS}
    bold = {setting: leading(found) for setting, found in settings.items()}
    table = []
    for method, mode in forms(rows, track):
        name, entries = named(method, mode), []
        for setting, found in settings.items():
            tally, figure = found.get(name), theirs(method, mode, *setting)
            drawing = strip(tally.success, None if figure is None else figure / 100) if tally else ""
            style = "strong" if name in bold[setting] else ""
            entries.append(of_rate(tally, small=each_seed(tally), drawing=drawing, style=style))
        table.append((name, entries, ""))
    heads = [Entry(PAPER[task].title, style) for task, style in SETTINGS]
    note = (
        "Dot and bar: success and its interval; orange: the paper's figure for the same form of the method. Bold: the "
        f"best, and what paired tests do not tell apart from it (p ≥ {REAL}, Holm-corrected). Training takes "
        f"{_lengths(rows.options)}."
    )
    return Table(f"Success, {track} track: {TRACKS[track]}", heads, table, note)


def _lengths(options: Options) -> str:
    """How many steps a training takes."""
    if options.steps:
        return f"{options.steps:,} steps"
    rest = [f"{steps:,} for the {PAPER[task].title.lower()}" for task, steps in STEPS.items()]
    return f"{' and '.join(rest)} steps; of RT-1 in single steps four times as many"


def tried(rows: Rows, track: str, task: str) -> bool:
    return any(tallies(rows, task, style, track) for style in STYLES)


def leading(found: Mapping[Entry, Tally]) -> set[Entry]:
    """The most successful one, and those that are not really worse than it on the rollouts they share."""
    best = max(found, key=lambda name: found[name].success.rate, default=None)
    compared = {pair[1]: gap for pair, gap in differences(found).items() if pair[0] == best}
    alike = {name for name, gap in compared.items() if not gap.real or gap.points > 0}
    return alike | {best} if best is not None else set()


def stages(rows: Rows, track: str, task: str) -> Table:
    """A block of Table I: every stage, ours and under it the paper's."""
    paper, table = PAPER[task], []
    for method, mode in forms(rows, track):
        pair = [rows.tally(method, task, style, track, mode) for style in STYLES]
        entries = [of_rate(tally, tally and tally.stage(reward)) for _, reward in paper.stages for tally in pair]
        entries += [of_rate(tally, tally and tally.strict) for tally in pair]
        table.append((named(method, mode), entries, ""))
        figures = [theirs(method, mode, task, style, i) for i in range(len(paper.stages)) for style in STYLES]
        if any(figure is not None for figure in figures):
            table.append((Entry("paper"), [*(Entry(f"{figure:g}") for figure in figures), Entry(), Entry()], "other"))
    heads = [Entry(stage, style) for stage, _ in (*paper.stages, ("Strict", 0)) for style in STYLES]
    note = "Strict: the result still held at the end. The paper's ACT is ensembled, its baselines act in single steps."
    return Table(f"{paper.title}, {track} track: every stage beside the paper", heads, table, note, "narrow")


def queries(rows: Rows, track: str) -> Table | None:
    """How long a query takes each method, over all settings and training seeds, and how long it may."""
    found = {named(*form): rows.settings(form[0], track, form[1]).tallies for form in forms(rows, track)}
    pooled = {
        name: Tally(tuple(row for tally in parts if tally for row in tally.rows)) for name, parts in found.items()
    }
    return latencies(f"Time of a query, {track} track", pooled)


def draw(rows: Sequence[Row], options: Options) -> tuple[str, str]:
    """The page and the markdown of all rows."""
    found = Rows(rows, options)
    tables: list[Table | None] = []
    for track in found.tracks():
        tables.append(overview(found, track))
        tables += [stages(found, track, task) for task in PAPER if tried(found, track, task)]
        for task, style in SETTINGS:
            title = f"{PAPER[task].title}, {style} demonstrations, {track} track: which differences are real"
            tables.append(matrix(title, tallies(found, task, style, track)))
        tables.append(queries(found, track))
    return compose("Table I, beside the paper", LEAD, tables, rows)


def program(argv: Sequence[str] | None = None) -> int:
    return main("table1", METHODS, draw, __doc__ or "", argv)


if __name__ == "__main__":
    sys.exit(program())
