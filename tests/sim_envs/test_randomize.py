"""Randomization follows from the seed, changes what it names and nothing else, and is off unless it is asked for."""

from dataclasses import replace
from typing import get_args, get_type_hints

import mujoco
import numpy as np
import pytest

import sim_envs
from act.data.episodes import read_episode
from act.recording.attempts import Recording
from act.recording.recorder import EpisodeRecorder, keep_all
from act.runtime.agents import ReplayAgent
from act.runtime.envs import SerialEnvs
from act.runtime.rollout import rollout
from sim_envs.random_scenes import SceneSampler
from sim_envs.randomize import KINDS, LATENCY, MASS, Randomizer

VIEW = {"cameras": ("cam_high",), "image_size": (48, 64)}
SLIDER = ("bag", "slider")


@pytest.fixture(scope="module")
def plain():
    return sim_envs.make("slide_ziploc", **VIEW).reset(seed=3)[0]


def model() -> mujoco.MjModel:
    return mujoco.MjModel.from_xml_path(str(sim_envs.load("slide_ziploc").scene))


@pytest.mark.parametrize("kind", ["textures", "light", "camera"])
def test_looks_change_the_image_and_leave_the_physics_alone(plain, kind):
    env = sim_envs.make("slide_ziploc", **VIEW, randomize=(kind,))
    obs, info = env.reset(seed=3)
    np.testing.assert_array_equal(obs["env_state"], plain["env_state"])
    assert np.abs(obs["images"]["cam_high"].astype(int) - plain["images"]["cam_high"]).mean() > 1
    assert set(info["randomization"]) == {kind}


def test_a_randomized_environment_leaves_the_images_of_others_as_they_were(plain):
    sim_envs.make("slide_ziploc", **VIEW, randomize=("textures", "light")).reset(seed=5)
    obs, info = sim_envs.make("slide_ziploc", **VIEW).reset(seed=3)
    np.testing.assert_array_equal(obs["images"]["cam_high"], plain["images"]["cam_high"])
    assert "randomization" not in info


def test_everything_follows_from_the_seed():
    env = sim_envs.make("slide_ziploc", **VIEW, randomize=tuple(KINDS))
    (one, first), _, (again, second) = (env.reset(seed=seed) for seed in (1, 2, 1))
    assert first["randomization"] == second["randomization"]
    np.testing.assert_array_equal(one["images"]["cam_high"], again["images"]["cam_high"])
    np.testing.assert_array_equal(one["env_state"], again["env_state"])


def test_masses_are_factors_of_the_nominal_ones_in_every_episode():
    changed, usual = model(), model()
    randomizer = Randomizer(changed, SLIDER, ("mass",))
    for seed in range(5):
        factors = randomizer.sample(seed, np.random.default_rng())["mass"]
        for body, factor in factors.items():
            assert MASS[0] <= factor <= MASS[1]
            assert changed.body(body).mass[0] == pytest.approx(factor * usual.body(body).mass[0])
    assert changed.body("left/shoulder_link").mass == usual.body("left/shoulder_link").mass


def test_friction_changes_objects_fingers_and_the_joints_of_parts():
    changed, usual = model(), model()
    factors = Randomizer(changed, SLIDER, ("friction",)).sample(0, np.random.default_rng())["friction"]
    for geom in ("bag_front", "slider_tab", "left/left_finger"):
        np.testing.assert_allclose(changed.geom(geom).friction, factors["contact"] * usual.geom(geom).friction)
    assert changed.joint("slider").frictionloss[0] == pytest.approx(0.8 * factors["slider"])
    assert changed.joint("left/waist").frictionloss == usual.joint("left/waist").frictionloss


def test_a_late_camera_shows_what_was_there_before():
    env, now = (sim_envs.make("slide_ziploc", **VIEW, randomize=kinds) for kinds in (("latency",), ()))
    seed = next(s for s in range(50) if env.reset(seed=s)[1]["randomization"]["latency"]["cam_high"] == LATENCY)
    seen = [(env.reset(seed=seed)[0], now.reset(seed=seed)[0])]
    action = np.full(14, 0.3, np.float32)  # [rad], [0 closed, 1 open]
    seen += [(env.step(action)[0], now.step(action)[0]) for _ in range(8)]
    for t, (late, _) in enumerate(seen):
        expected = seen[max(t - LATENCY, 0)][1]["images"]["cam_high"]
        np.testing.assert_array_equal(late["images"]["cam_high"], expected)
    assert np.any(seen[8][1]["images"]["cam_high"] != seen[5][1]["images"]["cam_high"]), "the arms have moved"


def test_labels_of_a_random_scene_follow_a_moved_camera():
    sampler = SceneSampler(sim_envs.load("transfer_cube"), ("cam_high",), (120, 160), randomize=("camera", "light"))
    red = seen = 0
    for scene in (sampler.sample(np.random.default_rng((1, k))) for k in range(30)):
        if scene.visible["cam_high"][0]:
            x, y = np.round(scene.keypoints["cam_high"][0]).astype(int)
            patch = scene.images["cam_high"][max(y - 3, 0) : y + 4, max(x - 3, 0) : x + 4].astype(int)
            seen, red = seen + 1, red + bool(np.any(patch[..., 0] > 2 * patch[..., 1]))
    assert seen > 15
    assert red >= 0.95 * seen


def test_the_recorder_offers_the_same_kinds_as_the_simulator():
    hint = get_type_hints(Recording)["randomize"]
    assert get_args(get_args(hint)[0]) == tuple(KINDS)


def test_a_recorded_file_holds_the_kinds_and_the_values_and_an_ordinary_one_holds_neither(tmp_path):
    usual = Recording("sim_slide_ziploc_scripted", cameras=())
    for name, recording in (("varied", replace(usual, randomize=("mass",))), ("plain", usual)):
        env = sim_envs.make("slide_ziploc", **recording.view)
        env.env_spec = replace(env.env_spec, episode_len=2)
        envs, attrs = SerialEnvs([env]), {"recording": recording.to_json()}
        recorder = EpisodeRecorder(
            lambda _, name=name: tmp_path / f"{name}.hdf5", envs.env_spec, keep=keep_all, attrs=attrs
        )
        list(rollout(envs, ReplayAgent(np.zeros((1, 2, 14), np.float32)), [recorder], seeds=[4]))
    varied, plain = (read_episode(tmp_path / f"{name}.hdf5").attrs for name in ("varied", "plain"))
    expected = Randomizer(model(), SLIDER, ("mass",)).sample(4, np.random.default_rng())
    assert varied["randomization"] == expected
    assert varied["recording"]["randomize"] == ["mass"]
    assert "randomization" not in plain
    assert "randomize" not in plain["recording"], "folders of earlier versions can be continued"


def test_an_unknown_kind_is_refused_with_the_choices():
    with pytest.raises(ValueError, match="unknown kind 'gravity' of randomization; available: area, textures, light, "):
        sim_envs.make("slide_ziploc", cameras=(), randomize=("gravity",))
    with pytest.raises(ValueError, match="randomize 'light': give a tuple"):
        sim_envs.make("slide_ziploc", cameras=(), randomize="light")
