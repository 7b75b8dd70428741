"""Statistics of the rows of a grid: success over training seeds, means over settings, and paired tests.

`Counts` pools the training seeds of one recipe that was executed in one mode.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TypeVar

from act.evaluation.paper import PAPER
from act.evaluation.rates import PRELIMINARY_BELOW, PairedComparison, Rate, holm
from benchmarks.grid.cells import Cell, Method, Options
from benchmarks.grid.results import Row
from sim_envs import STYLES

SETTINGS = tuple((task, style) for style in STYLES for task in PAPER)
TRACKS = ("state", "images")
SIGNIFICANT = 0.05  # family-wise error of the paired tests (Holm 1979)
Start = tuple[str, int]  # task and seed of a rollout: all policies are evaluated on the same starts
Rollout = tuple[Start, str, int]  # a start, and the demonstration style and the training seed of the policy
Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True)
class Counts:
    """The rollouts of one recipe in one mode, in one row of results for each training seed."""

    rows: tuple[Row, ...]

    def stage(self, reward: int) -> Rate:
        """Returns the share of the rollouts that reached `reward` at some control step."""
        return rate(self._rollouts("rewards", lambda row, digit: int(digit) >= reward))

    @property
    def success(self) -> Rate:
        return rate(self.won)

    @property
    def strict(self) -> Rate:
        return rate(self._rollouts("strict", lambda row, digit: digit == "1"))

    @property
    def won(self) -> dict[Rollout, bool]:
        """Whether each rollout succeeded."""
        return self._rollouts("rewards", lambda row, digit: int(digit) >= len(row["stages"]))

    def _rollouts(self, digits: str, holds: Callable[[Row, str], bool]) -> dict[Rollout, bool]:
        return {
            ((row["task"], row["first_seed"] + i), row["style"], row["train_seed"]): holds(row, digit)
            for row in self.rows
            for i, digit in enumerate(row[digits])
        }

    @property
    def rates(self) -> list[float]:
        """Success of each training seed, 0 to 1."""
        return [Counts((row,)).success.rate for row in sorted(self.rows, key=lambda row: row["train_seed"])]

    @property
    def is_preliminary(self) -> bool:
        """Whether a training seed has few rollouts; the others start from the same states and do not add starts."""
        return any(row["n"] < PRELIMINARY_BELOW for row in self.rows)


def rate(outcomes: Mapping[Rollout, bool]) -> Rate:
    """Returns the rate of rollouts, of which several may have the same start."""
    return Rate.of("", outcomes.values(), (start for start, *_ in outcomes))


@dataclass(frozen=True)
class Mean:
    """Success averaged over settings, each with the same weight; None stands for a setting without results."""

    counts: tuple[Counts | None, ...]

    @property
    def balanced(self) -> list[Counts] | None:
        """The counts, cut to the training seeds and rollouts that all settings share; None where they share none."""
        known = [counts for counts in self.counts if counts]
        seeds = [{row["train_seed"] for row in counts.rows} for counts in known]
        shared = set.intersection(*seeds) if len(known) == len(self.counts) else set()
        if not shared:
            return None
        kept = [[row for row in counts.rows if row["train_seed"] in shared] for counts in known]
        n = min(row["n"] for rows in kept for row in rows)
        return [
            Counts(tuple({**row, "n": n, "rewards": row["rewards"][:n], "strict": row["strict"][:n]} for row in rows))
            for rows in kept
        ]

    @property
    def success(self) -> Rate | None:
        """None until every setting has results."""
        return rate(self.won) if self.won else None

    @property
    def is_preliminary(self) -> bool:
        return any(counts.is_preliminary for counts in self.balanced or ())

    @property
    def won(self) -> dict[Rollout, bool]:
        """Whether each rollout that `success` counts succeeded; empty until every setting has results."""
        return {rollout: won for counts in self.balanced or () for rollout, won in counts.won.items()}


@dataclass(frozen=True)
class Rows:
    """All rows of a grid; finds those of a method."""

    rows: Sequence[Row]
    options: Options

    def counts(self, method: Method, task: str, style: str, track: str, mode: str) -> Counts | None:
        cell = Cell(method, task, style, track, 0, self.options.steps_of(method, task))
        wanted = (cell.recipe, mode, cell.n_action_steps(mode))
        found = [row for row in self.rows if (row["recipe"], row["mode"], row["n_action_steps"]) == wanted]
        return Counts(tuple(found)) if found else None

    def mean(self, method: Method, track: str, mode: str, styles: Iterable[str] = STYLES) -> Mean:
        """Returns the mean over the settings of the paper that have these styles."""
        return Mean(tuple(self.counts(method, *s, track, mode) for s in SETTINGS if s[1] in styles))

    def tracks(self) -> list[str]:
        return [track for track in TRACKS if any(row["track"] == track for row in self.rows)]


def paired(first: Mapping[Rollout, bool], second: Mapping[Rollout, bool]) -> PairedComparison | None:
    """Returns the paired test of the rollouts that both have; None where they share none."""
    shared = [rollout for rollout in first if rollout in second]
    return PairedComparison.of((r[0], first[r], second[r]) for r in shared) if shared else None


@dataclass(frozen=True)
class Difference:
    """Success of one method minus another's on the rollouts they share [points], and the adjusted p-value."""

    points: float
    p: float

    @property
    def is_significant(self) -> bool:
        return self.p < SIGNIFICANT


def differences(counts: Mapping[Name, Counts]) -> dict[tuple[Name, Name], Difference]:
    """Returns second minus first for every pair that shares rollouts; the more successful one of a pair is first."""
    names = sorted(counts, key=lambda name: -counts[name].success.rate)
    won = {name: counts[name].won for name in names}
    tests = {pair: paired(*map(won.__getitem__, pair)) for pair in combinations(names, 2)}
    known = {pair: test for pair, test in tests.items() if test}
    adjusted = holm([test.p_value for test in known.values()])
    return {
        pair: Difference(100 * (test.only_second - test.only_first) / test.n, p)
        for (pair, test), p in zip(known.items(), adjusted, strict=True)
    }


def best(counts: Mapping[Name, Counts]) -> set[Name]:
    """Returns the most successful method, and those that are not significantly worse on the rollouts they share."""
    first = max(counts, key=lambda name: counts[name].success.rate, default=None)
    compared = {pair[1]: gap for pair, gap in differences(counts).items() if pair[0] == first}
    as_good = {name for name, gap in compared.items() if not gap.is_significant or gap.points > 0}
    return as_good | {first} if first is not None else set()
