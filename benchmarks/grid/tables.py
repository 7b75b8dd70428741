"""Tables in Markdown, and how one of their cells shows a success rate."""

from collections.abc import Iterable, Sequence

from act.evaluation.rates import Rate
from benchmarks.grid.statistics import Counts

STYLE_NAMES = {"scripted": "scripted", "human": "varied"}  # of demonstrations, as prose and tables call them


def markdown(head: Iterable[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns a table; `head` and every row begin with the name of the row."""
    head = [*head]
    return "".join(f"| {' | '.join(line)} |\n" for line in (head, ["---"] * len(head), *rows))


def percent(counts: Counts | None, rate: Rate | None = None, bold: bool = False) -> str:
    """Returns success [%], or another `rate` of the same rollouts, with its interval; "–" without results.

    An asterisk marks fewer than 200 rollouts.
    """
    if counts is None:
        return "–"
    rate = rate or counts.success
    text = f"{100 * rate.rate:.1f}{'*' if counts.is_preliminary else ''}"
    return f"{f'**{text}**' if bold else text} ({100 * rate.low:.1f}–{100 * rate.high:.1f})"


def detailed(counts: Counts | None, bold: bool = False, strict: bool = False) -> str:
    """Returns success [%], strict success if asked for, and the success of each of several training seeds."""
    if counts is None:
        return ""
    held = f", {100 * counts.strict.rate:.1f}" if strict else ""
    seeds = " ".join(f"{100 * rate:.0f}" for rate in counts.rates)
    return percent(counts, bold=bold) + held + (f"; {seeds}" if len(counts.rows) > 1 else "")
