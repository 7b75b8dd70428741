"""What can be said of success rates: Wilson's interval, paired tests on shared starts, Holm's correction.

Policies of several training seeds are tried on the same starts. Their rollouts of one start are alike, so that they say
less of the policies than as many starts would: intervals and tests count starts, not rollouts.
"""

import math
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

from act.types import RolloutResult

PRELIMINARY_BELOW = 200  # rollouts; fewer are labelled "preliminary" wherever they are shown


def wilson_interval(
    successes: int, n: int, confidence: float = 0.95, design_effect: float = 1.0
) -> tuple[float, float]:
    """Wilson's score interval of a rate, both ends in [0, 1]; (0, 1) when nothing was tried. (Wilson 1927.)

    With a `design_effect` it is that of n / design_effect rollouts.
    """
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n} is no rate: the count must lie between 0 and {n}")
    if n == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    rate, size = successes / n, n / design_effect
    shrink = 1 + z * z / size
    centre = (rate + z * z / (2 * size)) / shrink
    half = z / shrink * math.sqrt(rate * (1 - rate) / size + z * z / (4 * size * size))
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == n else centre + half
    return max(0.0, low), min(1.0, high)


def design_effect(groups: Sequence[Sequence[bool]]) -> float:
    """How many rollouts of the same start (a group each) say as much as one of a start of its own. (Kish 1965.)

    From 1, they differ as starts do, to the mean size of a group, they are all alike; this, too, where nothing varies.
    """
    sizes, totals = [len(group) for group in groups], [sum(group) for group in groups]
    n, count = sum(sizes), len(groups)
    rate, most = sum(totals) / n, n / count
    chance = n * rate * (1 - rate)  # variance of the sum, were all rollouts independent
    if count < 2 or not chance:
        return most
    spread = sum((total - rate * size) ** 2 for total, size in zip(totals, sizes, strict=True)) * count / (count - 1)
    return min(most, max(1.0, spread / chance))


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
    def of(cls, name: str, outcomes: Iterable[bool], starts: Iterable[Hashable] | None = None) -> "Rate":
        """Of rollouts that each have a start of their own, or begin at `starts`, some of them several times."""
        kept = [bool(outcome) for outcome in outcomes]
        groups: dict[Hashable, list[bool]] = defaultdict(list)
        for start, outcome in zip(range(len(kept)) if starts is None else starts, kept, strict=True):
            groups[start].append(outcome)
        low, high = wilson_interval(
            sum(kept), len(kept), design_effect=design_effect([*groups.values()]) if kept else 1
        )
        return cls(name, sum(kept), len(kept), sum(kept) / max(len(kept), 1), low, high)

    def __str__(self) -> str:
        return f"{100 * self.rate:.1f} % ({100 * self.low:.1f}-{100 * self.high:.1f}, {self.successes} of {self.n})"


@dataclass(frozen=True)
class PairedComparison:
    """Two agents on the same starts: rollouts that both won, or one of them; `p_value` as `sign_flip` gives it."""

    n: int
    both: int
    only_first: int
    only_second: int
    p_value: float

    @classmethod
    def of(cls, pairs: Iterable[tuple[Hashable, bool, bool]]) -> "PairedComparison":
        """Of pairs of rollouts: their start, which several pairs may share, and whether first and second won."""
        found = [(start, bool(first), bool(second)) for start, first, second in pairs]
        gains: dict[Hashable, int] = defaultdict(int)
        for start, first, second in found:
            gains[start] += second - first
        both, only_first = (sum(a and b == wanted for _, a, b in found) for wanted in (True, False))
        only_second = sum(b and not a for _, a, b in found)
        return cls(len(found), both, only_first, only_second, sign_flip([*gains.values()]))


def sign_flip(gains: Sequence[int]) -> float:
    """How likely gains of these sizes, one for each start, add up to as much in either direction where coins give the
    signs: the exact two-sided test of Fisher (1935). For gains of -1, 0 and 1 it is McNemar's exact test."""
    chances = {0: 1.0}
    for gain in filter(None, gains):
        flipped: dict[int, float] = defaultdict(float)
        for total, chance in chances.items():
            flipped[total + gain] += chance / 2
            flipped[total - gain] += chance / 2
        chances = flipped
    return min(1.0, sum(chance for total, chance in chances.items() if abs(total) >= abs(sum(gains))))


def compare_paired(first: Sequence[RolloutResult], second: Sequence[RolloutResult]) -> PairedComparison:
    """Compares the success of two evaluations seed by seed; ValueError when they share no seed."""
    won = {result.seed: result.success for result in first}
    pairs = [(result.seed, won[result.seed], result.success) for result in second if result.seed in won]
    if not pairs:
        raise ValueError("the two evaluations share no seed: run both with the same --seed_set and --num_rollouts")
    return PairedComparison.of(pairs)


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted so that any false difference is as unlikely as a single one was (Holm 1979)."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, largest = [1.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = largest
    return adjusted
