"""Rows of a grid counted: success over training seeds, its mean over settings, and which differences are real.

A tally pools the training seeds of one recipe and one way of execution.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TypeVar

from act.evaluation.paper import PAPER
from act.evaluation.rates import PRELIMINARY_BELOW, PairedComparison, Rate, holm
from benchmarks.grid.cells import STYLES, Cell, Method, Options
from benchmarks.grid.results import Row

SETTINGS = tuple((task, style) for style in STYLES for task in PAPER)
TRACKS = {
    "state": "joints and object poses",
    "images": "four cameras, through a keypoint trunk that random scenes trainable to see",
}
REAL = 0.05  # family-wise error of the paired tests (Holm 1979)
Start = tuple[str, int]  # task and seed of a rollout: policies of all trainings and styles begin there
Rollout = tuple[Start, str, int]  # where it began, the demonstrations' style and the training seed of its policy
Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True)
class Tally:
    """Rollouts of one recipe, executed one way: one row of results per training seed."""

    rows: tuple[Row, ...]

    def stage(self, reward: int) -> Rate:
        """Share of the rollouts that reached `reward` at some moment."""
        return rate(self._rollouts("rewards", lambda row, digit: int(digit) >= reward))

    @property
    def success(self) -> Rate:
        return rate(self.won)

    @property
    def strict(self) -> Rate:
        return rate(self._rollouts("strict", lambda row, digit: digit == "1"))

    @property
    def won(self) -> dict[Rollout, bool]:
        """Which rollouts succeeded."""
        return self._rollouts("rewards", lambda row, digit: int(digit) >= len(row["stages"]))

    def _rollouts(self, digits: str, holds: Callable[[Row, str], bool]) -> dict[Rollout, bool]:
        return {
            ((row["task"], row["first_seed"] + i), row["style"], row["train_seed"]): holds(row, digit)
            for row in self.rows
            for i, digit in enumerate(row[digits])
        }

    @property
    def rates(self) -> list[float]:
        """Success of each training seed."""
        return [Tally((row,)).success.rate for row in sorted(self.rows, key=lambda row: row["train_seed"])]

    @property
    def by_seed(self) -> str:
        """The same in %."""
        return " ".join(f"{100 * rate:.0f}" for rate in self.rates)

    @property
    def is_preliminary(self) -> bool:
        """Whether a training seed has few rollouts: others that begin at the same starts do not make up for it."""
        return any(row["n"] < PRELIMINARY_BELOW for row in self.rows)


def rate(outcomes: Mapping[Rollout, bool]) -> Rate:
    """Of rollouts, of which some begin at the same start."""
    return Rate.of("", outcomes.values(), (start for start, *_ in outcomes))


@dataclass(frozen=True)
class Rows:
    """All rows of a grid, and how to find those of a method."""

    rows: Sequence[Row]
    options: Options

    def tally(self, method: Method, task: str, style: str, track: str, mode: str) -> Tally | None:
        cell = Cell(method, task, style, track, 0, self.options.steps_of(method, task))
        wanted = (cell.recipe, mode, cell.every(mode))
        found = [row for row in self.rows if (row["recipe"], row["mode"], row["n_action_steps"]) == wanted]
        return Tally(tuple(found)) if found else None

    def settings(self, method: Method, track: str, mode: str, styles: Iterable[str] = STYLES) -> "Mean":
        """The tallies of a method in the settings of the paper."""
        return Mean(tuple(self.tally(method, *s, track, mode) for s in SETTINGS if s[1] in styles))

    def tracks(self) -> list[str]:
        return [track for track in TRACKS if any(row["track"] == track for row in self.rows)]


@dataclass(frozen=True)
class Mean:
    """Success averaged over settings; every setting counts as much as any other."""

    tallies: tuple[Tally | None, ...]

    @property
    def balanced(self) -> list[Tally] | None:
        """The tallies cut to the training seeds and rollouts that all settings have; None where one has nothing."""
        there = [tally for tally in self.tallies if tally]
        seeds = [{row["train_seed"] for row in tally.rows} for tally in there]
        shared = set.intersection(*seeds) if len(there) == len(self.tallies) else set()
        if not shared:
            return None
        kept = [[row for row in tally.rows if row["train_seed"] in shared] for tally in there]
        n = min(row["n"] for rows in kept for row in rows)
        return [
            Tally(tuple({**row, "n": n, "rewards": row["rewards"][:n], "strict": row["strict"][:n]} for row in rows))
            for rows in kept
        ]

    @property
    def success(self) -> Rate | None:
        """None before every setting has a number."""
        return rate(self.won) if self.won else None

    @property
    def is_preliminary(self) -> bool:
        return any(tally.is_preliminary for tally in self.balanced or ())

    @property
    def won(self) -> dict[Rollout, bool]:
        """Which of the rollouts that `success` counts succeeded; none before every setting has some."""
        return {rollout: won for tally in self.balanced or () for rollout, won in tally.won.items()}


def paired(first: Mapping[Rollout, bool], second: Mapping[Rollout, bool]) -> PairedComparison | None:
    """The paired test on what won; None where no rollout is shared."""
    shared = [rollout for rollout in first if rollout in second]
    return PairedComparison.of((r[0], first[r], second[r]) for r in shared) if shared else None


@dataclass(frozen=True)
class Difference:
    """Of the success of two methods on the rollouts they share [points], and the p-value, adjusted for all pairs."""

    points: float
    p: float

    @property
    def real(self) -> bool:
        return self.p < REAL


def differences(tallies: Mapping[Name, Tally]) -> dict[tuple[Name, Name], Difference]:
    """Second minus first, for every pair that shares rollouts; the more successful one comes first."""
    names = sorted(tallies, key=lambda name: -tallies[name].success.rate)
    won = {name: tally.won for name, tally in tallies.items()}
    tests = {pair: paired(*map(won.__getitem__, pair)) for pair in combinations(names, 2)}
    there = {pair: test for pair, test in tests.items() if test}
    adjusted = holm([test.p_value for test in there.values()])
    return {
        pair: Difference(100 * (test.only_second - test.only_first) / test.n, p)
        for (pair, test), p in zip(there.items(), adjusted, strict=True)
    }
