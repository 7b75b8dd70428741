"""Tables in Markdown, and how one of their cells shows a success rate."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean

from act.evaluation.rates import Rate
from act.types import CONTROL_TIMESTEP
from benchmarks.grid.statistics import Counts, Mean

STYLE_NAMES = {"scripted": "scripted", "human": "varied"}  # of demonstrations, as prose and tables call them


def markdown(head: Iterable[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns a table; `head` and every row begin with the name of the row."""
    head = [*head]
    return "".join(f"| {' | '.join(line)} |\n" for line in (head, ["---"] * len(head), *rows))


def percent(counts: Counts | Mean | None, rate: Rate | None = None, bold: bool = False) -> str:
    """Returns success [%], or another `rate` of the same rollouts, with its interval; "–" without results.

    An asterisk marks fewer than 200 rollouts.
    """
    rate = counts.success if counts and rate is None else rate
    if counts is None or rate is None:
        return "–"
    text = f"{100 * rate.rate:.1f}{'*' if counts.is_preliminary else ''}"
    return f"{f'**{text}**' if bold else text} ({100 * rate.low:.1f}–{100 * rate.high:.1f})"


def detailed(counts: Counts | None, bold: bool = False, strict: bool = False) -> str:
    """Returns success [%], strict success if asked for, and the success of each of several training seeds."""
    if counts is None:
        return ""
    held = f", {100 * counts.strict.rate:.1f}" if strict else ""
    seeds = " ".join(f"{100 * rate:.0f}" for rate in counts.rates)
    return percent(counts, bold=bold) + held + (f"; {seeds}" if len(counts.rows) > 1 else "")


def latencies(counts: Mapping[str, Counts]) -> str:
    """Returns the time of a query with one observation, beside the time until the next query is due."""
    rows = []
    for name, counted in counts.items():
        if times := [row["single_query"] for row in counted.rows if row["single_query"]]:
            due = 1e3 * CONTROL_TIMESTEP * counted.rows[0]["n_action_steps"]  # [ms]
            p50, p99 = fmean(time["p50_ms"] for time in times), fmean(time["p99_ms"] for time in times)
            rows.append([name, f"{p50:.1f}", f"{p99:.1f}", f"{due:.0f}", "yes" if p99 <= due else "no"])
    return markdown(["", "p50 [ms]", "p99 [ms]", "due every [ms]", "in time"], rows)
