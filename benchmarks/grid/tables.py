"""Tables in Markdown, and how one of their cells shows a success rate."""

from collections.abc import Iterable, Sequence

from act.evaluation.rates import holm
from benchmarks.grid.statistics import Counts, Settings, balanced, mean, paired

STYLE_NAMES = {"scripted": "scripted", "human": "varied"}  # of demonstrations, as prose and tables call them
Pair = tuple[str, Settings, Settings, Sequence[float]]  # name, what is compared, and the paper's figures, if it has any


def markdown(head: Iterable[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns a table; `head` and every row begin with the name of the row."""
    head = [*head]
    return "".join(f"| {' | '.join(line)} |\n" for line in (head, ["---"] * len(head), *rows))


def percent(counts: Counts | None, bold: bool = False) -> str:
    """Returns success [%] with its interval; "–" without results. An asterisk marks fewer than 200 rollouts."""
    if counts is None:
        return "–"
    rate = counts.rate()
    text = f"{100 * rate.rate:.1f}{'*' if counts.is_preliminary else ''}"
    return f"{f'**{text}**' if bold else text} ({100 * rate.low:.1f}–{100 * rate.high:.1f})"


def detailed(counts: Counts | None, bold: bool = False, strict: bool = False) -> str:
    """Returns success [%], strict success if asked for, and the success of each of several training seeds."""
    if counts is None:
        return ""
    held = f", {100 * counts.rate(strict=True).rate:.1f}" if strict else ""
    seeds = " ".join(f"{100 * rate:.0f}" for rate in counts.rates)
    return percent(counts, bold) + held + (f"; {seeds}" if len(counts.rows) > 1 else "")


def paper(figures: Sequence[float], *more: str) -> list[str]:
    """Returns a row of the paper's figures [%]."""
    return ["paper", *(f"{figure:g}" for figure in figures), *more]


def shared(off: Settings, on: Settings) -> tuple[Counts | None, Counts | None]:
    """Returns both means, of the rollouts that they share if they share any, so that rates and test use the same."""
    both = balanced([*off, *on]) or [*off, *on]
    return mean(both[: len(off)]), mean(both[len(off) :])


def compared(head: Sequence[str], pairs: Sequence[Pair]) -> str:
    """Returns a table of pairs; their p-values are Holm-corrected together."""
    sides = [shared(off, on) for _, off, on, _ in pairs]
    tests = [paired(off.outcomes(), on.outcomes()) if off and on else None for off, on in sides]
    adjusted, rows = iter(holm([test.p_value for test in tests if test])), []
    for (name, *_, figures), both, test in zip(pairs, sides, tests, strict=True):
        rows.append([name, *map(percent, both), f"{next(adjusted):.1g}" if test else "–"])
        rows += [paper(figures, "–")] if figures else []
    return markdown(["", *head, "p"], rows)
