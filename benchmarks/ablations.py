"""Fig. 8 of the ACT paper: chunk size, ensembling, CVAE: `python -m benchmarks.ablations --budget 90m`.

Results go to benchmarks/results/ablations.json, the page to runs/ablations.html. Training runs that Table I has too
are shared with it; `--take benchmarks/results/table1.json` shares its numbers without the runs.
"""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from act.evaluation.charts import Series, curves
from act.evaluation.rates import holm
from benchmarks.grid.cells import MODES, STYLES, Method, Options
from benchmarks.grid.results import Row
from benchmarks.grid.run import main
from benchmarks.grid.statistics import REAL, SETTINGS, TRACKS, Mean, Rows, paired
from benchmarks.grid.tables import Entry, Table, compose, each_seed, named, of_rate

SIZES = (1, 10, 100, 200, 400)
ENSEMBLED = 100  # chunk size at which ensembling is looked at
# Success [%] averaged over the four settings (Zhao et al. 2023, Fig. 8); ensembling at the best size of each method.
PAPER_SIZES = {"ACT": (1, 21, 44, 42, 41), "BC-ConvMLP": (1, 1, 24, 25, 20), "VINN": (0, 6, 23, 27.25, 37)}
PAPER_ENSEMBLE = {"ACT": (44, 47.3), "BC-ConvMLP": (25, 29), "VINN": (37, 17)}
PAPER_CVAE = {"scripted": (58, 59), "human": (2, 35.3)}  # without, with


def sized(label: str, policy: str, size: int) -> Method:
    """A method of Fig. 8a. Control points of ACT's chunks lie 4 steps apart as in the preset, or fewer that fit."""
    modes = MODES if size == ENSEMBLED else ("chunk",)
    if policy != "act":
        return Method(label, policy, size, modes=modes)
    return Method(label, policy, size, ("--actions_per_query", str(math.gcd(size, 4))), ("--use_cvae",), modes)


SIZED = {
    label: [sized(label, policy, size) for size in SIZES]
    for label, policy in (("ACT", "act"), ("BC-ConvMLP", "bc_convmlp"), ("VINN", "vinn"))
}
CVAE = (
    Method("ACT without CVAE", "act", modes=MODES),
    Method("ACT with CVAE", "act", 60, ("--use_cvae",), modes=MODES),
)
# Not in the paper: demonstrations kept for validation teach nothing, and the insertion needs every one.
NONE_HELD_OUT = Method(
    "ACT, none held out", "act", 60, ("--val_fraction", "0"), ("--use_cvae",), MODES, tasks=("insertion",)
)
METHODS = (
    *CVAE,
    *(methods[number] for number in (2, 0, 3, 1, 4) for methods in SIZED.values()),
    NONE_HELD_OUT,
)
TEST = "p: the exact sign-flip test over starts (McNemar's, of one training seed), Holm-corrected within the table."
LEAD = (
    "Success in %, averaged over both tasks and both demonstration styles as in the paper's Fig. 8, with 95 % Wilson "
    "intervals. A mean is shown once all its settings have numbers, over the training seeds they share. Paper: "
    "Zhao et al. 2023, images of one camera, 3 seeds × 50 rollouts."
)


def sizes(rows: Rows, track: str) -> Table:
    """Fig. 8a."""
    ours, theirs, table = [], [], []
    for label, methods in SIZED.items():
        means = [rows.settings(method, track, "chunk") for method in methods]
        known = [(size, 100 * mean.success.rate) for size, mean in zip(SIZES, means, strict=True) if mean.success]
        ours.append(Series(label, [x for x, _ in known], [y for _, y in known]))
        theirs.append(Series(f"{label}, paper", SIZES, PAPER_SIZES[label]))
        table.append((Entry(label), [of_rate(mean) for mean in means], ""))
        table.append((Entry("paper"), [Entry(f"{value:g}") for value in PAPER_SIZES[label]], "other"))
    figure = curves([*ours, *theirs], "chunk size [control steps]", "success [%]", style="curves")
    note = (
        "Whole chunks are executed before the next query. ACT has a CVAE for human demonstrations, none for scripted; "
        "its chunks are splines with a control point every 4 steps (every 2 at size 10, none at size 1)."
    )
    heads = [Entry(str(size)) for size in SIZES]
    return Table(f"Fig. 8a, {track} track: success over chunk size", heads, table, note, figure=figure)


