"""Statistics of success rates: Wilson's interval, paired tests on shared starts, Holm's correction.

A start is an initial state: the positions of the objects that a seed gives. Policies of several training seeds are
evaluated on the same starts, and their rollouts of one start often end alike. Such rollouts carry less information than
rollouts of different starts, so intervals and tests count starts, not rollouts.
"""

import math
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

from act.types import RolloutResult

PRELIMINARY_BELOW = 200  # rollouts; results of fewer are called preliminary wherever they are shown


def wilson_interval(
    successes: int, n: int, confidence: float = 0.95, design_effect: float = 1.0
) -> tuple[float, float]:
    """Wilson's score interval of a rate (Wilson 1927), both ends in [0, 1]; (0, 1) when n is 0.

    With a `design_effect`, it is the interval of n / design_effect rollouts.
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
    """How many rollouts of shared starts carry as much information as one rollout of a start of its own (Kish 1965).

    groups: the outcomes of the rollouts, a group per start. The effect is 1 when rollouts of one start differ as much
    as rollouts of different starts, and the mean size of a group when they all end alike, or when nothing varies.
    """
    sizes, totals = [len(group) for group in groups], [sum(group) for group in groups]
    n, count = sum(sizes), len(groups)
    rate, most = sum(totals) / n, n / count
    chance = n * rate * (1 - rate)  # variance of the sum if all rollouts were independent
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
        """The rate of `outcomes`. starts: the start of each rollout, if several rollouts may share one."""
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
    """Two agents on the same starts: in how many rollouts both succeeded, or only one; `sign_flip` gives `p_value`."""

    n: int
    both: int
    only_first: int
    only_second: int
    p_value: float

    @classmethod
    def of(cls, pairs: Iterable[tuple[Hashable, bool, bool]]) -> "PairedComparison":
        """The comparison of pairs of rollouts: (start, success of the first, success of the second).

        Several pairs may share a start.
        """
        found = [(start, bool(first), bool(second)) for start, first, second in pairs]
        gains: dict[Hashable, int] = defaultdict(int)
        for start, first, second in found:
            gains[start] += second - first
        both, only_first = (sum(a and b == wanted for _, a, b in found) for wanted in (True, False))
        only_second = sum(b and not a for _, a, b in found)
        return cls(len(found), both, only_first, only_second, sign_flip([*gains.values()]))


def sign_flip(gains: Sequence[int]) -> float:
    """The p-value of the exact two-sided sign-flip test (Fisher 1935).

    gains: the difference between two agents at each start. The p-value is the probability that their sum is at least
    as far from 0 as observed, when each gain has either sign with probability 1/2. For gains of -1, 0 and 1 this is
    McNemar's exact test.
    """
    chances = {0: 1.0}
    for gain in filter(None, gains):
        flipped: dict[int, float] = defaultdict(float)
        for total, chance in chances.items():
            flipped[total + gain] += chance / 2
            flipped[total - gain] += chance / 2
        chances = flipped
    return min(1.0, sum(chance for total, chance in chances.items() if abs(total) >= abs(sum(gains))))


def compare_paired(first: Sequence[RolloutResult], second: Sequence[RolloutResult]) -> PairedComparison:
    """Compares the success of two evaluations seed by seed. Raises ValueError when they share no seed."""
    won = {result.seed: result.success for result in first}
    pairs = [(result.seed, won[result.seed], result.success) for result in second if result.seed in won]
    if not pairs:
        raise ValueError("the two evaluations share no seed: run both with the same --seed_set and --num_rollouts")
    return PairedComparison.of(pairs)


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for the number of tests by the method of Holm (1979), in the same order."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, largest = [1.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = largest
    return adjusted
