"""What enters a policy and what leaves it is finite and of the right size, or one sentence says what is wrong."""

from typing import Any

import gymnasium
import numpy as np
import pytest

from act import command_line
from act.runtime.agents import PolicyAgent, RandomAgent, TemporalEnsemble
from act.runtime.checks import check_fits, check_readings, checked_chunks, wrong_reading
from act.runtime.envs import Envs, ParallelEnvs, SerialEnvs
from act.runtime.operators import DistanceToExpert, EnsembleDisagreement
from act.runtime.rollout import rollout
from act.types import Observation, PolicySpec
from tests.fakes.constant_policy import ConstantPolicy
from tests.fakes.toy_env import ToyEnv


def spoiled(value: float) -> np.ndarray:
    chunks = np.zeros((2, 3, 14), np.float32)
    chunks[1, 2, 5] = value
    return chunks


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (spoiled(np.nan), "answered nan for joint 5 in action 2 of chunk 1; actions must be finite"),
        (spoiled(-np.inf), "answered -inf for joint 5"),
        (np.full((2, 3, 14), 1e300), r"answered 1e\+300 for joint 0"),
        (np.zeros((2, 3, 7)), r"shape \(2, 3, 7\), expected \(2, 3, 14\)"),
        (np.zeros((2, 4, 14)), r"shape \(2, 4, 14\), expected \(2, 3, 14\)"),
        (np.zeros((3, 14)), r"shape \(3, 14\), expected \(2, 3, 14\)"),
        (np.zeros(()), r"shape \(\), expected"),
        (None, "values of type object"),
        (np.zeros((2, 3, 14), complex), "values of type complex128"),
        ([[[0.0] * 14] * 3, [[0.0] * 14] * 2], "lists of different lengths"),
    ],
)
def test_an_answer_that_is_no_finite_chunk_is_refused(answer: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^the policy answered .*{message.removeprefix('answered ')}"):
        checked_chunks(answer, 2, 3, 14)


def test_a_sound_answer_is_returned_bit_for_bit_and_any_width_is_right_where_nobody_knows_it() -> None:
    chunks = np.random.default_rng(0).normal(size=(2, 3, 5)).astype(np.float32)
    assert checked_chunks(chunks, 2, 3, None) is chunks and checked_chunks(chunks, 2, 3, 5) is chunks


def test_a_chunk_that_is_not_finite_never_enters_an_ensemble() -> None:
    ensemble = TemporalEnsemble(0.01, 3)
    ensemble.add(0, np.zeros((2, 3, 14)))
    for wrong in (spoiled(np.nan), np.zeros((1, 3, 14)), np.zeros((2, 3, 7))):
        with pytest.raises(ValueError, match="the policy answered"):
            ensemble.add(1, wrong)
    np.testing.assert_array_equal(ensemble.action(2), np.zeros((2, 14)))


@pytest.mark.parametrize(
    ("obs", "wrong"),
    [
        ({"qpos": np.array([0, 0, np.nan])}, "qpos[2] is nan"),
        ({"qpos": np.zeros(3), "env_state": np.array([np.inf])}, "env_state[0] is inf"),
        ({"qpos": np.zeros((1, 3))}, "qpos is an array of shape (1, 3) and type float64"),
        ({"qpos": np.array(["a"])}, "qpos is an array of shape (1,) and type <U1"),
        ({}, "qpos has 0 numbers"),
        ({"qpos": np.zeros(3), "qvel": np.full(3, np.nan)}, ""),  # no policy is given velocities
        ({"qpos": [0, 1]}, ""),
        ({"qpos": np.zeros(3), "env_state": np.zeros(0)}, ""),  # a scene without objects
    ],
)
def test_a_reading_that_no_policy_must_get_is_named(obs: Observation, wrong: str) -> None:
    assert wrong_reading(obs) == wrong


def test_a_reading_of_another_size_than_before_is_wrong() -> None:
    before = {"qpos": np.zeros(3), "env_state": np.zeros(7)}
    assert wrong_reading({**before, "qpos": np.zeros(2)}, before) == "qpos has 2 numbers, not 3 as before"
    assert wrong_reading({"qpos": np.zeros(3)}, before) == "env_state has 0 numbers, not 7 as before"
    assert wrong_reading(before, before) == ""
    with pytest.raises(ValueError, match=r"environment 1 gives a reading that no policy gets: qpos\[0\] is nan"):
        check_readings([before, {"qpos": np.full(3, np.nan)}])


def test_a_policy_that_does_not_fit_is_refused_in_one_sentence() -> None:
    obs = {"qpos": np.zeros(14), "env_state": np.zeros(7), "images": {"top": np.zeros((2, 2, 3), np.uint8)}}
    check_fits(PolicySpec(("top",), env_state_dim=7), obs, 14, "toy")
    check_fits(PolicySpec(), {"qpos": np.zeros(14)}, None, "toy")
    for spec, message in (
        (PolicySpec(qpos_dim=7), "sees qpos of 7 numbers, but toy has 14"),
        (PolicySpec(action_dim=16), "answers actions of 16 numbers, but toy has 14"),
        (PolicySpec(env_state_dim=14), "sees an env_state of 14 numbers, but toy has 7"),
        (PolicySpec(("left_wrist",)), "needs camera 'left_wrist', but toy has top"),
    ):
        with pytest.raises(ValueError, match=f"^the policy {message}$"):
            check_fits(spec, obs, 14, "toy")


# -------------------------------------------------------------------------------------------------------- in a rollout
class Narrow(ConstantPolicy):
    """A policy of one arm of seven joints."""

    spec = PolicySpec(qpos_dim=7, action_dim=7)

    def predict_chunk(self, histories: Any) -> np.ndarray:
        return super().predict_chunk(histories)[:, :, :7]


class OneArm(ToyEnv):
    """The toy with seven joints."""

    def __init__(self) -> None:
        super().__init__()
        self.action_space = gymnasium.spaces.Box(-3, 3, (7,), np.float32)

    def _observation(self) -> Observation:
        obs = super()._observation()
        return {**obs, "qpos": obs["qpos"][:7], "qvel": obs["qvel"][:7]}


class BrokenSensor(ToyEnv):
    """Its third joint cannot be read at t = 3."""

    def _observation(self) -> Observation:
        obs = super()._observation()
        obs["qpos"][2] = np.nan if self.t == 3 else 0
        return obs


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("ensemble_m", [None, 0.01])
def test_a_rollout_of_a_policy_that_answers_nonsense_ends_in_one_sentence_and_code_2(
    value: float, ensemble_m: float | None, capsys: pytest.CaptureFixture[str]
) -> None:
    envs, agent = SerialEnvs([ToyEnv(), ToyEnv()]), PolicyAgent(ConstantPolicy(value), ensemble_m=ensemble_m)
    assert command_line.run("eval", lambda: len(list(rollout(envs, agent, seeds=[0, 1])))) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"eval: the policy answered {value} for joint 0 in action 0 of chunk 0; ")
    assert said.count("\n") == 1


