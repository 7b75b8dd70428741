"""Every file in sim_envs/tasks fulfils the contract of a task; a new task is tested as soon as it exists."""

import warnings

import gymnasium
import mujoco
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import sim_envs
from sim_envs.robot import FINGERS

TASKS = sim_envs.available()
REACH = np.array([[-0.35, 0.35], [0.25, 0.75]])  # x, y both arms together can work in [m]


@pytest.fixture(params=TASKS)
def env(request):
    env = sim_envs.make(request.param, cameras=())
    yield env
    env.close()


def test_gymnasium_finds_nothing_wrong(env):
    made = gymnasium.make(sim_envs.gymnasium_id(env.env_spec.task_name), cameras=())
    with warnings.catch_warnings():
        # The robot takes absolute joint targets, so the action space is not normalized.
        warnings.filterwarnings("ignore", message=".*symmetric and normalized.*")
        check_env(made.unwrapped)
    made.close()


def test_every_task_is_registered_with_gymnasium(env):
    made = gymnasium.make(sim_envs.gymnasium_id(env.env_spec.task_name), cameras=())
    obs, _ = made.reset(seed=3)
    assert made.observation_space.contains(obs)
    made.close()


def test_same_seed_and_actions_give_the_same_episode_to_the_last_bit(env):
    actions = env.action_space.low + (env.action_space.high - env.action_space.low) * 0.5
    actions = actions + 0.3 * np.random.default_rng(0).uniform(-1, 1, (30, 14))

    def episode():
        first, _ = env.reset(seed=11)
        return [first] + [env.step(action)[0] for action in actions]

    for one, other in zip(episode(), episode(), strict=True):
        for key in one:
            np.testing.assert_array_equal(one[key], other[key])


def test_observations_share_no_memory(env):
    first, _ = env.reset(seed=0)
    second = env.step(first["qpos"])[0]
    assert not any(np.shares_memory(first[key], second[key]) for key in first)


def test_objects_start_within_reach_and_at_rest(env):
    starts = []
    for seed in range(30):
        obs, _ = env.reset(seed=seed)
        poses = obs["env_state"].reshape(-1, 7)
        assert np.all((poses[:, :2] > REACH[:, 0]) & (poses[:, :2] < REACH[:, 1]))
        starts.append(obs["env_state"])
        after = obs
        for _ in range(10):
            after = env.step(np.clip(obs["qpos"], env.action_space.low, env.action_space.high))[0]
        assert np.abs(after["env_state"] - obs["env_state"]).max() < 2e-3  # [m]
    assert np.std(starts, axis=0).max() > 0.02, "the start must be random"


@pytest.mark.parametrize(
    ("name", "least", "greatest"),
    [
        ("transfer_cube", [(0.0, 0.4)], [(0.2, 0.6)]),
        ("insertion", [(0.1, 0.4), (-0.2, 0.4)], [(0.2, 0.6), (-0.1, 0.6)]),  # peg, socket
    ],
)
def test_objects_of_the_paper_start_anywhere_in_the_originals_regions(name, least, greatest):
    rng = np.random.default_rng(0)
    task = sim_envs.load(name)(rng)
    starts = np.stack([task.sample_objects(rng).reshape(-1, 7)[:, :2] for _ in range(1000)])
    np.testing.assert_allclose(starts.min(0), least, atol=2e-3)  # [m]
    np.testing.assert_allclose(starts.max(0), greatest, atol=2e-3)


def test_home_has_no_collisions_except_closed_fingers(env):
    env.reset(seed=0)
    contacts = env.physics.data.contact
    names = [{env.physics.model.id2name(g, "geom") for g in pair} for pair in contacts.geom]
    fingers = [set(FINGERS[side]) for side in FINGERS]
    arms = [pair for pair in names if any(name.startswith(("left/", "right/")) for name in pair)]
    assert all(pair in fingers for pair in arms)


def test_every_part_of_the_model_has_a_name(env):
    model = env.physics.model
    for kind, count in (("body", model.nbody), ("joint", model.njnt), ("geom", model.ngeom), ("actuator", model.nu)):
        assert all(model.id2name(i, kind) for i in range(count)), kind


def test_random_motion_within_limits_raises_no_warning_in_mujoco(env):
    env.reset(seed=0)
    for target in np.random.default_rng(0).uniform(env.action_space.low, env.action_space.high, (5, 14)):
        for _ in range(20):
            obs = env.step(target)[0]
            for key, space in env.observation_space.spaces.items():
                assert space.contains(obs[key]), (key, obs[key])
    assert all(warning.number == 0 for warning in env.physics.data.warning), mujoco.mjtWarning
