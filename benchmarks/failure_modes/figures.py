"""The drawings of docs/failure_modes.md, in the colours of the reports."""

import re
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from act.evaluation import page
from benchmarks.failure_modes.claims import Results
from benchmarks.failure_modes.exact import CHAIN_ERROR, CHAIN_HORIZONS, CHUNK_SIZES, DELUSION_HORIZONS, cliff_cost
from benchmarks.failure_modes.learning import drive
from benchmarks.failure_modes.recipes import HEADS, REMEDIES, REVEALS, Paths
from benchmarks.failure_modes.worlds import Corridor, Detour, Road

COLOURS = dict(re.findall(r"--([a-z0-9]+): (#\w+);", page.STYLE.split("@media")[0]))
INK, DIM, RULE, GOOD, BAD = (COLOURS[name] for name in ("ink", "dim", "rule", "good", "bad"))
C = [COLOURS[f"c{i}"] for i in range(8)]
LOOK: dict[Any, Any] = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": DIM,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": DIM,
    "ytick.color": DIM,
    "axes.grid": True,
    "grid.color": RULE,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "savefig.dpi": 110,
}


def draw(results: Results, paths: Paths, directory: Path) -> None:
    """Writes failure_modes_{compounding,modes,observability,remedies}.png."""
    drawings = {
        "compounding": lambda: compounding(results, paths["road"]),
        "modes": lambda: modes(results, paths["detour"]),
        "observability": lambda: observability(results, paths["corridor"]),
        "remedies": lambda: remedies(results),
    }
    directory.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context(LOOK):
        for name, drawing in drawings.items():
            drawing().savefig(directory / f"failure_modes_{name}.png", metadata={"Software": None})


def _mean(results: Results, experiment: str, condition: str, measure: str) -> float:
    return float(np.mean(results[experiment][condition][measure]))


# --------------------------------------------------------------------------------------------------- compounding errors
def compounding(results: Results, paths: dict[str, np.ndarray]) -> Figure:
    figure = Figure((11, 7.6), layout="constrained")
    chain, alive, offsets, pause = figure.subplots(2, 2).flatten()
    _chain(chain, results)
    _alive(alive, results)
    _offsets(offsets, paths)
    _pause(pause, results)
    return figure


def _chain(axes: Axes, results: Results) -> None:
    fine = np.unique(np.geomspace(10, 1000, 60).astype(int))
    rows = (("cloned", False, C[4], "T² ε / 2"), ("recovers", True, C[2], "T ε"))
    for name, recovers, colour, formula in rows:
        axes.loglog(fine, [cliff_cost(int(t), CHAIN_ERROR, recovers) for t in fine], color=colour)
        counted = [_mean(results, "exact", f"cliff chain, {name}", f"simulated at {t}") for t in CHAIN_HORIZONS]
        axes.loglog(CHAIN_HORIZONS, counted, "o", color=colour, ms=5)
        text = {False: f"no way back:\n≈ {formula}", True: f"knows the way back:\n{formula}"}[recovers]
        place = (250, cliff_cost(250, CHAIN_ERROR, recovers) * (0.12 if recovers else 8))
        axes.text(*place, text, color=colour, ha="center", va="center")
    axes.set(title="One mistake in 1000 steps: what it costs", xlabel="horizon T [steps]", ylabel="expected cost")


def _alive(axes: Axes, results: Results) -> None:
    horizons = [t for t in Road.HORIZONS if f"alive at {t}" in results["road"]["bc"]]
    rows = (
        ("dagger", "DAgger", C[2], 6),
        ("dart", "DART", C[5], 3.5),
        ("noisy demos", "noisy demos", C[3], 1.2),
        ("bc", "cloning", C[4], 3.5),
        ("more demos", "cloning, 4 x demos", C[1], 1.2),
    )
    for condition, name, colour, width in rows:
        shares = [_mean(results, "road", condition, f"alive at {t}") for t in horizons]
        error = _mean(results, "road", condition, "error")
        axes.semilogx(horizons, shares, "-o", lw=width, ms=5, color=colour, label=f"{name} (error {error:.4f})")
    axes.set_xticks(horizons, [str(t) for t in horizons])
    axes.minorticks_off()
    axes.set(title="The best imitators leave the road", xlabel="horizon T [steps]", ylabel="still on the road")
    axes.set_ylim(-0.03, 1.05)
    axes.legend(loc="center right", bbox_to_anchor=(1, 0.62))


