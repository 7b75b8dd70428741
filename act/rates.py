"""What can be said of success rates: Wilson's interval, paired tests on shared starts, Holm's correction."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

from act.types import RolloutResult

PRELIMINARY_BELOW = 200  # rollouts; fewer are labelled "preliminary" wherever they are shown


def wilson_interval(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a rate, both ends in [0, 1]; (0, 1) when nothing was tried. (Wilson 1927.)"""
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n} is no rate: the count must lie between 0 and {n}")
    if n == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    rate, shrink = successes / n, 1 + z * z / n
    centre = (rate + z * z / (2 * n)) / shrink
    half = z / shrink * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == n else centre + half
    return max(0.0, low), min(1.0, high)


@dataclass(frozen=True)
class Rate:
    """`successes` of `n` rollouts, with the 95 % Wilson interval [low, high]."""

    name: str
    successes: int
    n: int
    rate: float
    low: float
    high: float

    @classmethod
    def of(cls, name: str, outcomes: Iterable[bool]) -> "Rate":
        kept = [bool(outcome) for outcome in outcomes]
        low, high = wilson_interval(sum(kept), len(kept))
        return cls(name, sum(kept), len(kept), sum(kept) / max(len(kept), 1), low, high)

    def __str__(self) -> str:
        return f"{100 * self.rate:.1f} % ({100 * self.low:.1f}-{100 * self.high:.1f}, {self.successes} of {self.n})"


@dataclass(frozen=True)
class PairedComparison:
    """Two agents on the same seeds; `p_value` is McNemar's exact two-sided test over the seeds where they differ."""

    n: int
    both: int
    only_first: int
    only_second: int
    p_value: float


def compare_paired(first: Sequence[RolloutResult], second: Sequence[RolloutResult]) -> PairedComparison:
    """Compares the success of two evaluations seed by seed; ValueError when they share no seed."""
    won = {result.seed: result.success for result in first}
    pairs = [(won[result.seed], result.success) for result in second if result.seed in won]
    if not pairs:
        raise ValueError("the two evaluations share no seed: run both with the same --seed_set and --num_rollouts")
    only_first, only_second = sum(a and not b for a, b in pairs), sum(b and not a for a, b in pairs)
    discordant = only_first + only_second
    tail = sum(math.comb(discordant, i) for i in range(min(only_first, only_second) + 1)) / 2**discordant
    return PairedComparison(len(pairs), sum(a and b for a, b in pairs), only_first, only_second, min(1.0, 2 * tail))


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted so that any false difference is as unlikely as a single one was (Holm 1979)."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, largest = [1.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = largest
    return adjusted
