"""Success over expert labels: cells of benchmarks.dagger, pooled over seeds, and the figure."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from act.evaluation.rates import wilson_interval
from act.files import whole_file

METHODS = {"bc": "more demonstrations", "dart": "DART", "dagger": "DAgger", "hg_dagger": "human-gated DAgger"}
COLOURS = {"bc": "#0072b2", "dart": "#e69f00", "dagger": "#009e73", "hg_dagger": "#d55e00"}  # Okabe and Ito 2008


def curves(cells: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Per method and round, over seeds: mean labels, success with its Wilson interval over all rollouts.

    "each" are labels and success of every seed. The weak policy begins every curve. A seed that has fewer cells than
    most does not count, nor does a round that another seed is still to come to.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    done = Counter(cell["seed"] for cell in cells)
    often = Counter(done.values())
    seeds = {seed for seed in done if done[seed] >= max(often, key=lambda count: (often[count], count))}
    cells = [cell for cell in cells if cell["seed"] in seeds]
    methods = list(dict.fromkeys(cell["method"] for cell in cells if cell["method"] != "weak"))
    for method in methods:
        mine = [cell for cell in cells if cell["method"] in ("weak", method)]
        for round_ in sorted({cell["round"] for cell in mine}):
            group = [cell for cell in mine if cell["round"] == round_]
            if len(group) < len(seeds):
                continue
            successes, n = (sum(cell[key] for cell in group) for key in ("success", "rollouts"))
            low, high = wilson_interval(successes, n)
            point = {"round": round_, "labels": float(np.mean([cell["labels"] for cell in group]))}
            point |= {"success": successes / n, "low": low, "high": high, "rollouts": n, "seeds": len(group)}
            point["strict_success"] = sum(cell["strict_success"] for cell in group) / n
            point["each"] = [(cell["labels"], cell["success"] / cell["rollouts"]) for cell in group]
            found.setdefault(method, []).append(point)
    return found


def draw(found: dict[str, list[dict[str, Any]]], path: Path) -> None:
    """Success over labels, a line per method with its 95 % interval, a small dot per training seed."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6.4, 4.0), layout="constrained")
    for method, points in found.items():
        labels = [point["labels"] for point in points]
        axes.plot(labels, [100 * p["success"] for p in points], "o-", color=COLOURS[method], label=METHODS[method])
        low, high = ([100 * p[key] for p in points] for key in ("low", "high"))
        axes.fill_between(labels, low, high, color=COLOURS[method], alpha=0.15, linewidth=0)
        spent, rates = zip(*(seed for point in points for seed in point["each"]), strict=True)
        axes.plot(spent, [100 * rate for rate in rates], ".", color=COLOURS[method], alpha=0.5, markersize=5)
    axes.axhline(97, color="0.6", linewidth=0.8, linestyle=":")
    axes.set(xlabel="labels: actions the expert gave", ylabel="success [%]", ylim=(0, 101))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right")
    with whole_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150)
    plt.close(figure)