def _offsets(axes: Axes, paths: dict[str, np.ndarray]) -> None:
    world, until = Road(), 100
    for condition, colour, zorder in (("dagger", C[2], 3), ("bc", C[4], 2)):
        for states in paths[condition][:15, : until + 1]:
            lost = world.failed(states)
            end = int(lost.argmax()) if lost.any() else until
            axes.plot(states[: end + 1, 0], color=colour, lw=1, alpha=0.7, zorder=zorder)
            if lost.any():
                axes.plot(end, np.clip(states[end, 0], -1, 1), "x", color=colour, ms=6, zorder=4)
    axes.axhspan(1, 1.25, color=RULE)
    axes.axhspan(-1.25, -1, color=RULE)
    axes.set(title="Red: cloned, green: DAgger", xlabel="t [steps]", ylabel="lateral offset [m]")
    axes.set(ylim=(-1.25, 1.25), xlim=(0, until))


def _pause(axes: Axes, results: Results) -> None:
    rows = (
        ("chunk", "whole chunk", C[0], 100),
        ("ensemble", "ensembled", C[2], 103),
        ("first", "first action", C[4], 106),
    )
    ks = np.array(CHUNK_SIZES)
    for execution, name, colour, never in rows:
        condition = results["exact"][f"pause, l1, {execution}"]
        steps = np.array([condition[f"steps at {k}"][0] for k in CHUNK_SIZES])
        past = steps > 0
        axes.plot(ks[past], steps[past], "-o", color=colour, ms=5)
        axes.plot(ks[~past], np.full((~past).sum(), never), "x", color=colour, ms=5)
        axes.plot([], [], "-o", color=colour, ms=5, label=name)
    axes.axvline(10.5, color=DIM, ls=":", lw=1)
    axes.annotate("half of the pause", (10.5, 84), (6, 0), textcoords="offset points", color=DIM)
    axes.set_xscale("log")
    axes.set_xticks([1, 2, 5, 10, 20, 50, 100], ["1", "2", "5", "10", "20", "50", "100"])
    axes.set_yticks([50, 60, 70, 80, 103], ["50", "60", "70", "80", "never"])
    axes.minorticks_off()
    axes.set(title="A pause of 20 steps: who gets past it", xlabel="chunk size k", ylabel="steps to the end")
    axes.set_ylim(48, 110)
    axes.legend(loc="center left", bbox_to_anchor=(0, 0.3))