def per_setting(rows: Rows, track: str) -> Table:
    """The settings behind Fig. 8."""
    table = []
    for method in METHODS:
        for mode in method.modes:
            tallies = rows.settings(method, track, mode).tallies
            if any(tallies):
                cells = [of_rate(tally, small=each_seed(tally)) for tally in tallies]
                table.append((named(method, mode), cells, ""))
    heads = [Entry(task.replace("_", " "), style) for task, style in SETTINGS]
    return Table(f"The settings one by one, {track} track: {TRACKS[track]}", heads, table)


def ensembling(rows: Rows, track: str) -> Table:
    """Fig. 8b."""
    table = []
    for label, methods in SIZED.items():
        method = methods[SIZES.index(ENSEMBLED)]
        table.append(Pair(Entry(label), *(rows.settings(method, track, mode) for mode in MODES)))
        table.append((Entry("paper"), [*_figures(PAPER_ENSEMBLE[label]), Entry()], "other"))
    note = f"Ours at chunk size {ENSEMBLED}, m 0.01; the paper's at the best size of each. {TEST}"
    return Table(f"Fig. 8b, {track} track: ensembling", _heads("chunks", "ensembled"), _tested(table), note)


def cvae(rows: Rows, track: str) -> Table:
    """Fig. 8c."""
    table = []
    for style, figures in PAPER_CVAE.items():
        for mode in MODES:
            without, with_cvae = (rows.settings(method, track, mode, [style]) for method in CVAE)
            table.append(Pair(Entry(style, CVAE[0].form(mode)), without, with_cvae))
        table.append((Entry("paper"), [*_figures(figures), Entry()], "other"))
    return Table(
        f"Fig. 8c, {track} track: CVAE", _heads("without", "with"), _tested(table), f"Mean of both tasks. {TEST}"
    )


def held_out(rows: Rows, track: str) -> Table | None:
    """ACT on all demonstrations beside Table I's, which keeps a tenth of them for validation."""
    table = []
    for style in STYLES:
        for mode in MODES:
            methods = CVAE[style == "human"], NONE_HELD_OUT
            usual, every = (Mean((rows.tally(method, "insertion", style, track, mode),)) for method in methods)
            if every.success:
                table.append(Pair(Entry(style, NONE_HELD_OUT.form(mode)), usual, every))
    note = f"ACT as in Table I, with its CVAE for human demonstrations. {TEST}"
    heads = _heads("a tenth held out", "none")
    return Table(f"Held-out demonstrations, insertion, {track} track", heads, _tested(table), note) if table else None


Line = tuple[Entry, Sequence[Entry], str]  # of a table


@dataclass(frozen=True)
class Pair:
    """A line of a table that compares two ways of doing something."""

    name: Entry
    off: Mean
    on: Mean


def shared(off: Mean, on: Mean) -> tuple[Mean, Mean]:
    """Both on the rollouts that they share, once there are any: rates and test then speak of the same ones."""
    if both := Mean((*off.tallies, *on.tallies)).balanced:
        n = len(off.tallies)
        return Mean(tuple(both[:n])), Mean(tuple(both[n:]))
    return off, on


def _tested(table: Sequence[Pair | Line]) -> list[Line]:
    """The lines of a table; p-values of its pairs are corrected for one another."""
    sides = {i: shared(line.off, line.on) for i, line in enumerate(table) if isinstance(line, Pair)}
    tests = {i: test for i, (off, on) in sides.items() if (test := paired(off.won, on.won))}
    p_values = dict(zip(tests, holm([test.p_value for test in tests.values()]), strict=True))
    lines: list[Line] = []
    for i, line in enumerate(table):
        if not isinstance(line, Pair):
            lines.append(line)
            continue
        said = (
            Entry(f"{p:.1g}", style="good-text" if p < REAL else "same")
            if (p := p_values.get(i)) is not None
            else Entry()
        )
        lines.append((line.name, [*map(of_rate, sides[i]), said], ""))
    return lines


def _figures(values: Sequence[float]) -> list[Entry]:
    return [Entry(f"{value:g}") for value in values]


def _heads(off: str, on: str) -> list[Entry]:
    return [Entry(off), Entry(on), Entry("p")]


def draw(rows: Sequence[Row], options: Options) -> tuple[str, str]:
    """The page and the markdown of all rows."""
    found = Rows(rows, options)
    tables = [
        part(found, track) for track in found.tracks() for part in (sizes, ensembling, cvae, held_out, per_setting)
    ]
    return compose("Fig. 8: chunks, ensembling, CVAE", LEAD, tables, rows)


def program(argv: Sequence[str] | None = None) -> int:
    return main("ablations", METHODS, draw, __doc__ or "", argv)


if __name__ == "__main__":
    sys.exit(program())
