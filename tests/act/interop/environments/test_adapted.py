"""Environments of other projects: their names, units and habits become ours, and what does not fit is one sentence."""

import sys
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.envs import registration

from act.interop.environments import opening
from act.interop.environments.adapted import AdaptedEnv, View
from act.interop.environments.opening import env_name, open_env
from act.runtime.envs import ParallelEnvs, SerialEnvs
from act.runtime.rollout import rollout
from act.types import ACTION_DIM, EnvSpec, Observation
from tests.fakes import foreign_envs as foreign
from tests.fakes.toy_env import ToyEnv

HERE = "tests.fakes.foreign_envs"


class GoalAgent:
    """Jumps with joint 0 to the goal that env_state tells, from control step `begin` on."""

    def __init__(self, begin: int = 0, images: bool = False):
        self.begin, self.images, self.t = begin, images, 0

    def reset(self, num_envs: int) -> None:
        self.t = 0

    def needs_images(self) -> bool:
        return self.images

    def select_action(self, observations: Any) -> np.ndarray:
        actions = np.zeros((len(observations), ACTION_DIM), np.float32)
        if self.t >= self.begin:
            actions[:, 0] = [obs["env_state"][0] for obs in observations]
        self.t += 1
        return actions


def adapted(env: gymnasium.Env, **kwargs: Any) -> AdaptedEnv:
    return AdaptedEnv(env, "far/Reach-v0", **kwargs)


def first_observation(env: gymnasium.Env) -> Observation:
    return env.reset(seed=0)[0]


# ------------------------------------------------------------------------------------------------------- observations
def test_names_of_other_projects_become_ours():
    obs = first_observation(adapted(foreign.AgentPosEnv()))
    assert {key: obs[key].dtype.name for key in ("qpos", "env_state")} == {"qpos": "float32", "env_state": "float32"}
    assert obs["qpos"].shape == (14,) and 2 < obs["env_state"][0] < 3
    assert obs["images"]["top"].shape == (24, 32, 3)


def test_an_environment_of_this_project_passes_unchanged():
    env, plain = adapted(ToyEnv(("top",))), ToyEnv(("top",))
    expected, found = first_observation(plain), first_observation(env)
    assert env.env_spec == EnvSpec("toy", ("half", "there"), 20, ("top",), (24, 32))
    assert expected.keys() == found.keys()
    assert all(np.array_equal(expected[key], found[key]) for key in ("qpos", "qvel", "env_state"))
    env.images_due = False
    assert "images" not in env.step(np.zeros(ACTION_DIM))[0], "the toy was asked to leave them out"


def test_what_render_returns_is_the_image_of_an_environment_without_images():
    env = adapted(foreign.WithoutPictures(render_mode="rgb_array"))
    assert list(first_observation(env)["images"]) == ["render"]
    env.images_due = False
    assert "images" not in first_observation(env)
    assert "images" not in first_observation(adapted(foreign.WithoutPictures()))


# ---------------------------------------------------------------------------------------------------------- episodes
def test_actions_are_not_clipped_to_an_action_space_that_is_not_true():
    env = adapted(foreign.AgentPosEnv())
    env.reset(seed=0)
    target = np.linspace(-3, 3, ACTION_DIM).astype(np.float32)
    assert np.array_equal(env.step(target)[0]["qpos"], target)


def test_is_success_counts_and_an_environment_without_a_limit_ends_after_400_control_steps():
    envs = SerialEnvs([adapted(foreign.AgentPosEnv())])
    (late,) = rollout(envs, GoalAgent(begin=398), seeds=[0])
    (never,) = rollout(envs, GoalAgent(begin=1000), seeds=[0])
    assert (late.length, late.success, late.strict_success) == (400, True, True)
    assert (never.length, never.success, never.strict_success) == (400, False, False)
    assert envs.env_spec.task_name == "far_Reach-v0"


def test_the_limit_of_a_registration_holds():
    gymnasium.register("far/Short-v0", entry_point=f"{HERE}:AgentPosEnv", max_episode_steps=7)
    try:
        (result,) = rollout(SerialEnvs([open_env("far/Short-v0")]), GoalAgent(), seeds=[0])
    finally:
        del gymnasium.registry["far/Short-v0"]
    assert result.length == 7 and result.success


@pytest.mark.slow
def test_workers_make_no_difference():
    with ParallelEnvs(partial(open_env, f"{HERE}:AgentPosEnv"), num_envs=2, num_workers=2) as envs:
        results = list(rollout(envs, GoalAgent(images=True), seeds=range(3)))
    assert results == list(rollout(SerialEnvs([open_env(f"{HERE}:AgentPosEnv")]), GoalAgent(), seeds=range(3)))


