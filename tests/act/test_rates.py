"""Success rates: intervals, paired tests, corrections."""

import pytest

from act.rates import Rate, compare_paired, holm, wilson_interval
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


def test_comparing_different_seeds_is_refused():
    with pytest.raises(ValueError, match="share no seed"):
        compare_paired([result(1, True)], [result(2, True)])


def test_holms_correction_is_that_of_a_worked_example():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
