"""Statistics of a grid: success over training seeds, means over settings, paired tests."""

import pytest

from act.evaluation.rates import wilson_interval
from benchmarks.grid.cells import Options
from benchmarks.grid.statistics import Counts, Rows, best, mean, paired
from tests.fakes.toy_grid import ACT, row


def test_rows_of_other_recipes_stay_out():
    assert not any(Rows([row(ACT, "44")], Options(steps=10)).settings(ACT, "state", "chunk"))


def test_only_differences_beyond_chance_are_significant():
    won = {"a": 180, "b": 177, "c": 120}
    counts = {name: Counts((row(ACT, "4" * n + "0" * (200 - n)),)) for name, n in won.items()}
    assert best(counts) == {"a", "b"}
    assert best({"a": counts["a"], "c": counts["c"]}) == {"a"}


def test_rollouts_are_paired_within_a_training_seed_only():
    first, second = Counts((row(ACT, "4444"),)), Counts((row(ACT, "0000", seed=1),))
    assert paired(first, second) is None
    both = Counts((row(ACT, "4444"), row(ACT, "4400", seed=1)))
    test = paired(both, second)
    assert test is not None and (test.n, test.only_first) == (4, 2)


def test_training_seeds_that_win_the_same_starts_count_once():
    apart = {"a": "4" * 24 + "0" * 176, "b": "0" * 12 + "4" * 24 + "0" * 164}
    for seeds in (1, 3):
        counts = {n: Counts(tuple(row(ACT, d, seed=s) for s in range(seeds))) for n, d in apart.items()}
        better = {**counts, "c": Counts(tuple(row(ACT, "4" * 31 + "0" * 169, seed=s) for s in range(seeds)))}
        test = paired(better["c"], better["a"])
        assert test and test.p_value == pytest.approx(2 / 2**7), "7 starts, whatever the number of seeds"
        interval = counts["a"].rate()
        assert (interval.low, interval.high) == pytest.approx(wilson_interval(24, 200))


def test_a_mean_needs_all_settings_and_counts_them_alike():
    cube = Counts((row(ACT, "4" * 100),))
    insertion = Counts((row(ACT, "0" * 10, "insertion"), row(ACT, "4" * 10, "insertion", seed=1)))
    assert mean([cube, None]) is None
    both = mean([cube, insertion])  # training seed 0 and 10 rollouts are what both have
    assert both is not None and (both.rate().rate, both.rate().n) == (0.5, 20)


def test_a_method_that_is_better_on_shared_rollouts_is_not_called_worse():
    pooled = Counts((row(ACT, "4" * 100 + "0" * 100), row(ACT, "4" * 200, seed=1)))
    better, worse = Counts((row(ACT, "4" * 140 + "0" * 60),)), Counts((row(ACT, "4" * 40 + "0" * 160),))
    assert best({"pooled": pooled, "better": better, "worse": worse}) == {"pooled", "better"}


def test_a_method_that_was_never_compared_with_the_best_is_not_called_as_good():
    first, other = Counts((row(ACT, "4" * 200),)), Counts((row(ACT, "0" * 200, seed=1),))
    assert best({"first": first, "other": other}) == {"first"}
