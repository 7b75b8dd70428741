"""When a simulated operator takes over and hands back, and the scores that decide it."""

import numpy as np
import pytest

from act.runtime.operators import DistanceToExpert, EnsembleDisagreement, SimulatedOperator
from act.types import Observation
from tests.act.runtime.test_dagger import seen
from tests.fakes.constant_policy import ConstantPolicy


class FirstJoint:
    """A score that a test sets: it is the policy's first action."""

    def needs_images(self) -> bool:
        return False

    def __call__(self, obs: Observation, intended: np.ndarray) -> float:
        return float(intended[0])


def test_the_simulated_operator_reacts_late_and_hands_back_when_it_is_safe():
    operator = SimulatedOperator(FirstJoint(), 1.0, 0.5, delay=2, calm=3)
    operator.reset(1)
    scores = [0.9, 1.1, 0.4, 1.1, 0.6, 0.6, 0.6, 0.7, 0.4, 0.4, 0.6, 0.4, 0.4, 0.4, 0.9]
    wants = [operator.wants_control(0, {}, np.array([score])) for score in scores]
    # The score of step 1 falls again; that of step 3 stays high, so the operator drives from step 5 on, and hands back
    # after three steps in a row below 0.5.
    assert wants == [False] * 5 + [True] * 8 + [False] * 2


def test_environments_are_watched_one_by_one():
    operator = SimulatedOperator(FirstJoint(), 1.0, 0.5, delay=0, calm=1)
    operator.reset(2)
    assert [operator.wants_control(i, {}, np.array([score])) for i, score in ((0, 0.0), (1, 2.0))] == [False, True]


def test_impossible_thresholds_are_refused():
    with pytest.raises(ValueError, match=r"hand_back 0\.2"):
        SimulatedOperator(DistanceToExpert(), 0.1, 0.2)


def test_distance_counts_an_opening_a_tenth():
    intended = np.zeros(14, np.float32)
    intended[[2, 6]] = 0.05, 0.8
    assert DistanceToExpert()(seen(), intended) == pytest.approx(0.08)


def test_policies_that_agree_have_no_disagreement_and_one_alone_is_refused():
    assert EnsembleDisagreement([ConstantPolicy(1.0), ConstantPolicy(1.0)])(seen(), np.zeros(14)) == 0.0
    assert EnsembleDisagreement([ConstantPolicy(0.0), ConstantPolicy(0.2)])(seen(), np.zeros(14)) == pytest.approx(
        0.1 * 14**0.5
    )
    with pytest.raises(ValueError, match="at least two"):
        EnsembleDisagreement([ConstantPolicy(1.0)])


def test_an_operator_needs_images_when_its_score_does():
    blind, looking = ConstantPolicy(0.0), ConstantPolicy(0.0)
    looking.needs_images = True  # type: ignore[misc]
    assert SimulatedOperator(EnsembleDisagreement([blind, looking]), 0.1, 0.1).needs_images()
    assert not SimulatedOperator(EnsembleDisagreement([blind, blind]), 0.1, 0.1).needs_images()
    assert not SimulatedOperator(DistanceToExpert(), 0.1, 0.1).needs_images()
