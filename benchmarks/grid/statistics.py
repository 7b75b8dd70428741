"""Statistics of the rows of a grid: success over training seeds, means over settings, paired tests; and tables."""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, TypeVar

from act.evaluation.paper import PAPER
from act.evaluation.rates import PRELIMINARY_BELOW, PairedComparison, Rate, holm
from benchmarks.grid.cells import TASKS, Cell, Method, Mode, Options

STYLES = {"scripted": "scripted", "human": "varied"}  # of demonstrations, as prose and tables call them
SETTINGS = {(task, style): f"{PAPER[task].title}, {STYLES[style]}" for style in STYLES for task in TASKS}
TRACKS = ("state", "images")
SIGNIFICANT = 0.05  # family-wise error of the paired tests (Holm 1979)
Row = dict[str, Any]  # of results: one training run, executed in one mode
Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True)
class Counts:
    """The rollouts of one recipe in one mode, in one row of results for each training seed; or of several settings."""

    rows: tuple[Row, ...]

    def outcomes(self, strict: bool = False, stage: int = 0) -> dict[tuple[tuple[str, int], str, int], bool]:
        """Returns success by rollout: ((task, seed of the start), style of the demonstrations, training seed).

        With a `stage`, 1 or more, whether that stage was reached.
        """
        return {
            ((row["task"], row["first_seed"] + i), row["style"], row["train_seed"]): int(digit) >= wanted
            for row in self.rows
            for digits, wanted in [(row["strict"], 1) if strict else (row["rewards"], stage or len(row["stages"]))]
            for i, digit in enumerate(digits[: row["n"]])
        }

    def rate(self, strict: bool = False, stage: int = 0) -> Rate:
        """Returns the rate of success, or of a stage; several rollouts may have the same start."""
        outcomes = self.outcomes(strict, stage)
        return Rate.of("", outcomes.values(), (start for start, *_ in outcomes))

    @property
    def rates(self) -> list[float]:
        """Success of each training seed, 0 to 1."""
        return [Counts((row,)).rate().rate for row in sorted(self.rows, key=lambda row: row["train_seed"])]


Settings = Sequence[Counts | None]  # one for each setting; None where it has no results


def balanced(parts: Settings) -> list[Counts] | None:
    """Returns the parts, cut to the training seeds and rollouts that all of them have; None where they share none."""
    known = [{row["train_seed"]: row for row in counts.rows} for counts in parts if counts]
    seeds = set.intersection(*map(set, known)) if known and len(known) == len(parts) else set()
    n = min((rows[seed]["n"] for rows in known for seed in seeds), default=0)
    cut = [[rows[seed] | {"n": n} for seed in seeds] for rows in known]
    return [Counts(tuple(rows)) for rows in cut] if seeds else None


def mean(parts: Settings) -> Counts | None:
    """Returns the rollouts of all settings, equally many of each; None until every setting has results."""
    found = balanced(parts)
    return Counts(tuple(row for counts in found for row in counts.rows)) if found else None


def shared(off: Settings, on: Settings) -> tuple[Counts | None, Counts | None]:
    """Returns both means, of the rollouts that they share if they share any, so that rates and test use the same."""
    both = balanced([*off, *on]) or [*off, *on]
    return mean(both[: len(off)]), mean(both[len(off) :])


