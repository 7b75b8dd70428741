"""Success rates: intervals, paired tests, corrections."""

import random
from itertools import product

import pytest

from act.evaluation.rates import PairedComparison, Rate, compare_paired, design_effect, holm, sign_flip, wilson_interval
from act.types import RolloutResult


def result(seed: int, success: bool) -> RolloutResult:
    return RolloutResult(seed, 10, 2.0 if success else 1.0, 5.0, success, success, [1, 2 if success else None])


def test_the_wilson_interval_equals_published_values():
    assert wilson_interval(43, 50) == pytest.approx((0.7381, 0.9305), abs=1e-4)
    assert wilson_interval(0, 20) == pytest.approx((0, 0.1611), abs=1e-4)
    assert wilson_interval(20, 20) == pytest.approx((0.8389, 1), abs=1e-4)
    assert wilson_interval(0, 0) == (0, 1)


def test_an_impossible_count_is_refused():
    with pytest.raises(ValueError, match="5 successes of 3"):
        wilson_interval(5, 3)


def test_rates_read_as_a_sentence():
    assert str(Rate.of("success", [True] * 43 + [False] * 7)) == "86.0 % (73.8-93.0, 43 of 50)"


def test_the_paired_test_is_mcnemars():
    first = [result(seed, seed < 9) for seed in range(20)]
    second = [result(seed, seed < 8 or seed > 15) for seed in range(25)]
    paired = compare_paired(first, second)
    assert (paired.n, paired.both, paired.only_first, paired.only_second) == (20, 8, 1, 4)
    assert paired.p_value == pytest.approx(2 * (1 + 5) / 32)
    assert compare_paired(first, first).p_value == 1.0


def test_the_sign_flip_test_is_that_of_all_signs_tried_one_by_one():
    gains = [2, -1, 0, 3, 1, 1, -2]
    sums = [abs(sum(s * g for s, g in zip(signs, gains, strict=True))) for signs in product((1, -1), repeat=7)]
    assert sign_flip(gains) == pytest.approx(sum(total >= abs(sum(gains)) for total in sums) / 2**7)
    assert sign_flip([]) == sign_flip([0, 0]) == 1.0
    assert sign_flip([1, 1, 1, 1, -1]) == pytest.approx(2 * (1 + 5) / 32), "McNemar's"


def test_rollouts_that_begin_alike_count_as_one_start_where_they_end_alike():
    """Three trainings that win and lose the same starts say no more of them than one of them does."""
    one = [(start, start % 4 == 0, start % 4 < 2) for start in range(40)]
    alone, thrice = PairedComparison.of(one), PairedComparison.of(one * 3)
    assert (thrice.n, thrice.only_second) == (120, 30) and thrice.p_value == pytest.approx(alone.p_value)
    starts = [start for start, *_ in one]
    single = Rate.of("", [won for _, won, _ in one])
    repeated = Rate.of("", [won for _, won, _ in one * 3], starts * 3)
    assert (repeated.n, repeated.rate) == (120, single.rate)
    assert (repeated.low, repeated.high) == pytest.approx((single.low, single.high))
    always = Rate.of("", [True] * 600, [*range(200)] * 3)
    assert (always.low, always.high) == pytest.approx(wilson_interval(200, 200))


def test_rollouts_that_begin_alike_and_end_as_chance_has_it_count_in_full():
    rng = random.Random(0)
    outcomes = [rng.random() < 0.4 for _ in range(600)]
    alike, apart = Rate.of("", outcomes, [*range(200)] * 3), Rate.of("", outcomes)
    assert 1 <= design_effect([outcomes[i::200] for i in range(200)]) < 1.2
    assert alike.high - alike.low < 1.1 * (apart.high - apart.low)


def test_comparing_different_seeds_is_refused():
    with pytest.raises(ValueError, match="share no seed"):
        compare_paired([result(1, True)], [result(2, True)])


def test_holms_correction_is_that_of_a_worked_example():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
