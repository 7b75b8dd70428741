"""How rows of a grid are counted: over training seeds, over settings, and which differences are real."""

import pytest

from act.evaluation.rates import wilson_interval
from benchmarks.grid.cells import Options
from benchmarks.grid.statistics import Mean, Rows, Tally, differences, paired
from tests.fakes.toy_grid import ACT, row


def test_rows_of_other_recipes_stay_out():
    assert not any(Rows([row(ACT, "44")], Options(steps=10)).settings(ACT, "state", "chunk").tallies)


def test_only_real_differences_are_called_real():
    won = {"a": 180, "b": 177, "c": 120}
    tallies = {name: Tally((row(ACT, "4" * n + "0" * (200 - n)),)) for name, n in won.items()}
    found = differences(tallies)
    assert not found["a", "b"].real
    assert found["a", "c"].real and found["a", "c"].points == pytest.approx(-30)


def test_rollouts_are_paired_within_a_training_seed_only():
    first, second = Tally((row(ACT, "4444"),)), Tally((row(ACT, "0000", seed=1),))
    assert paired(first.won, second.won) is None
    both = Tally((row(ACT, "4444"), row(ACT, "4400", seed=1)))
    test = paired(both.won, second.won)
    assert test is not None and (test.n, test.only_first) == (4, 2)


def test_training_seeds_that_win_the_same_starts_count_once():
    apart = {"a": "4" * 24 + "0" * 176, "b": "0" * 12 + "4" * 24 + "0" * 164}
    for seeds in (1, 3):
        tallies = {n: Tally(tuple(row(ACT, d, seed=s) for s in range(seeds))) for n, d in apart.items()}
        better = {**tallies, "c": Tally(tuple(row(ACT, "4" * 31 + "0" * 169, seed=s) for s in range(seeds)))}
        gaps = differences(better)
        assert gaps["c", "a"].p == pytest.approx(3 * 2 / 2**7), "7 starts, whatever the number of seeds"
        interval = tallies["a"].success
        assert (interval.low, interval.high) == pytest.approx(wilson_interval(24, 200))


def test_a_mean_needs_all_settings_and_counts_them_alike():
    cube = Tally((row(ACT, "4" * 100),))
    insertion = Tally((row(ACT, "0" * 10, "insertion"), row(ACT, "4" * 10, "insertion", seed=1)))
    assert Mean((cube, None)).success is None
    success = Mean((cube, insertion)).success  # training seed 0 and 10 rollouts is what both have
    assert success is not None and (success.rate, success.n) == (0.5, 20)
