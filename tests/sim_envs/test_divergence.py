"""A simulation whose numbers leave the observation space has diverged; wrong input is refused, the state untouched."""

from typing import Any

import numpy as np
import pytest

import sim_envs

HUGE = [1e300, 1e39, 101.0, -1e9]
BAD_ACTIONS: dict[str, Any] = {
    "complex": np.zeros(14, complex),
    "objects": np.array([0.0] * 14, object),
    "texts": np.array(["0"] * 14),
    "bools": np.zeros(14, bool),
    "dates": np.zeros(14, "datetime64[s]"),
    "None": None,
    "a dict": {"left": 1},
    "lists of different lengths": [[1.0, 2.0], [3.0]],
    "a wide float that overflows": np.full(14, np.longdouble("1e4000")),
}
BAD_OPTIONS: dict[str, Any] = {
    "a list": [1],
    "a text": "env_state",
    "a number": 3,
    "names of several types": {1: 2, "env_state": np.zeros(7), None: 3},
    "complex poses": {"env_state": np.ones(7, complex)},
    "poses as objects": {"env_state": np.array([0.1] * 7, object)},
    "poses as texts": {"env_state": "0 0 0 1 0 0 0"},
    "poses of different lengths": {"env_state": [[0.0, 1.0], [1.0]]},
    "a huge quaternion": {"env_state": [0, 0.5, 0.02, 1e300, 0, 0, 0]},
    **{f"an object {place} m away": {"env_state": [place, 0.5, 0.02, 1, 0, 0, 0]} for place in HUGE},
}


@pytest.fixture(scope="module")
def env():
    return sim_envs.make("transfer_cube", cameras=())


def state_of(env) -> list[np.ndarray]:
    return [env.physics.get_state(), env.physics.data.ctrl.copy(), np.array(env.physics.data.time)]


def test_violent_targets_within_limits_never_lead_out_of_the_observation_space(env):
    low, high, diverged = env.action_space.low, env.action_space.high, 0
    action = low
    for seed in (4, 5, 14, 24, 27, 29, 31):
        rng, (obs, _) = np.random.default_rng(seed), env.reset(seed=seed)
        for t in range(20):
            action = np.where(rng.random(14) < 0.5, low, high) if t % 3 == 0 else action
            before, (obs, reward, terminated, _, info) = obs, env.step(action)
            assert env.observation_space.contains(obs)
            if info["diverged"]:
                diverged += 1
                assert terminated and reward == 0 and not info["success"]
                assert all(np.array_equal(obs[name], before[name]) for name in before)
                assert np.array_equal(env.task.get_observation(env.physics)["qpos"], before["qpos"])
                break
    assert diverged >= 2


@pytest.mark.parametrize("name", ["qpos", "qvel", "env_state"])
@pytest.mark.parametrize("value", [1e4, 1e30, 1e300, np.nan, -np.inf])
def test_a_number_outside_the_space_is_a_divergence_that_no_stage_is_counted_of(env, monkeypatch, name: str, value):
    obs, _ = env.reset(seed=0)
    observe = type(env.task).get_observation

    def diverge(task, physics):
        with np.errstate(over="ignore"):
            found = observe(task, physics)
            found[name] = np.full(len(found[name]), value).astype(np.float32)
        task.best_stage = len(task.stage_names)  # as if the flying cube had touched everything
        return found

    monkeypatch.setattr(type(env.task), "get_observation", diverge)
    after, reward, terminated, _, info = env.step(obs["qpos"])
    assert (reward, terminated, info["diverged"], info["success"]) == (0.0, True, True, False)
    assert all(np.array_equal(after[key], obs[key]) for key in obs)


@pytest.mark.parametrize("kind", BAD_ACTIONS)
def test_an_action_of_another_type_is_refused_and_the_state_is_untouched(env, kind: str, recwarn):
    env.reset(seed=0)
    before = state_of(env)
    with pytest.raises(ValueError, match="action"):
        env.step(BAD_ACTIONS[kind])
    assert all(np.array_equal(one, other) for one, other in zip(before, state_of(env), strict=True))
    assert not recwarn.list


@pytest.mark.parametrize("kind", BAD_OPTIONS)
def test_options_that_are_none_are_refused_and_the_state_is_untouched(env, kind: str, recwarn):
    obs, _ = env.reset(seed=0)
    env.step(obs["qpos"])
    before, generator = state_of(env), env.np_random.bit_generator.state
    with pytest.raises(ValueError, match=r"options|env_state"):
        env.reset(seed=1, options=BAD_OPTIONS[kind])
    assert all(np.array_equal(one, other) for one, other in zip(before, state_of(env), strict=True))
    assert env.np_random.bit_generator.state == generator and not recwarn.list


@pytest.mark.parametrize("seed", [-1, 1.5, "0", [0], np.nan])
def test_a_seed_that_is_none_is_refused_and_the_state_is_untouched(env, seed: Any):
    env.reset(seed=0)
    before = state_of(env)
    with pytest.raises(ValueError, match="expected a whole number from 0 on"):
        env.reset(seed=seed)
    assert all(np.array_equal(one, other) for one, other in zip(before, state_of(env), strict=True))


def test_a_seed_of_numpy_is_the_same_as_one_of_python(env):
    one, other = (env.reset(seed=seed)[0] for seed in (3, np.int64(3)))
    assert np.array_equal(one["env_state"], other["env_state"])