# ------------------------------------------------------------------------------------------------- what does not fit
@pytest.mark.parametrize(
    ("env", "view", "message"),
    [
        (foreign.Vector, View(), "observes ndarray, expected a dictionary with qpos"),
        (foreign.Unnamed, View(), "observes joints, but no joint positions: name them qpos or agent_pos"),
        (foreign.ChannelsFirst, View(), r"images of shape \(3, 24, 32\) and type uint8, expected \(height, width, 3\)"),
        (foreign.AgentPosEnv, View(("cam_high",)), "looks through camera 'cam_high', but far/Reach-v0 has top$"),
        (foreign.WithoutPictures, View(("top",)), "looks through camera 'top', but far/Reach-v0 has no images$"),
        (foreign.Wide, View(("top",), (480, 640)), "trained on images of 480x640 pixels, but camera 'top' .* 24x64"),
    ],
)
def test_what_does_not_fit_is_one_sentence_at_the_first_reset(env: Any, view: View, message: str):
    with pytest.raises(ValueError, match=message) as raised:
        first_observation(adapted(env(), view=view))
    assert "\n" not in str(raised.value)


def test_images_of_another_size_but_the_same_shape_fit():
    view = View(("top",), (480, 640))
    assert first_observation(adapted(foreign.AgentPosEnv(), view=view))["images"]["top"].shape == (24, 32, 3)


def test_another_rate_is_refused():
    with pytest.raises(ValueError, match=r"far/Reach-v0 runs at 30 Hz .* but policies answer 50 actions a second"):
        adapted(foreign.Slow())


def test_an_environment_that_never_says_whether_it_succeeded_is_no_failure():
    with pytest.raises(ValueError, match="never says whether an episode succeeded: put success"):
        list(rollout(SerialEnvs([adapted(foreign.Silent())]), GoalAgent(), seeds=[0]))


# ------------------------------------------------------------------------------------------------------------- names
def test_a_function_gets_the_cameras_and_the_size_that_it_has_parameters_for():
    env = open_env(f"{HERE}:make_viewed", ("top",), (48, 64))
    assert env.env.asked == (("top",), (48, 64))  # type: ignore[attr-defined]
    assert first_observation(env)["images"]["top"].shape == (48, 64, 3)


def test_a_module_of_the_current_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "a_robot_of_mine.py").write_text(f"from {HERE} import AgentPosEnv\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", ["/elsewhere", *sys.path])
    assert open_env("a_robot_of_mine:AgentPosEnv").env_spec.task_name == "a_robot_of_mine_AgentPosEnv"  # type: ignore


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "give MODULE:FUNCTION, or a Gymnasium id"),
        (":make", "give MODULE:FUNCTION, or a Gymnasium id"),
        ("my_robot.py:make", "give the module, not the file: my_robot:make"),
        ("no_such_robot:make", "there is no module no_such_robot: is there a no_such_robot.py in "),
        (f"{HERE}:make_more", "has no function make_more; it has "),
        (f"{HERE}:make_nothing", "returned NoneType, expected a gymnasium.Env"),
        ("no_such_package/Reach-v0", "the package that registers no_such_package/Reach-v0 must be installed"),
        ("Reach-v0", "--env Reach-v0: "),
    ],
)
def test_a_name_that_leads_nowhere_is_explained(name: str, message: str):
    with pytest.raises(ValueError, match=message):
        open_env(name)