# -------------------------------------------------------------------------------------------- multimodal demonstrations
def modes(results: Results, paths: dict[str, np.ndarray]) -> Figure:
    figure = Figure((11, 8.2), layout="constrained")
    names = ["experts", *HEADS, "l2, asked every step", "gmm, asked every step"]
    columns = 4
    drawn = figure.subplots(-(-len(names) // columns), columns, squeeze=False).flatten()
    expert = drive(Detour(), None, 30, np.random.default_rng(0)).states
    share = Detour().share_above
    _detour(drawn[0], "experts", expert, share, 1 - share)
    for axes, name in zip(drawn[1:], names[1:], strict=False):
        above, below = (_mean(results, "detour", name, side) for side in ("above", "below"))
        _detour(axes, name, paths[name], above, below)
    for axes in drawn[len(names) :]:
        axes.set_axis_off()
    key = drawn[len(names)]
    for row, (name, colour) in enumerate(
        (("arrived above", C[0]), ("arrived below", C[1]), ("hit the disc, or lost", BAD))
    ):
        key.text(0.1, 0.7 - 0.14 * row, name, color=colour, transform=key.transAxes)
    return figure


def _detour(axes: Axes, name: str, states: np.ndarray, above: float, below: float) -> None:
    """Paths round the disc (drawn at its mean place), and a bar: above, below, lost."""
    world = Detour()
    axes.fill(*(world.RADIUS * np.array([np.cos(a := np.linspace(0, 2 * np.pi, 60)), np.sin(a)])), color=RULE)
    for path in states:
        lost = world.failed(path).any() or path[-1, 0] < 0.9
        colour = BAD if lost else (C[0] if path[np.abs(path[:, 0] - path[0, 2]).argmin(), 1] > 0 else C[1])
        axes.plot(path[:, 0], path[:, 1], color=colour, lw=1, alpha=0.6)
        if lost:
            axes.plot(*path[-1, :2], "x", color=BAD, ms=5)
    left = -1.0
    for rate, colour in ((above, C[0]), (below, C[1]), (1 - above - below, BAD)):
        axes.barh(-0.92, 2 * rate, 0.16, left, color=colour)
        if rate > 0.09:
            axes.text(left + rate, -0.93, f"{rate:.0%}", color="white", ha="center", va="center", fontsize=8.5)
        left += 2 * rate
    axes.set(title=name, xlim=(-1.08, 1.08), ylim=(-1.02, 0.75), aspect="equal", xticks=[], yticks=[])
    axes.grid(False)
    axes.spines[:].set_visible(False)


# ----------------------------------------------------------------------------------------------- observability mismatch
def observability(results: Results, paths: dict[str, np.ndarray]) -> Figure:
    figure = Figure((11, 7.6), layout="constrained")
    reveal, lines, cue, delusion = figure.subplots(2, 2).flatten()
    _reveal(reveal, results)
    _corridor(lines, paths)
    _cue(cue, results)
    _delusion(delusion, results)
    return figure


def _reveal(axes: Axes, results: Results) -> None:
    def curve(condition: str, measure: str) -> list[float]:
        return [_mean(results, "corridor", condition.format(f"{share:.0%}"), measure) for share in REVEALS]

    axes.axhline(_mean(results, "corridor", "sensor", "success"), color=C[0], ls=":", label="goal always in sight")
    rows = (
        ("dagger", "round 4", "DAgger, 4 rounds", C[2], "-"),
        ("dart", "success", "DART", C[5], "--"),
        ("dagger", "round 0", "cloning", C[4], "-"),
        ("more demos", "success", "cloning, 3 x demos", C[1], "--"),
    )
    for condition, measure, name, colour, style in rows:
        shares = curve(f"{condition}, shown after {{}}", measure)
        axes.plot(REVEALS, shares, style, marker="o", ms=5, color=colour, label=name)
    world = Corridor()
    latest = 1 - (world.GOAL - world.NEAR) / world.RATE / world.episode_len
    axes.axvspan(latest, 1, color=RULE, alpha=0.6, lw=0)
    axes.text((latest + 1) / 2, 0.82, "too late\nto act", ha="center", color=DIM)
    axes.set(title="The goal comes into sight late", xlabel="share of the corridor before it does", ylabel="success")
    axes.set(ylim=(-0.03, 1.05), xlim=(0, 1))
    axes.xaxis.set_major_formatter("{x:.0%}")
    axes.legend(loc="center", bbox_to_anchor=(0.44, 0.5), fontsize=9)


def _corridor(axes: Axes, paths: dict[str, np.ndarray]) -> None:
    for shift, condition, name in ((1.0, "more demos", "cloned"), (-1.0, "dagger", "DAgger")):
        for states in paths[f"{condition}, shown after 50%"]:
            goal = states[0, 1]
            axes.plot(shift + states[:, 0], color=C[0] if goal > 0 else C[1], lw=1, alpha=0.6)
        axes.plot([40, 40], [shift + 0.5, shift - 0.5], "o", color=INK, ms=4, clip_on=False)
        axes.text(0.5, shift + 0.62, name, weight="bold")
    axes.axvline(20, color=DIM, ls=":", lw=1)
    axes.text(20.4, 1.78, "goal in sight", color=DIM)
    axes.set(title="Blue has to go up, orange down", xlabel="t [steps]", yticks=[], ylim=(-1.9, 1.95), xlim=(0, 40.5))
    axes.grid(False)


def _cue(axes: Axes, results: Results) -> None:
    rows = (
        ("cue, dagger", "round 0", "cloning", C[4]),
        ("cue, more demos", "success", "3 x\ndemos", C[1]),
        ("cue, dagger", "round 4", "DAgger", C[5]),
        ("cue, chunks", "success", "chunks\nof 10", C[3]),
        ("cue, history", "success", "8 obser-\nvations", C[2]),
        ("cue, sensor", "success", "a cue that\nstays", C[0]),
    )
    for number, (condition, measure, _, colour) in enumerate(rows):
        seeds = results["corridor"][condition][measure]
        axes.bar(number, np.mean(seeds), 0.65, color=colour)
        axes.plot([number] * len(seeds), seeds, "o", color=INK, ms=3, alpha=0.6)
    axes.axhline(0.5, color=DIM, ls=":", lw=1)
    axes.set_xticks(range(len(rows)), [name for _, _, name, _ in rows])
    axes.set(title="A cue of 4 steps, 4 steps before it is needed", ylabel="success", ylim=(0, 1.05))
    axes.grid(False, axis="x")


def _delusion(axes: Axes, results: Results) -> None:
    def curve(measure: str) -> list[float]:
        return [_mean(results, "exact", f"delusion, {t} steps", measure) for t in DELUSION_HORIZONS]

    axes.semilogx(DELUSION_HORIZONS, curve("nll"), "-o", ms=5, color=C[2], label="validation loss [nats per step]")
    axes.semilogx(DELUSION_HORIZONS, curve("success"), "-o", ms=5, color=C[4], label="success (4 goals)")
    axes.set_xticks(DELUSION_HORIZONS, [str(t) for t in DELUSION_HORIZONS])
    axes.minorticks_off()
    axes.set(title="Seeing one's own actions instead of the goal", xlabel="episode [steps]", ylim=(0, 0.75))
    axes.legend(loc="upper right")


# ------------------------------------------------------------------------------------------------------------- remedies
def remedies(results: Results) -> Figure:
    columns = ("compounding errors\n(road, 200 steps)", "two ways\n(detour)", "forgotten information\n(corridor, cue)")
    cells = REMEDIES.values()
    rates = np.array([[_mean(results, *cell) if cell else np.nan for cell in row] for row in cells])
    figure = Figure((8.6, 5.2), layout="constrained")
    axes = figure.subplots()
    shades = LinearSegmentedColormap.from_list("", ["#f6d5d2", "#f6f6f4", "#cfeadb"])
    axes.imshow(rates, cmap=shades, vmin=0, vmax=1, aspect="auto")
    for (row, column), rate in np.ndenumerate(rates):
        text = "nothing is missing" if np.isnan(rate) else f"{rate:.0%}"
        weight = "bold" if rate > 0.9 else "normal"
        axes.text(column, row, text, ha="center", va="center", weight=weight, color=DIM if np.isnan(rate) else INK)
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(REMEDIES)), list(REMEDIES))
    axes.tick_params(length=0, labelcolor=INK, top=True, labeltop=True, bottom=False, labelbottom=False)
    axes.axhline(0.5, color=INK, lw=1)
    axes.spines[:].set_visible(False)
    axes.grid(False)
    return figure
