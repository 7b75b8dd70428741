"""Fig. 8 of the ACT paper (chunk size, ensembling, CVAE): `python -m benchmarks.ablations --budget 90m`.

The rows go to benchmarks/results/ablations.json. Training runs that Table I has, too, are shared with it;
`--take benchmarks/results/table1.json` takes its rows over without the runs.
"""

import math
import sys
from collections.abc import Sequence
from typing import NamedTuple

from act.evaluation.paper import PAPER
from act.evaluation.rates import holm
from benchmarks.grid.cells import MODES, Method
from benchmarks.grid.run import main
from benchmarks.grid.statistics import SETTINGS, Counts, Rows, Settings, balanced, mean, paired
from benchmarks.grid.tables import STYLE_NAMES, detailed, markdown, percent
from sim_envs import STYLES

SIZES = (1, 10, 100, 200, 400)
ENSEMBLED = 100  # the chunk size that is also ensembled
# Success [%] averaged over the four settings (Zhao et al. 2023, Fig. 8); ensembling at the best size of each method.
PAPER_SIZES = {"ACT": (1, 21, 44, 42, 41), "BC-ConvMLP": (1, 1, 24, 25, 20), "VINN": (0, 6, 23, 27.25, 37)}
PAPER_ENSEMBLE = {"ACT": (44, 47.3), "BC-ConvMLP": (25, 29), "VINN": (37, 17)}
PAPER_CVAE = {"scripted": (58, 59), "human": (2, 35.3)}  # without, with


def sized(label: str, policy: str, size: int) -> Method:
    """A method of Fig. 8a. ACT's chunks have a control point every 4 steps as in the preset, or every gcd(size, 4)."""
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
# Not in the paper: nothing is trained on demonstrations that are held out, and the insertion needs all of them.
NONE_HELD_OUT = Method(
    "ACT, none held out", "act", 60, ("--val_fraction", "0"), ("--use_cvae",), MODES, tasks=("insertion",)
)
METHODS = (*CVAE, *(methods[i] for i in (2, 0, 3, 1, 4) for methods in SIZED.values()), NONE_HELD_OUT)


def fig8a(rows: Rows, track: str) -> str:
    """Success [%] over chunk size, mean of all settings."""
    lines = []
    for label, methods in SIZED.items():
        lines.append([label, *(percent(mean(rows.settings(method, track, "chunk"))) for method in methods)])
        lines.append(["paper", *(f"{value:g}" for value in PAPER_SIZES[label])])
    return markdown(["", *map(str, SIZES)], lines)


def fig8b(rows: Rows, track: str) -> str:
    """Success [%] of chunks of 100 and of ensembled chunks, mean of all settings."""
    lines: list[Pair | Sequence[str]] = []
    for label, methods in SIZED.items():
        lines.append(Pair(label, *(rows.settings(methods[SIZES.index(ENSEMBLED)], track, mode) for mode in MODES)))
        lines.append(["paper", *(f"{value:g}" for value in PAPER_ENSEMBLE[label]), "–"])
    return markdown(["", "chunks", "ensembled", "p"], _tested(lines))


def fig8c(rows: Rows, track: str) -> str:
    """Success [%] of ACT without and with the CVAE, mean of both tasks."""
    lines: list[Pair | Sequence[str]] = []
    for style, figures in PAPER_CVAE.items():
        for mode in MODES:
            name = f"{STYLE_NAMES[style]} ({CVAE[0].form(mode)})"
            lines.append(Pair(name, *(rows.settings(method, track, mode, [style]) for method in CVAE)))
        lines.append(["paper", *(f"{value:g}" for value in figures), "–"])
    return markdown(["", "without", "with", "p"], _tested(lines))


def held_out(rows: Rows, track: str) -> str:
    """Success [%] of ACT at the insertion, trained on nine tenths or on all of the demonstrations."""
    lines = []
    for style in STYLES:
        for mode in MODES:
            methods = CVAE[style == "human"], NONE_HELD_OUT
            usual, none = ([rows.counts(method, "insertion", style, track, mode)] for method in methods)
            lines += [Pair(f"{STYLE_NAMES[style]} ({NONE_HELD_OUT.form(mode)})", usual, none)] if any(none) else []
    return markdown(["", "a tenth held out", "none", "p"], _tested(lines))


def sizes(rows: Rows, track: str, task: str, style: str) -> str:
    """Success [%] over chunk size, and each training seed's success."""
    lines = []
    for label, methods in SIZED.items():
        found = [rows.counts(method, task, style, track, "chunk") for method in methods]
        found.append(rows.counts(methods[SIZES.index(ENSEMBLED)], task, style, track, "ensemble"))
        lines.append([label, *map(detailed, found)])
    return markdown(["", *map(str, SIZES), f"{ENSEMBLED}, ensembled"], lines)


def cvae(rows: Rows, track: str) -> str:
    """Success [%] of ACT without and with the CVAE, strict success, and each training seed's success."""
    lines = []
    for task, style in SETTINGS:
        found = [rows.counts(method, task, style, track, mode) for mode in MODES for method in CVAE]
        lines.append([f"{PAPER[task].title}, {STYLE_NAMES[style]}", *(detailed(c, strict=True) for c in found)])
    head = [f"{how}, {which} CVAE" for how in ("chunks", "ensembled") for which in ("without", "with")]
    return markdown(["", *head], lines)


class Pair(NamedTuple):
    """A row of a table that compares two methods or modes."""

    name: str
    off: Settings
    on: Settings


def shared(off: Settings, on: Settings) -> tuple[Counts | None, Counts | None]:
    """Returns both means, of the rollouts that they share if they share any, so that rates and test use the same."""
    both = balanced([*off, *on]) or [*off, *on]
    return mean(both[: len(off)]), mean(both[len(off) :])


def _tested(lines: Sequence[Pair | Sequence[str]]) -> list[Sequence[str]]:
    """Returns the rows of a table; the p-values of its pairs are Holm-corrected together."""
    sides = [shared(line.off, line.on) for line in lines if isinstance(line, Pair)]
    tests = [paired(off.won, on.won) if off and on else None for off, on in sides]
    adjusted = iter(holm([test.p_value for test in tests if test]))
    p_values = iter([f"{next(adjusted):.1g}" if test else "–" for test in tests])
    cells = iter(sides)
    return [[x.name, *map(percent, next(cells)), next(p_values)] if isinstance(x, Pair) else x for x in lines]


TABLES = {"fig8a": fig8a, "fig8b": fig8b, "fig8c": fig8c, "held_out": held_out, "cvae": cvae}
SETTING_TABLES = {"sizes": sizes}


def program(argv: Sequence[str] | None = None) -> int:
    return main("ablations", METHODS, (TABLES, SETTING_TABLES), __doc__, argv)


if __name__ == "__main__":
    sys.exit(program())
