"""Statistics of the rows of a grid: success over training seeds, means over settings, and paired tests."""

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
Rollout = tuple[
    tuple[str, int], str, int
]  # start (task, seed), and demonstration style and training seed of the policy
Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True)
class Counts:
    """The rollouts of one recipe in one mode, in one row of results for each training seed; or of several settings."""

    rows: tuple[Row, ...]

    def stage(self, reward: int) -> Rate:
        """Returns the share of the rollouts that reached `reward` at some control step."""
        return _rate(self._rollouts("rewards", lambda row, digit: int(digit) >= reward))

    @property
    def success(self) -> Rate:
        return _rate(self.won)

    @property
    def strict(self) -> Rate:
        return _rate(self._rollouts("strict", lambda row, digit: digit == "1"))

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


def _rate(outcomes: Mapping[Rollout, bool]) -> Rate:
    """Returns the rate of rollouts, of which several may have the same start."""
    return Rate.of("", outcomes.values(), (start for start, *_ in outcomes))


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

    def settings(self, method: Method, track: str, mode: str, styles: Iterable[str] = STYLES) -> list[Counts | None]:
        """Returns the counts in the settings of the paper that have these styles."""
        return [self.counts(method, *setting, track, mode) for setting in SETTINGS if setting[1] in styles]

    def tracks(self) -> list[str]:
        return [track for track in TRACKS if any(row["track"] == track for row in self.rows)]


def paired(first: Mapping[Rollout, bool], second: Mapping[Rollout, bool]) -> PairedComparison | None:
    """Returns the paired test of the rollouts that both have; None where they share none."""
    shared = [rollout for rollout in first if rollout in second]
    return PairedComparison.of((r[0], first[r], second[r]) for r in shared) if shared else None


def differences(counts: Mapping[Name, Counts]) -> dict[tuple[Name, Name], tuple[float, float]]:
    """Returns second minus first [points] and the Holm-corrected p-value for every pair that shares rollouts.

    The more successful one of a pair is first.
    """
    names = sorted(counts, key=lambda name: -counts[name].success.rate)
    won = {name: counts[name].won for name in names}
    tests = {pair: paired(*map(won.__getitem__, pair)) for pair in combinations(names, 2)}
    known = {pair: test for pair, test in tests.items() if test}
    points = [100 * (test.only_second - test.only_first) / test.n for test in known.values()]
    return dict(zip(known, zip(points, holm([test.p_value for test in known.values()]), strict=True), strict=True))


def best(counts: Mapping[Name, Counts]) -> set[Name]:
    """Returns the most successful method, and those that are not significantly worse on the rollouts they share."""
    first = max(counts, key=lambda name: counts[name].success.rate, default=None)
    compared = {second: gap for (other, second), gap in differences(counts).items() if other == first}
    as_good = {name for name, (points, p) in compared.items() if p >= SIGNIFICANT or points > 0}
    return as_good | {first} if first is not None else set()
