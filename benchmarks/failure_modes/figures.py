"""The figures of docs/failure_modes.md."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from benchmarks.failure_modes.claims import Results
from benchmarks.failure_modes.exact import CHAIN_ERROR, CHAIN_HORIZONS, CHUNK_SIZES, DELUSION_HORIZONS, cliff_cost
from benchmarks.failure_modes.learning import drive
from benchmarks.failure_modes.recipes import HEADS, REMEDIES, REVEALS, Paths
from benchmarks.failure_modes.worlds import Corridor, Detour, Road

BLUE, ORANGE, GREEN, PURPLE, RED, TEAL = "#2f5fd0", "#e0813a", "#1d9a5b", "#a04bc4", "#d8433b", "#168ca5"
INK, DIM, RULE = "#1c1d21", "#6b6e76", "#e3e3df"
STYLE: dict[Any, Any] = {"axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False}
STYLE |= {"axes.titlesize": 11, "axes.titleweight": "bold", "axes.titlelocation": "left", "lines.markersize": 5}


def draw(results: Results, paths: Paths, directory: Path) -> None:
    """Writes failure_modes_{compounding,modes,observability,remedies}.png."""
    directory.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context(STYLE):
        for plot in (compounding, modes, observability, remedies):
            figure = Figure((11, 7.6), layout="constrained")
            plot(figure, results, paths)
            figure.savefig(directory / f"failure_modes_{plot.__name__}.png", dpi=110, metadata={"Software": None})


def _means(results: Results, experiment: str, condition: str, measures: Iterable[str]) -> list[float]:
    """Means over training seeds."""
    return [float(np.mean(results[experiment][condition][measure])) for measure in measures]


def _line(axes: Axes, xs: Sequence[float], ys: Sequence[float], colour: str, label: str, width: float = 2) -> None:
    axes.plot(xs, ys, "-o", color=colour, label=label, lw=width)


def _finish(axes: Axes, title: str, xlabel: str, ylabel: str = "", ticks: Sequence[int] = (), **more: Any) -> None:
    """Titles, and on a logarithmic axis the `ticks`; a legend unless `more` says legend=None."""
    legend = more.pop("legend", "best")
    if ticks:
        axes.set_xscale("log")
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.minorticks_off()
    axes.set(title=title, xlabel=xlabel, ylabel=ylabel, **more)
    if legend:
        axes.legend(loc=legend, fontsize=9)


# --------------------------------------------------------------------------------------------------- compounding errors
def compounding(figure: Figure, results: Results, paths: Paths) -> None:
    chain, alive, offsets, pause = figure.subplots(2, 2).flatten()
    for name, label, colour in (
        ("cloned", "no way back: ≈ T² ε / 2", RED),
        ("recovers", "knows the way back: T ε", GREEN),
    ):
        costs = [cliff_cost(t, CHAIN_ERROR, name == "recovers") for t in range(10, 1001)]
        chain.plot(range(10, 1001), costs, color=colour, label=label)
        counted = _means(results, "exact", f"cliff chain, {name}", [f"simulated at {t}" for t in CHAIN_HORIZONS])
        chain.plot(CHAIN_HORIZONS, counted, "o", color=colour)
    chain.set_yscale("log")
    _finish(chain, "One error in 1000 steps: what it costs", "horizon T [steps]", "expected cost", CHAIN_HORIZONS)

    horizons = [t for t in Road.HORIZONS if f"alive at {t}" in results["road"]["bc"]]
    rows = (("dagger", "DAgger", GREEN, 6), ("dart", "DART", TEAL, 3.5), ("noisy demos", "noisy demos", PURPLE, 1.2))
    rows += (("bc", "cloning", RED, 3.5), ("more demos", "cloning, 4 x demos", ORANGE, 1.2))
    for condition, name, colour, width in rows:
        error, *shares = _means(results, "road", condition, ["error", *(f"alive at {t}" for t in horizons)])
        _line(alive, horizons, shares, colour, f"{name} (error {error:.4f})", width)
    _finish(alive, "The best imitators leave the road", "horizon T [steps]", "still on the road", horizons)

    for condition, colour in (("bc", RED), ("dagger", GREEN)):
        for states in paths["road"][condition][:15, :101]:
            lost = np.flatnonzero(Road().failed(states))
            end = lost[0] if len(lost) else 100
            offsets.plot(states[: end + 1, 0], color=colour, lw=1, alpha=0.7)
            offsets.plot(lost[:1], np.clip(states[lost[:1], 0], -1, 1), "x", color=colour)
    for side in (1, -1):
        offsets.axhline(side, color=DIM, lw=1)
    _finish(offsets, "Red: cloned, green: DAgger", "t [steps]", "lateral offset [m]", ylim=(-1.1, 1.1), legend=None)

    executions = (("chunk", "whole chunk", BLUE), ("ensemble", "ensembled", GREEN), ("first", "first action", RED))
    for never, (execution, label, colour) in zip((100, 103, 106), executions, strict=True):
        steps = _means(results, "exact", f"pause, l1, {execution}", [f"steps at {k}" for k in CHUNK_SIZES])
        _line(pause, CHUNK_SIZES, [n if n > 0 else np.nan for n in steps], colour, label)
        pause.plot(CHUNK_SIZES, [np.nan if n > 0 else never for n in steps], "x", color=colour)
    pause.axvline(10.5, color=DIM, ls=":", lw=1)
    pause.text(11, 84, "half of the pause", color=DIM)
    title, ticks = "A pause of 20 steps: which policy gets past it", (1, 2, 5, 10, 20, 50, 100)
    _finish(pause, title, "chunk size k", "steps to the end", ticks, legend="center left")
    pause.set_yticks([50, 60, 70, 80, 103], ["50", "60", "70", "80", "never"])


# -------------------------------------------------------------------------------------------- multimodal demonstrations
def modes(figure: Figure, results: Results, paths: Paths) -> None:
    names, share = [*HEADS, "l2, asked every step", "gmm, asked every step"], Detour().share_above
    panels = figure.subplots(4, 4).flatten()
    experts = drive(Detour(), None, 30, np.random.default_rng(0)).states
    _detour(panels[0], "experts", experts, share, 1 - share)
    for axes, name in zip(panels[1:], names, strict=False):
        _detour(axes, name, paths["detour"][name], *_means(results, "detour", name, ("above", "below")))
    for axes in panels[len(names) + 1 :]:
        axes.set_axis_off()
    for row, (name, colour) in enumerate((("above", BLUE), ("below", ORANGE), ("hit the disc, or lost", RED))):
        panels[-1].text(0.1, 0.7 - 0.2 * row, name, color=colour)


def _detour(axes: Axes, name: str, states: np.ndarray, above: float, below: float) -> None:
    """Paths round the disc, which is drawn at its mean place, and a bar: above, below, lost."""
    world, angles = Detour(), np.linspace(0, 2 * np.pi, 60)
    axes.fill(world.RADIUS * np.cos(angles), world.RADIUS * np.sin(angles), color=RULE)
    for path in states:
        lost = world.failed(path).any() or path[-1, 0] < 0.9
        is_above = path[np.abs(path[:, 0] - path[0, 2]).argmin(), 1] > 0
        axes.plot(path[:, 0], path[:, 1], color=RED if lost else BLUE if is_above else ORANGE, lw=1, alpha=0.6)
        axes.plot(*path[-1, :2], "x" if lost else "", color=RED)
    left = -1.0
    for rate, colour in ((above, BLUE), (below, ORANGE), (1 - above - below, RED)):
        bar = axes.barh(-0.92, 2 * rate, 0.16, left, color=colour)
        axes.bar_label(bar, [f"{rate:.0%}" if rate > 0.09 else ""], label_type="center", color="white", fontsize=8.5)
        left += 2 * rate
    axes.set(title=name, xlim=(-1.08, 1.08), ylim=(-1.02, 0.75), aspect="equal", xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


# ----------------------------------------------------------------------------------------------- observability mismatch
def observability(figure: Figure, results: Results, paths: Paths) -> None:
    reveal, lines, cue, delusion = figure.subplots(2, 2).flatten()
    _reveal(reveal, results)
    for shift, condition, name in ((1.0, "more demos", "cloned"), (-1.0, "dagger", "DAgger")):
        for states in paths["corridor"][f"{condition}, shown after 50%"]:
            lines.plot(shift + states[:, 0], color=BLUE if states[0, 1] > 0 else ORANGE, lw=1, alpha=0.6)
        lines.plot([40, 40], [shift + 0.5, shift - 0.5], "o", color=INK)
        lines.text(0.5, shift + 0.62, name, weight="bold")
    lines.axvline(20, color=DIM, ls=":", lw=1)
    lines.text(20.4, 1.78, "goal visible", color=DIM)
    _finish(lines, "Blue has to go up, orange down", "t [steps]", yticks=[], ylim=(-1.9, 1.95), legend=None)

    conditions = ("dagger", "more demos", "dagger", "chunks", "history", "sensor")
    labels = ("cloning", "3 x\ndemos", "DAgger", "chunks\nof 10", "8 obser-\nvations", "a cue that\nstays")
    for number, (condition, colour) in enumerate(
        zip(conditions, (RED, ORANGE, TEAL, PURPLE, GREEN, BLUE), strict=True)
    ):
        measure = {0: "round 0", 2: "round 4"}.get(number, "success")
        seeds = results["corridor"][f"cue, {condition}"][measure]
        cue.bar(number, np.mean(seeds), 0.65, color=colour)
        cue.plot([number] * len(seeds), seeds, "o", color=INK, alpha=0.6)
    cue.axhline(0.5, color=DIM, ls=":", lw=1)
    cue.set_xticks(range(len(labels)), labels)
    _finish(cue, "A cue of 4 steps, 4 steps before it is needed", "", "success", ylim=(0, 1.05), legend=None)

    for measure, label, colour in (
        ("nll", "validation loss [nats per step]", GREEN),
        ("success", "success (4 goals)", RED),
    ):
        values = [_means(results, "exact", f"delusion, {t} steps", [measure])[0] for t in DELUSION_HORIZONS]
        _line(delusion, DELUSION_HORIZONS, values, colour, label)
    title = "Seeing one's own actions instead of the goal"
    _finish(delusion, title, "episode [steps]", ticks=DELUSION_HORIZONS, ylim=(0, 0.75))


def _reveal(axes: Axes, results: Results) -> None:
    axes.axhline(*_means(results, "corridor", "sensor", ["success"]), color=BLUE, ls=":", label="goal always visible")
    rows = (("dagger", "round 4", "DAgger, 4 rounds", GREEN), ("dart", "success", "DART", TEAL))
    rows += (("dagger", "round 0", "cloning", RED), ("more demos", "success", "cloning, 3 x demos", ORANGE))
    for condition, measure, label, colour in rows:
        found = [_means(results, "corridor", f"{condition}, shown after {share:.0%}", [measure]) for share in REVEALS]
        _line(axes, REVEALS, [share for (share,) in found], colour, label)
    world = Corridor()
    latest = 1 - (world.GOAL - world.NEAR) / world.RATE / world.episode_len
    axes.axvspan(latest, 1, color=RULE, alpha=0.6, lw=0)
    axes.text((latest + 1) / 2, 0.82, "too late\nto act", ha="center", color=DIM)
    axes.xaxis.set_major_formatter("{x:.0%}")
    limits = {"ylim": (-0.03, 1.05), "xlim": (0, 1), "legend": None}
    _finish(axes, "The goal becomes visible late", "share of the corridor before it does", "success", **limits)
    axes.legend(loc="center", bbox_to_anchor=(0.44, 0.5), fontsize=9)


# ------------------------------------------------------------------------------------------------------------- remedies
def remedies(figure: Figure, results: Results, paths: Paths) -> None:
    columns = ("compounding errors\n(road, 200 steps)", "two ways\n(detour)", "forgotten information\n(corridor, cue)")
    cells = [[_means(results, *cell[:2], cell[2:])[0] if cell else np.nan for cell in row] for row in REMEDIES.values()]
    figure.set_size_inches(8.6, 5.2)
    axes = figure.subplots()
    shades = LinearSegmentedColormap.from_list("", ["#f6d5d2", "#f6f6f4", "#cfeadb"])
    axes.imshow(cells, cmap=shades, vmin=0, vmax=1, aspect="auto")
    for (row, column), rate in np.ndenumerate(cells):
        text, weight = ("nothing is missing" if np.isnan(rate) else f"{rate:.0%}"), "bold" if rate > 0.9 else "normal"
        axes.text(column, row, text, ha="center", va="center", weight=weight)
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(REMEDIES)), list(REMEDIES))
    axes.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
    axes.axhline(0.5, color=INK, lw=1)
    axes.spines[:].set_visible(False)
