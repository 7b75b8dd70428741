"""The learning curves of a report: the lines of metrics.jsonl -> charts of losses and success over optimizer steps."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from act.evaluation.charts import Series, curves
from act.evaluation.page import section
from act.evaluation.results import Evaluation
from act.evaluation.results_form import LARGEST

CURVE_POINTS = 300  # per line; more are averaged in bins


def learning_curves(evaluations: Sequence[Evaluation]) -> str:
    """A section of the page: losses (on a logarithmic axis where they are positive) and success over the steps.

    An empty string when no run has metrics.
    """
    runs = {evaluation.run: evaluation.metrics for evaluation in evaluations if evaluation.metrics}
    charts = (
        ("loss", True, lambda key: key.endswith(("loss", "l1"))),
        ("success [%]", False, lambda key: key == "success"),
    )
    figures = []
    for label, log_y, wanted in charts:
        series = [line for run, metrics in runs.items() for line in _series(metrics, wanted, _prefix(run, runs), label)]
        series = list({tuple(line.ys): line for line in reversed(series)}.values())[::-1]  # the loss may BE the l1
        positive = all(y > 0 for line in series for y in line.ys)  # a log-likelihood may be negative
        figures.append(curves(series, "optimizer steps", label, log_y and positive))
    return section("Learning", f'<div class="pair">{"".join(figures)}</div>') if any(figures) else ""


def _series(
    metrics: Sequence[Mapping[str, Any]], wanted: Callable[[str], bool], prefix: str, label: str
) -> list[Series]:
    keys = dict.fromkeys(key for line in metrics for key in line if wanted(key))
    series = []
    for key in keys:
        pairs = [
            (line["step"], line[key]) for line in metrics if _is_number(line.get("step")) and _is_number(line.get(key))
        ]
        if pairs:
            bins = binned(pairs)
            scale = 100 if "%" in label else 1
            series.append(Series(f"{prefix}{key}", [x for x, _ in bins], [scale * y for _, y in bins]))
    return series


def _prefix(run: str, runs: Mapping[str, Any]) -> str:
    return f"{run} " if len(runs) > 1 else ""


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < LARGEST


def binned(pairs: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Means of neighbouring points (x, y), so that at most CURVE_POINTS are left."""
    size = -(-len(pairs) // CURVE_POINTS)
    bins = [pairs[start : start + size] for start in range(0, len(pairs), size)]
    return [(sum(x for x, _ in part) / len(part), sum(y for _, y in part) / len(part)) for part in bins]
