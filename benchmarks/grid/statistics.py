"""Statistics of the rows of a grid: success over training seeds, means over settings, and paired tests."""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TypeVar

from act.evaluation.paper import PAPER
from act.evaluation.rates import PRELIMINARY_BELOW, PairedComparison, Rate, holm
from benchmarks.grid.cells import Cell, Method, Mode, Options
from benchmarks.grid.results import Row
from sim_envs import STYLES

SETTINGS = tuple((task, style) for style in STYLES for task in PAPER)
TRACKS = ("state", "images")
SIGNIFICANT = 0.05  # family-wise error of the paired tests (Holm 1979)
Rollout = tuple[tuple[str, int], str, int]  # start (task, seed), demonstration style and training seed of the policy
Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True)
class Counts:
    """The rollouts of one recipe in one mode, in one row of results for each training seed; or of several settings."""

    rows: tuple[Row, ...]

    def outcomes(self, strict: bool = False) -> dict[Rollout, bool]:
        """Returns whether each rollout reached the last stage, or is successful in the strict sense."""
        return {
            ((row["task"], row["first_seed"] + i), row["style"], row["train_seed"]): int(digit) >= wanted
            for row in self.rows
            for digits, wanted in [(row["strict"], 1) if strict else (row["rewards"], len(row["stages"]))]
            for i, digit in enumerate(digits)
        }

    def rate(self, strict: bool = False) -> Rate:
        """Returns the rate of success; several rollouts may have the same start."""
        outcomes = self.outcomes(strict)
        return Rate.of("", outcomes.values(), (start for start, *_ in outcomes))

    @property
    def rates(self) -> list[float]:
        """Success of each training seed, 0 to 1."""
        return [Counts((row,)).rate().rate for row in sorted(self.rows, key=lambda row: row["train_seed"])]

    @property
    def is_preliminary(self) -> bool:
        """Whether a training seed has few rollouts; the others start from the same states and do not add starts."""
        return any(row["n"] < PRELIMINARY_BELOW for row in self.rows)


Settings = Sequence[Counts | None]  # one for each setting; None where it has no results


def balanced(parts: Settings) -> list[Counts] | None:
    """Returns the parts, cut to the training seeds and rollouts that all of them have; None where they share none."""
    known = [counts for counts in parts if counts]
    seeds = [{row["train_seed"] for row in counts.rows} for counts in known]
    shared = set.intersection(*seeds) if known and len(known) == len(parts) else set()
    kept = [[row for row in counts.rows if row["train_seed"] in shared] for counts in known]
    n = min((row["n"] for rows in kept for row in rows), default=0)
    cut = [[row | {"n": n, **{key: row[key][:n] for key in ("rewards", "strict")}} for row in rows] for rows in kept]
    return [Counts(tuple(rows)) for rows in cut] if shared else None


def mean(parts: Settings) -> Counts | None:
    """Returns the rollouts of all settings, equally many of each; None until every setting has results."""
    found = balanced(parts)
    return Counts(tuple(row for counts in found for row in counts.rows)) if found else None


class Rows:
    """All rows of a grid; finds those of a method."""

    def __init__(self, rows: Sequence[Row], options: Options):
        self.steps_of = options.steps_of
        self.where = {(row["track"], row["task"], row["style"]) for row in rows}
        self.groups: dict[tuple[str, str, int], list[Row]] = defaultdict(list)
        for row in rows:
            self.groups[row["recipe"], row["mode"], row["n_action_steps"]].append(row)

    def counts(self, method: Method, task: str, style: str, track: str, mode: Mode) -> Counts | None:
        recipe, _, mode, n = Cell(method, task, style, track, 0, self.steps_of(method, task)).key(mode)
        found = self.groups.get((recipe, mode, n))
        return Counts(tuple(found)) if found else None

    def settings(self, method: Method, track: str, mode: Mode, styles: Iterable[str] = STYLES) -> list[Counts | None]:
        """Returns the counts in the settings of the paper that have these styles."""
        return [self.counts(method, *setting, track, mode) for setting in SETTINGS if setting[1] in styles]

    def tracks(self) -> list[str]:
        return [track for track in TRACKS if any(where[0] == track for where in self.where)]


def paired(first: Mapping[Rollout, bool], second: Mapping[Rollout, bool]) -> PairedComparison | None:
    """Returns the paired test of the rollouts that both have; None where they share none."""
    shared = [rollout for rollout in first if rollout in second]
    return PairedComparison.of((r[0], first[r], second[r]) for r in shared) if shared else None


def differences(counts: Mapping[Name, Counts]) -> dict[tuple[Name, Name], tuple[float, float]]:
    """Returns second minus first [points] and the Holm-corrected p-value for every pair that shares rollouts.

    The more successful one of a pair is first.
    """
    names = sorted(counts, key=lambda name: -counts[name].rate().rate)
    won = {name: counts[name].outcomes() for name in names}
    tests = {pair: paired(*map(won.__getitem__, pair)) for pair in combinations(names, 2)}
    known = {pair: test for pair, test in tests.items() if test}
    points = [100 * (test.only_second - test.only_first) / test.n for test in known.values()]
    return dict(zip(known, zip(points, holm([test.p_value for test in known.values()]), strict=True), strict=True))


def best(counts: Mapping[Name, Counts]) -> set[Name]:
    """Returns the most successful method, and those that are not significantly worse on the rollouts they share."""
    first = max(counts, key=lambda name: counts[name].rate().rate, default=None)
    compared = {second: gap for (other, second), gap in differences(counts).items() if other == first}
    as_good = {name for name, (points, p) in compared.items() if p >= SIGNIFICANT or points > 0}
    return as_good | {first} if first is not None else set()