class Rows:
    """All rows of a grid; finds those of a method. Raises ValueError when demonstrations of one setting differ."""

    def __init__(self, rows: Sequence[Row], options: Options):
        self.steps_of = options.steps_of
        self.where = {(row["track"], row["task"], row["style"]) for row in rows}
        self.groups: dict[tuple[str, str, int], list[Row]] = defaultdict(list)
        digests: dict[tuple[str, str], str] = {}
        for row in rows:
            self.groups[row["recipe"], row["mode"], row["n_action_steps"]].append(row)
            setting, digest = (row["task"], row["style"]), row.get("demonstrations")  # old rows do not have it
            if digest and digests.setdefault(setting, digest) != digest:
                raise ValueError(f"the rows of {' '.join(setting)} are of two sets of demonstrations; keep one of them")

    def counts(self, method: Method, task: str, style: str, track: str, mode: Mode) -> Counts | None:
        recipe, _, mode, n = Cell(method, task, style, track, 0, self.steps_of(method, task)).key(mode)
        found = self.groups.get((recipe, mode, n))
        return Counts(tuple(found)) if found else None

    def settings(self, method: Method, track: str, mode: Mode, styles: Iterable[str] = STYLES) -> list[Counts | None]:
        """Returns the counts in the settings of the paper that have these styles."""
        return [self.counts(method, *setting, track, mode) for setting in SETTINGS if setting[1] in styles]

    def tracks(self) -> list[str]:
        return [track for track in TRACKS if any(where[0] == track for where in self.where)]


def paired(first: Counts, second: Counts) -> PairedComparison | None:
    """Returns the paired test of the rollouts that both have; None where they share none."""
    one, other = first.outcomes(), second.outcomes()
    common = [rollout for rollout in one if rollout in other]
    return PairedComparison.of((rollout[0], one[rollout], other[rollout]) for rollout in common) if common else None


def best(counts: Mapping[Name, Counts]) -> set[Name]:
    """Returns the most successful method, and those that the tests of all pairs (Holm) do not call worse."""
    names = sorted(counts, key=lambda name: -counts[name].rate().rate)
    pairs = {(a, b): test for a, b in combinations(names, 2) if (test := paired(counts[a], counts[b]))}
    as_good = set(names[:1])
    for ((first, second), test), p in zip(pairs.items(), holm([t.p_value for t in pairs.values()]), strict=True):
        if first == names[0] and (p >= SIGNIFICANT or test.only_second > test.only_first):
            as_good.add(second)
    return as_good


def markdown(head: Iterable[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns a table; `head` and every row begin with the name of the row."""
    head = [*head]
    return "".join(f"| {' | '.join(line)} |\n" for line in (head, ["---"] * len(head), *rows))


def percent(counts: Counts | None, bold: bool = False) -> str:
    """Returns success [%] with its interval, and an asterisk for fewer than 200 rollouts; "–" without results."""
    if counts is None:
        return "–"
    rate, few = counts.rate(), any(row["n"] < PRELIMINARY_BELOW for row in counts.rows)
    text = f"{100 * rate.rate:.1f}{'*' if few else ''}"
    return f"{f'**{text}**' if bold else text} ({100 * rate.low:.1f}–{100 * rate.high:.1f})"


def detailed(counts: Counts | None, bold: bool = False, strict: bool = False) -> str:
    """Returns success [%], strict success if asked for, and the success of each of several training seeds."""
    if counts is None:
        return ""
    held = f", {100 * counts.rate(strict=True).rate:.1f}" if strict else ""
    seeds = " ".join(f"{100 * rate:.0f}" for rate in counts.rates)
    return percent(counts, bold) + held + (f"; {seeds}" if len(counts.rows) > 1 else "")


def compared(head: Sequence[str], pairs: Sequence[tuple[str, Settings, Settings, Sequence[float]]]) -> str:
    """Returns a table of pairs (name, one, other, the paper's figures if any); p-values are corrected together."""
    sides = [shared(off, on) for _, off, on, _ in pairs]
    tests = [paired(off, on) if off and on else None for off, on in sides]
    adjusted, rows = iter(holm([test.p_value for test in tests if test])), []
    for (name, *_, figures), both, test in zip(pairs, sides, tests, strict=True):
        rows.append([name, *map(percent, both), f"{next(adjusted):.1g}" if test else "–"])
        rows += [["paper", *map("{:g}".format, figures), "–"]] if figures else []
    return markdown(["", *head, "p"], rows)
