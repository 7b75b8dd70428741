"""What alarms an operator, and when he takes over and hands back."""

import numpy as np
import pytest

from act.runtime.operators import EnsembleDisagreement, SimulatedOperator, distance_to_expert
from tests.act.runtime.test_dagger import Constant, seen


def test_the_simulated_operator_reacts_late_and_hands_back_when_it_is_safe():
    operator = SimulatedOperator(lambda obs, intended: float(intended[0]), 1.0, 0.5, delay=2, calm=3)
    operator.reset(1)
    danger = [0.9, 1.1, 0.4, 1.1, 0.6, 0.6, 0.6, 0.7, 0.4, 0.4, 0.6, 0.4, 0.4, 0.4, 0.9]
    wants = [operator.wants_control(0, {}, np.array([value])) for value in danger]
    # the alarm at step 1 passes; that of step 3 lasts: he acts at 5, and hands back after three calm steps in a row
    assert wants == [False] * 5 + [True] * 8 + [False] * 2


def test_environments_are_watched_one_by_one():
    operator = SimulatedOperator(lambda obs, intended: float(intended[0]), 1.0, 0.5, delay=0, calm=1)
    operator.reset(2)
    assert [operator.wants_control(i, {}, np.array([value])) for i, value in ((0, 0.0), (1, 2.0))] == [False, True]


def test_impossible_thresholds_are_refused():
    with pytest.raises(ValueError, match=r"hand_back 0\.2"):
        SimulatedOperator(distance_to_expert, 0.1, 0.2)


def test_distance_counts_an_opening_a_tenth():
    intended = np.zeros(14, np.float32)
    intended[[2, 6]] = 0.05, 0.8
    assert distance_to_expert(seen(), intended) == pytest.approx(0.08)


def test_policies_that_agree_do_not_doubt_and_one_alone_cannot():
    assert EnsembleDisagreement([Constant(1.0), Constant(1.0)])(seen(), np.zeros(14)) == 0.0
    assert EnsembleDisagreement([Constant(0.0), Constant(0.2)])(seen(), np.zeros(14)) == pytest.approx(0.1 * 14**0.5)
    blind, looking = Constant(0.0), Constant(0.0)
    looking.needs_images = True
    assert SimulatedOperator(EnsembleDisagreement([blind, looking]), 0.1, 0.1).needs_images()
    assert not SimulatedOperator(EnsembleDisagreement([blind, blind]), 0.1, 0.1).needs_images()
    with pytest.raises(ValueError, match="at least two"):
        EnsembleDisagreement([Constant(1.0)])