def test_a_module_that_misses_another_one_keeps_its_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "robot_without_parts.py").write_text("import no_such_part\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="no_such_part"):
        open_env("robot_without_parts:make")


def test_names_become_names_of_folders():
    assert env_name("gym_aloha/AlohaInsertion-v0") == "gym_aloha_AlohaInsertion-v0"
    assert env_name("my_robots.left:make") == "my_robots.left_make"


# --------------------------------------------------------------------------------------------------- shipped adapters
@pytest.fixture
def gym_aloha(monkeypatch: pytest.MonkeyPatch):
    """The package's ids, without the package."""
    tasks = {"AlohaTransferCube-v0": "transfer_cube", "AlohaInsertion-v0": "insertion"}
    monkeypatch.setattr(registration, "registry", dict(gymnasium.registry))
    for name, task in tasks.items():
        gymnasium.register(f"gym_aloha/{name}", entry_point=f"{HERE}:GymAlohaEnv", kwargs={"task": task})
    monkeypatch.setitem(sys.modules, "gym_aloha", ModuleType("gym_aloha"))


def test_gym_aloha_is_described_like_the_task_here(gym_aloha: None):
    env = open_env("gym_aloha/AlohaInsertion-v0", ("top", "angle"), (24, 32))
    assert env.env_spec.objects == ("peg", "socket") and env.env_spec.max_reward == 4  # type: ignore[attr-defined]
    obs, _ = env.reset(seed=0)
    assert [obs[key].shape for key in ("qpos", "qvel", "env_state")] == [(14,), (14,), (14,)]
    assert {camera: image.shape for camera, image in obs["images"].items()} == {
        "top": (24, 32, 3),
        "angle": (24, 32, 3),
    }


def test_gym_aloha_renders_only_what_is_due_and_takes_radians(gym_aloha: None):
    env: Any = open_env("gym_aloha/AlohaTransferCube-v0")
    results = list(rollout(SerialEnvs([env]), GoalAgent(), seeds=[0]))
    assert env.physics.rendered == [] and results[0].length == 400 and not results[0].success
    env.reset(seed=0)
    obs, reward, terminated, _, info = env.step(np.full(ACTION_DIM, 4.0, np.float32))
    assert np.array_equal(obs["qpos"], np.full(14, 4)) and (reward, terminated) == (4, True)
    assert info["is_success"] and info["stage"] == 4


def test_objects_of_gym_aloha_can_be_placed(gym_aloha: None):
    env: Any = open_env("gym_aloha/AlohaTransferCube-v0", ("top",), (24, 32))
    pose = np.array([0.1, 0.5, 0.02, 1, 0, 0, 0])
    obs, _ = env.reset(seed=0, options={"env_state": pose})
    assert np.allclose(obs["env_state"], pose) and env.physics.rendered == ["top"], "rendered once, where it is placed"
    assert obs["env_state"][0] != env.reset(seed=0)[0]["env_state"][0]
    for options, message in (({"pose": pose}, "unknown options"), ({"env_state": pose[:3]}, r"shape \(3,\)")):
        with pytest.raises(ValueError, match=message):
            env.reset(seed=0, options=options)


def test_gym_aloha_refuses_cameras_and_ids_that_it_does_not_have(gym_aloha: None):
    with pytest.raises(ValueError, match="camera 'cam_high', but gym_aloha/AlohaInsertion-v0 has top, angle, front_cl"):
        open_env("gym_aloha/AlohaInsertion-v0", ("cam_high",))
    with pytest.raises(ValueError, match="choose one of gym_aloha/AlohaTransferCube-v0, gym_aloha/AlohaInsertion-v0"):
        open_env("gym_aloha/AlohaFold-v0")


def test_a_missing_package_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch):
    def missing(module: str) -> Any:
        raise ModuleNotFoundError(name=module)

    adapter = (
        opening.import_module("act.interop.environments.gym_aloha"),
        opening.import_module("act.interop.environments.aloha_sim"),
    )
    monkeypatch.setattr(opening, "import_module", missing)
    for module, name, command in zip(
        adapter,
        ("gym_aloha/AlohaInsertion-v0", "aloha_sim/HandOverPen"),
        ("pip install 'act-aloha", "clone github.com/google-deepmind/aloha_sim"),
        strict=True,
    ):
        with pytest.raises(ValueError, match=command):
            module.make(name, View())


@pytest.fixture
def aloha_sim(monkeypatch: pytest.MonkeyPatch):
    package = ModuleType("aloha_sim")
    monkeypatch.setitem(sys.modules, "aloha_sim", package)
    monkeypatch.setitem(sys.modules, "aloha_sim.task_suite", foreign)


def test_aloha_sim_speaks_in_our_units(aloha_sim: None):
    env = open_env("aloha_sim/HandOverPen", ("overhead_cam",), (480, 848))
    obs, _ = env.reset(seed=0)
    assert np.allclose(obs["qpos"][[6, 13]], 0), "closed"
    assert np.allclose(obs["qvel"][[5, 7, 12]], [5, 8, 13]) and np.allclose(obs["qvel"][6], 6 / 0.0292)
    assert obs["images"]["overhead_cam"].shape == (480, 848, 3)
    half = np.full(ACTION_DIM, 0.5, np.float32)
    obs, reward, terminated, truncated, _ = env.step(half)
    assert np.allclose(obs["qpos"], half) and (reward, terminated, truncated) == (0, False, False)
    *_, terminated, truncated, info = env.step(np.ones(ACTION_DIM, np.float32))
    assert (terminated, truncated, info["is_success"]) == (True, False, True)


def test_a_seed_of_aloha_sim_repeats_its_episode(aloha_sim: None):
    env = open_env("aloha_sim/DrawerOpen")
    first, other, again = (env.reset(seed=seed)[0]["qpos"] for seed in (1, 2, 1))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_the_time_limit_of_aloha_sim_is_no_success(aloha_sim: None, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("act.interop.environments.aloha_sim.EPISODE_LEN", 40)
    (result,) = rollout(SerialEnvs([open_env("aloha_sim/DrawerOpen")]), HoldHome(), seeds=[0])
    assert (result.length, result.success, result.stages) == (40, False, [None])


class HoldHome(GoalAgent):
    def select_action(self, observations: Any) -> np.ndarray:
        return np.zeros((len(observations), ACTION_DIM), np.float32)


def test_aloha_sim_refuses_cameras_and_tasks_that_it_does_not_have(aloha_sim: None):
    with pytest.raises(ValueError, match="camera 'top', but aloha_sim/HandOverPen has overhead_cam, worms_eye_cam"):
        open_env("aloha_sim/HandOverPen", ("top",))
    with pytest.raises(ValueError, match="choose one of aloha_sim/HandOverPen, aloha_sim/DrawerOpen"):
        open_env("aloha_sim/Juggle")
