"""Fig. 8 of the ACT paper (chunk size, ensembling, CVAE): `python -m benchmarks.ablations --budget 90m`.

The rows go to benchmarks/results/ablations.json. Training runs that Table I has, too, are shared with it;
`--take benchmarks/results/table1.json` takes its rows over without the runs.
"""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from act.evaluation.paper import PAPER
from act.evaluation.rates import holm
from benchmarks.grid.cells import MODES, Method
from benchmarks.grid.run import main
from benchmarks.grid.statistics import SETTINGS, Mean, Rows, paired
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
    """Success over chunk size."""
    lines = []
    for label, methods in SIZED.items():
        lines.append([label, *(percent(rows.mean(method, track, "chunk")) for method in methods)])
        lines.append(["paper", *(f"{value:g}" for value in PAPER_SIZES[label])])
    return markdown(["", *map(str, SIZES)], lines)


def fig8b(rows: Rows, track: str) -> str:
    """Chunks beside ensembled chunks, at one size."""
    lines: list[Pair | Sequence[str]] = []
    for label, methods in SIZED.items():
        method = methods[SIZES.index(ENSEMBLED)]
        lines.append(Pair(label, *(rows.mean(method, track, mode) for mode in MODES)))
        lines.append(["paper", *(f"{value:g}" for value in PAPER_ENSEMBLE[label]), "–"])
    return markdown(["", "chunks", "ensembled", "p"], _tested(lines))


def fig8c(rows: Rows, track: str) -> str:
    """ACT without and with the CVAE."""
    lines: list[Pair | Sequence[str]] = []
    for style, figures in PAPER_CVAE.items():
        for mode in MODES:
            means = (rows.mean(method, track, mode, [style]) for method in CVAE)
            lines.append(Pair(f"{STYLE_NAMES[style]} ({CVAE[0].form(mode)})", *means))
        lines.append(["paper", *(f"{value:g}" for value in figures), "–"])
    return markdown(["", "without", "with", "p"], _tested(lines))


def held_out(rows: Rows, track: str) -> str:
    """ACT trained on all demonstrations of the insertion, beside Table I's, which holds out a tenth; "" without."""
    pairs = []
    for style in STYLES:
        for mode in MODES:
            methods = CVAE[style == "human"], NONE_HELD_OUT
            usual, none = (Mean((rows.counts(method, "insertion", style, track, mode),)) for method in methods)
            if none.success:
                pairs.append(Pair(f"{STYLE_NAMES[style]} ({NONE_HELD_OUT.form(mode)})", usual, none))
    return markdown(["", "a tenth held out", "none", "p"], _tested(pairs)) if pairs else ""


def sizes(rows: Rows, track: str, task: str, style: str) -> str:
    """One setting of Fig. 8a, and the ensembled chunks."""
    lines = []
    for label, methods in SIZED.items():
        found = [rows.counts(method, task, style, track, "chunk") for method in methods]
        found.append(rows.counts(methods[SIZES.index(ENSEMBLED)], task, style, track, "ensemble"))
        lines.append([label, *map(detailed, found)])
    return markdown(["", *map(str, SIZES), f"{ENSEMBLED}, ensembled"], lines)


def cvae(rows: Rows, track: str) -> str:
    """The settings of Fig. 8c one by one."""
    lines = []
    for task, style in SETTINGS:
        found = [rows.counts(method, task, style, track, mode) for mode in MODES for method in CVAE]
        lines.append([f"{PAPER[task].title}, {STYLE_NAMES[style]}", *(detailed(c, strict=True) for c in found)])
    head = [f"{how}, {which} CVAE" for how in ("chunks", "ensembled") for which in ("without", "with")]
    return markdown(["", *head], lines)


@dataclass(frozen=True)
class Pair:
    """A row of a table that compares two methods or modes."""

    name: str
    off: Mean
    on: Mean


def shared(off: Mean, on: Mean) -> tuple[Mean, Mean]:
    """Returns both, cut to the rollouts that they share if they share any, so that rates and test use the same ones."""
    if both := Mean((*off.counts, *on.counts)).balanced:
        n = len(off.counts)
        return Mean(tuple(both[:n])), Mean(tuple(both[n:]))
    return off, on


def _tested(lines: Sequence[Pair | Sequence[str]]) -> list[Sequence[str]]:
    """Returns the rows of a table; the p-values of its pairs are Holm-corrected together."""
    sides = [shared(line.off, line.on) for line in lines if isinstance(line, Pair)]
    tests = [paired(off.won, on.won) for off, on in sides]
    adjusted = iter(holm([test.p_value for test in tests if test]))
    p_values = iter([f"{next(adjusted):.1g}" if test else "–" for test in tests])
    compared = iter(sides)
    return [
        [line.name, *map(percent, next(compared)), next(p_values)] if isinstance(line, Pair) else line for line in lines
    ]


def tables(rows: Rows) -> str:
    """All tables, each under a heading."""
    parts: dict[str, str] = {}
    for track in rows.tracks():
        parts[f"Chunk size, {track} track"] = fig8a(rows, track)
        parts[f"Ensembling, {track} track"] = fig8b(rows, track)
        parts[f"CVAE, {track} track"] = fig8c(rows, track)
        parts[f"CVAE, every setting, {track} track"] = cvae(rows, track)
        parts[f"Held-out demonstrations, insertion, {track} track"] = held_out(rows, track)
        for task, style in SETTINGS:
            title = f"Chunk size, {PAPER[task].title.lower()}, {STYLE_NAMES[style]} demonstrations, {track} track"
            parts[title] = sizes(rows, track, task, style)
    return "\n".join(f"## {title} [%]\n\n{table}" for title, table in parts.items() if table)


def program(argv: Sequence[str] | None = None) -> int:
    return main("ablations", METHODS, tables, __doc__ or "", argv)


if __name__ == "__main__":
    sys.exit(program())
