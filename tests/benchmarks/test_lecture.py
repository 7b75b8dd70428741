"""The figures of the lecture's page: an operator at two rates, and the distance from demonstrated states."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sim_envs
from act.recording.recorder import EpisodeRecorder
from act.runtime.agents import ReplayAgent
from act.runtime.envs import SerialEnvs
from act.runtime.rollout import rollout
from benchmarks import covariate_shift, operator_rate


@pytest.fixture(scope="module")
def env() -> Any:
    return sim_envs.make("transfer_cube", cameras=())


def driven(env: Any, hold: int, steps: int) -> tuple[np.ndarray, operator_rate.ScriptedOperator]:
    """The targets (steps, 14) of an operator's first control steps."""
    operator, (obs, _), targets = operator_rate.ScriptedOperator("transfer_cube", hold), env.reset(seed=3_200_000), []
    operator.reset(1)
    for _ in range(steps):
        targets.append(operator.select_action([obs])[0])
        obs = env.step(targets[-1])[0]
    return np.array(targets), operator


@pytest.mark.slow
def test_at_5_hz_the_followers_get_new_joints_every_tenth_control_step(env: Any):
    fast, slow = driven(env, 1, 31)[0], driven(env, 10, 31)[0]
    moves = np.abs(np.diff(slow[:, :6], axis=0)).max(1) > 0
    assert not moves[:9].any() and moves[[9, 19, 29]].all()
    assert (np.abs(np.diff(fast[1:, :6], axis=0)).max(1) > 0).all()
    np.testing.assert_array_equal(fast[0], slow[0])


def test_the_operator_reacts_to_what_was_there_0_2_s_ago(env: Any):
    _, operator = driven(env, 1, 12)
    assert len(operator._seen) == operator_rate.DELAY + 1 == 11
    shown: list[np.ndarray] = []
    operator._moved = lambda obs, leaders: shown.append(obs) or leaders  # type: ignore[method-assign]
    old = operator._seen[1][0]
    operator.select_action([env.reset(seed=0)[0]])
    assert shown[0] is old


@pytest.fixture(scope="module")
def recorded(env: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one episode in which the arms swing."""
    folder, envs = tmp_path_factory.mktemp("demos"), SerialEnvs([env])
    recorder = EpisodeRecorder(lambda _: folder / "episode_0.hdf5", envs.env_spec, keep=lambda _: True)
    list(rollout(envs, ReplayAgent(swing()), [recorder], seeds=[5]))
    return folder


def swing(size: float = 0.2) -> np.ndarray:
    targets = np.tile(np.array([0.0, -0.96, 1.16, 0.0, -0.3, 0.0, 0.1], np.float32), (1, 400, 2))
    targets[0, :, 0] += size * np.sin(0.05 * np.arange(400))
    return targets


@pytest.mark.slow
def test_demonstrated_states_have_distance_0_and_others_more_the_farther_they_are(env: Any, recorded: Path):
    demonstrated = covariate_shift.Demonstrated(recorded)
    found = {
        size: covariate_shift.followed("transfer_cube", ReplayAgent(swing(size)), demonstrated, 1, "swing")
        for size in (0.2, 0.5)
    }
    states = covariate_shift.States()
    list(rollout(SerialEnvs([env]), ReplayAgent(swing()), [states], seeds=[5]))
    assert np.abs(demonstrated.distance(np.array(states.episodes[0]))).max() < 1e-6
    assert 0 < found[0.2]["mean"] < found[0.5]["mean"]
    assert np.shape(found[0.2]["quartiles"]) == (3, 400) and found[0.2]["strict"] == 0


def test_a_folder_without_poses_of_objects_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="there are no episodes with poses of objects"):
        covariate_shift.Demonstrated(tmp_path)
