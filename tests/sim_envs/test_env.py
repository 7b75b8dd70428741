"""The environment accepts and refuses what it says, and renders only when images are due."""

from typing import Any

import gymnasium
import numpy as np
import pytest
from dm_control.rl import control

import sim_envs
from act import types
from sim_envs import env as env_module
from sim_envs import robot
from sim_envs.task import resting_pose


@pytest.fixture
def env():
    return sim_envs.make("transfer_cube", cameras=("cam_high", "cam_left_wrist"), image_size=(24, 32))


def test_both_worlds_agree_on_sides_sizes_and_time():
    assert types.SIDES == robot.SIDES
    assert types.ACTION_DIM == robot.ACTION_DIM
    assert types.CONTROL_TIMESTEP == env_module.CONTROL_TIMESTEP
    assert types.EnvSpec.__annotations__ == env_module.EnvSpec.__annotations__


@pytest.mark.parametrize("bad", [np.zeros(13), np.zeros((1, 14)), np.full(14, np.nan), np.array([np.inf] + [0] * 13)])
def test_a_bad_action_is_refused_and_the_state_is_untouched(env, bad):
    env.reset(seed=0)
    before = env.physics.get_state()
    with pytest.raises(ValueError, match=r"action|joint targets"):
        env.step(bad)
    np.testing.assert_array_equal(before, env.physics.get_state())


def test_targets_outside_the_limits_are_clipped_and_counted(env):
    obs, info = env.reset(seed=0)
    assert info["clipped"] == 0
    *_, info = env.step(obs["qpos"])
    assert info["clipped"] == 0
    action = obs["qpos"].copy()
    action[1] = 5.0
    *_, info = env.step(action)
    assert info["clipped"] == 1
    assert env.physics.data.ctrl.max() < 1.7  # the elbow's, not 5


def test_images_are_rendered_only_when_due(env, monkeypatch):
    rendered = []
    monkeypatch.setattr(type(env), "_render", lambda self, data, camera, image_size: rendered.append(camera))
    env.images_due = False
    obs, _ = env.reset(seed=0)
    assert "images" not in obs
    env.images_due = True
    obs = env.step(obs["qpos"])[0]
    assert list(obs["images"]) == rendered == ["cam_high", "cam_left_wrist"]


def test_images_show_the_scene_from_each_camera(env):
    obs, _ = env.reset(seed=0)
    for image in obs["images"].values():
        assert image.shape == (24, 32, 3)
        assert image.dtype == np.uint8
        assert image.std() > 10
    red = obs["images"]["cam_high"].astype(int)
    assert np.any((red[..., 0] > 120) & (red[..., 1] < 60)), "the red cube is in view"


def test_options_place_the_objects(env):
    pose = np.array([0.05, 0.45, 0.02, 2.0, 0, 0, 0])
    obs, _ = env.reset(seed=0, options={"env_state": pose})
    np.testing.assert_allclose(obs["env_state"], [0.05, 0.45, 0.02, 1, 0, 0, 0], atol=1e-6)


@pytest.mark.parametrize("bad", [np.zeros(6), np.full(7, np.nan), np.zeros(7)])
def test_impossible_object_poses_are_refused(env, bad):
    with pytest.raises(ValueError, match="env_state"):
        env.reset(seed=0, options={"env_state": bad})


def test_unknown_names_are_answered_with_the_choices():
    with pytest.raises(ValueError, match=r"unknown task 'nope'; available: .*transfer_cube"):
        sim_envs.make("nope")
    with pytest.raises(ValueError, match=r"unknown camera 'nope'; available: cam_high"):
        sim_envs.make("insertion", cameras=("nope",))
    with pytest.raises(ValueError, match=r"unknown quality 'nope'; available: fast, pretty"):
        sim_envs.make("insertion", quality="nope")
    with pytest.raises(ValueError, match=r"cameras 'top': give a tuple"):
        sim_envs.make("insertion", cameras="top")
    with pytest.raises(ValueError, match=r"image_size \(16, 40000\): height and width must be 1 to 4096"):
        sim_envs.make("insertion", image_size=(16, 40000))
    with pytest.raises(ValueError, match=r"unknown options \['envstate'\]; available: env_state"):
        sim_envs.make("insertion", cameras=()).reset(options={"envstate": []})