def test_a_policy_is_never_given_a_reading_that_is_not_finite() -> None:
    policy = ConstantPolicy(0.0)
    with pytest.raises(ValueError, match=r"environment 0 gives a reading that no policy gets: qpos\[2\] is nan"):
        list(rollout(SerialEnvs([BrokenSensor()]), PolicyAgent(policy, n_action_steps=1), seeds=[0]))
    assert policy.asked == 3


def test_a_policy_of_seven_joints_is_executed_in_an_environment_of_seven_joints() -> None:
    (result,) = rollout(SerialEnvs([OneArm()]), PolicyAgent(Narrow(0.5), ensemble_m=0.01), seeds=[0])
    assert result.length == 20
    (result,) = rollout(SerialEnvs([OneArm()]), RandomAgent(-1.0, 1.0), seeds=[0])
    assert result.length == 20


@pytest.mark.parametrize("parallel", [False, True])
def test_a_policy_of_seven_joints_is_refused_by_a_robot_of_fourteen_before_the_first_step(parallel: bool) -> None:
    policy = Narrow(0.5)
    envs: Envs = ParallelEnvs(ToyEnv, 2, 1) if parallel else SerialEnvs([ToyEnv(), ToyEnv()])
    assert envs.action_dim == 14  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match=r"^the policy sees qpos of 7 numbers, but toy has 14$"):
        list(rollout(envs, PolicyAgent(policy), seeds=[0, 1]))
    assert policy.asked == 0
    envs.close()


def test_an_agent_that_does_not_answer_one_action_per_environment_is_refused() -> None:
    class Short(RandomAgent):
        def select_action(self, observations: Any) -> np.ndarray:
            return super().select_action(observations[:1])

    with pytest.raises(ValueError, match=r"the agent answered actions of shape \(1, 14\), expected \(2, A\)"):
        list(rollout(SerialEnvs([ToyEnv(), ToyEnv()]), Short(-1.0, 1.0), seeds=[0, 1]))


def test_random_actions_are_as_wide_as_their_bounds_or_as_qpos() -> None:
    obs = [{"qpos": np.zeros(7)}] * 2
    assert RandomAgent(-1.0, 1.0).select_action(obs).shape == (2, 7)
    assert RandomAgent(np.zeros(16), 1.0).select_action(obs).shape == (2, 16)


# ----------------------------------------------------------------------------------------------------------- operators
def test_scores_have_the_width_of_the_robot_and_disagreement_is_never_nan() -> None:
    obs = {"qpos": np.zeros(7), "expert_action": np.zeros(7)}
    assert DistanceToExpert()(obs, np.array([0, 0, 0, 0, 0, 0, 1.0])) == pytest.approx(0.1)
    assert DistanceToExpert()(obs, np.array([0, 0, 1.0, 0, 0, 0, 0])) == 1
    assert EnsembleDisagreement([Narrow(0.0), Narrow(1.0)])(obs, np.zeros(7)) == pytest.approx(0.5 * np.sqrt(7))
    with pytest.raises(ValueError, match="answered nan for joint 0 in action 0"):
        EnsembleDisagreement([Narrow(0.0), Narrow(np.nan)])(obs, np.zeros(7))
