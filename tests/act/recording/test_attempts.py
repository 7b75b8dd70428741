"""What an attempt records, and the noise on what is executed."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from act.data.episodes import read_episode
from act.recording.attempts import AttemptRunner, DartNoise, Recording
from act.types import PolicySpec
from tests.fakes import toy_world
from tests.fakes.toy_env import ToyEnv

RECORDING = Recording("sim_toy_scripted", cameras=("top",), image_size=(24, 32))


def runner(recording: Recording, folder: Path) -> AttemptRunner:
    make_env = partial(toy_world.make, recording.task, **recording.view)
    return AttemptRunner(recording, make_env, partial(toy_world.make_expert, recording.task, recording.style), folder)


def test_an_attempt_is_an_episode_from_its_own_seed(tmp_path: Path) -> None:
    outcome = runner(replace(RECORDING, seed=5), tmp_path).run(3)
    assert outcome.success and outcome.path == tmp_path / "attempt_3.hdf5"
    attrs = read_episode(tmp_path / "attempt_3.hdf5").attrs
    assert (attrs["seed"], attrs["source"], attrs["task_name"]) == (8, "scripted", "toy")


def test_a_failed_attempt_is_written_only_when_failures_are_kept(tmp_path: Path) -> None:
    outcome = runner(RECORDING, tmp_path).run(1)  # the toy's expert fails at seed 1
    assert not outcome.success and outcome.path is None and not list(tmp_path.iterdir())
    outcome = runner(replace(RECORDING, keep_failures=True), tmp_path).run(1)
    assert not outcome.success and outcome.path is not None and not read_episode(outcome.path).attrs["strict_success"]


def test_a_file_keeps_everything_that_decides_its_content() -> None:
    expected = {"task": "toy", "style": "scripted", "seed": 0, "cameras": ["top"], "image_size": [24, 32]}
    expected |= {"quality": "fast", "raw": False, "jpeg_quality": 85, "keep_failures": False, "dart_noise": 0.0}
    assert RECORDING.to_json() == expected
    assert RECORDING.to_json("operator") == {**expected, "style": "operator"}


def test_a_policy_decides_cameras_and_the_size_of_its_demonstrations() -> None:
    seen = Recording("sim_toy_scripted").seen_by(PolicySpec(("angle",), (64, 64), recorded_size=(48, 64)))
    assert seen.view == {"cameras": ("angle",), "image_size": (48, 64), "quality": "fast"}


def test_the_file_says_that_starts_are_spread(tmp_path: Path) -> None:
    spread = replace(RECORDING, spread=30, keep_failures=True)
    files = [runner(spread, tmp_path).run(attempt).path for attempt in range(3)]
    episodes = [read_episode(path) for path in files if path is not None]
    assert [episode.attrs["attempt"] for episode in episodes] == [0, 1, 2]
    assert all(episode.attrs["recording"]["spread"] == 30 for episode in episodes)
    goals = [float(np.asarray(episode.env_state)[0, 0]) for episode in episodes]  # uniform from 0.5 to 1
    middle, *ends = goals
    assert 0.65 < middle < 0.85 and min(ends) < 0.55 and max(ends) > 0.95


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"cameras": ("top", "top")}, "--cameras top top: name every camera once"),
        ({"image_size": (0, 5)}, "--image_size 0 5: must be at least 1 1"),
        ({"jpeg_quality": 101}, "--jpeg_quality 101: must be 1 to 100"),
        ({"dart_noise": 1.0}, r"--dart_noise 1.0: must be 0 to 1 rad, e.g. 0.0025"),
        ({"seed": 999_999}, "--seed 999999 --num_episodes 2: attempts have seeds from 0 to 999999; larger ones"),
        ({"seed": -1}, "--seed -1"),
        ({"spread": 1}, "--spread 1: must be 0, or from --num_episodes 2 to 10000"),
        ({"spread": 10_001}, "--spread 10001"),
        ({"spread": 100, "seed": 999_950}, "--seed 999950 --spread 100: attempts have seeds from 0 to 999999"),
    ],
)
def test_values_that_cannot_be_recorded_are_refused(values: dict, message: str) -> None:
    RECORDING.check(2)
    with pytest.raises(ValueError, match=message):
        replace(RECORDING, **values).check(2)


def test_dart_noise_is_executed_but_not_recorded(tmp_path: Path) -> None:
    clean = runner(RECORDING, tmp_path / "clean").run(0).path
    noisy = runner(replace(RECORDING, dart_noise=0.01), tmp_path / "noisy").run(0).path
    assert clean is not None and noisy is not None
    clean, noisy = read_episode(clean), read_episode(noisy)
    np.testing.assert_array_equal(noisy.action[:, 1:], clean.action[:, 1:])
    deviation = noisy.qpos[1:] - noisy.action[:-1]  # toy joints jump to what was executed
    arms = np.delete(deviation, [6, 13], axis=1)
    assert 0.007 < arms.std() < 0.013 and not deviation[:, [6, 13]].any()


def test_dart_noise_repeats_under_a_seed() -> None:
    env = DartNoise(ToyEnv(), 0.1)
    actions = []
    for _ in range(2):
        env.reset(seed=3)
        actions.append([env.action(np.zeros(14)) for _ in range(3)])
    np.testing.assert_array_equal(actions[0], actions[1])
    assert np.abs(actions[0][0] - actions[0][1]).max() > 0