def test_physics_that_diverges_ends_the_episode_as_a_failure(env, monkeypatch):
    env.images_due = False
    obs, _ = env.reset(seed=0)

    def diverge(*_args):
        raise control.PhysicsError("bad acceleration")

    monkeypatch.setattr(env._control, "step", diverge)
    after, reward, terminated, _, info = env.step(obs["qpos"])
    assert (reward, terminated, info["diverged"], info["success"]) == (0.0, True, True, False)
    np.testing.assert_array_equal(after["qpos"], obs["qpos"])


@pytest.mark.parametrize("due", [True, False])
def test_after_a_divergence_the_observation_is_the_last_sound_state(monkeypatch, due: bool):
    env = sim_envs.make("transfer_cube", cameras=("top",), image_size=(24, 32))

    def diverge(*_args):
        env.physics.data.qpos[:] = 0  # as MuJoCo resets what has diverged
        raise control.PhysicsError("bad acceleration")

    obs, _ = env.reset(seed=0)
    monkeypatch.setattr(env._control, "step", diverge)
    env.images_due = due
    after = env.step(obs["qpos"])[0]
    assert np.array_equal(after["qpos"], obs["qpos"]) and ("images" in after) == due
    assert not due or np.array_equal(after["images"]["top"], obs["images"]["top"])


def test_a_step_before_the_first_reset_is_refused():
    with pytest.raises(gymnasium.error.ResetNeeded):
        sim_envs.make("transfer_cube", cameras=()).step(np.zeros(14))


def test_an_object_that_fell_off_the_table_ends_the_episode(env):
    env.images_due = False
    beside = resting_pose(0.75, 0.5, 0.02)  # the table ends at x = 0.61
    obs, _ = env.reset(seed=0, options={"env_state": beside})
    steps = [env.step(obs["qpos"]) for _ in range(10)]  # 0.2 s; falling 7 cm takes 0.12 s
    ends = [step[2:4] for step in steps]
    assert ends[0] == (False, False) and ends[-1] == (True, False)
    assert not steps[-1][4]["diverged"] and not steps[-1][4]["success"]
    for (terminated, _), step in zip(ends, steps, strict=True):
        assert terminated == bool(step[0]["env_state"][2] < -0.05)


def test_sound_episodes_are_truncated_never_terminated(env):
    env.images_due = False
    obs, _ = env.reset(seed=0)
    ends = [env.step(obs["qpos"])[2:4] for _ in range(env.env_spec.episode_len)]
    assert ends[-1] == (False, True)
    assert set(ends[:-1]) == {(False, False)}


def test_a_push_moves_the_object(env):
    env.images_due = False
    obs, _ = env.reset(seed=0)
    env.push("cube", np.array([0.3, 0.0, 0.0]))
    after = env.step(obs["qpos"])[0]
    assert after["env_state"][0] > obs["env_state"][0] + 1e-3


def test_a_start_is_known_without_a_reset() -> None:
    env: Any = sim_envs.make("insertion", cameras=())
    start = env.unwrapped.sample_start(7)
    np.testing.assert_allclose(env.reset(seed=7)[0]["env_state"], start, atol=1e-6)


def test_the_cameras_of_act_plus_plus_are_the_same_under_other_names():
    env = sim_envs.make("transfer_cube", cameras=("left_wrist", "cam_left_wrist", "right_wrist"), image_size=(24, 32))
    images = env.reset(seed=0)[0]["images"]
    assert np.array_equal(images["left_wrist"], images["cam_left_wrist"])
    assert not np.array_equal(images["left_wrist"], images["right_wrist"])
