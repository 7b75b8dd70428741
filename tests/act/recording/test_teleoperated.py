"""A person's episodes: recorded without images, rendered by playing them back, safe from interruptions."""

import pickle
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from act.data.episodes import episode_path, find_episodes, read_episode, write_episode
from act.data.repair import check_episode
from act.recording import teleoperated
from act.recording.attempts import Recording
from act.recording.teleoperated import DeferredRendering, PageOptions
from act.runtime.envs import SerialEnvs
from act.runtime.rollout import rollout
from tests.fakes import toy_world
from tests.fakes.toy_env import ToyEnv
from tests.fakes.toy_world import GoalAgent

RECORDING = Recording("sim_toy_human", cameras=("top",), image_size=(24, 32))
MAKE_ENV = partial(toy_world.make, "toy", **RECORDING.view)


class Killed(DeferredRendering):
    """It renders nothing, as if the program had been killed just before."""

    def __init__(self, directory: Path):
        super().__init__(RECORDING, "operator", MAKE_ENV, directory)

    def render(self, path: Path) -> None:
        pass


class EveryOtherStep:
    """Says that the operator drove every other step."""

    def __init__(self) -> None:
        self.asked = 0

    @property
    def intervention(self) -> np.ndarray:
        self.asked += 1
        return np.array([self.asked % 2 == 0])


def drive(episodes: DeferredRendering, seed: int = 2, corrected: EveryOtherStep | None = None) -> Path:
    """An unrendered episode of 15 control steps, more than the environment that renders it allows: 10."""
    envs = SerialEnvs([ToyEnv(episode_len=15)])
    list(rollout(envs, GoalAgent(seed), [episodes.recorder(envs.env_spec, corrected)], seeds=[seed]))
    return episodes.path_of(seed)


def render(path: Path) -> Path:
    return teleoperated.render(RECORDING, pickle.dumps(MAKE_ENV), path.parents[1], path)


def name_module(path: Path) -> None:
    """Writes an unrendered episode again as older versions did, with a module in its attribute `recording`."""
    seen = read_episode(path)
    arrays = {name: getattr(seen, name) for name in ("qpos", "qvel", "action", "env_state", "reward")}
    recording = {**seen.attrs["recording"], "world": "record_sim_episodes"}
    write_episode(path, **arrays, images={}, attrs={**seen.attrs, "recording": recording})


def test_an_unrendered_episode_becomes_the_same_one_with_images(tmp_path):
    path = drive(Killed(tmp_path))
    before = read_episode(path)
    after = read_episode(render(path))
    assert before.cameras == () and after.cameras == ("top",)
    assert len(after) == 15
    np.testing.assert_array_equal(after.qpos, before.qpos)
    np.testing.assert_array_equal(after.action, before.action)
    assert {name: after.attrs[name] for name in before.attrs} == {**before.attrs, "camera_names": ["top"]}
    assert after.attrs["source"] == "operator" and after.attrs["seed"] == 2
    assert check_episode(episode_path(tmp_path, 0), decode_all=True) is None


def test_what_is_rendered_but_not_numbered_is_not_rendered_again(tmp_path, monkeypatch):
    path = drive(Killed(tmp_path))
    monkeypatch.setattr(
        Path, "replace", lambda self, target: self.rename(target) if ".partial" in str(target) else self
    )
    render(path)
    rendered = path.read_bytes()
    monkeypatch.undo()
    monkeypatch.setattr(teleoperated, "render_images", None)  # would fail if it were called
    assert render(path).read_bytes() == rendered


def test_unrendered_episodes_are_rendered_first_and_their_seeds_not_used_again(tmp_path):
    drive(Killed(tmp_path), seed=2)
    with DeferredRendering(RECORDING, "operator", MAKE_ENV, tmp_path) as episodes:
        assert (episodes.saved, episodes.next_seed) == (1, 3)
        drive(episodes, seed=5)
    assert [read_episode(path).attrs["seed"] for path in find_episodes(tmp_path)] == [2, 5]
    assert not (tmp_path / ".partial").exists()
    assert Killed(tmp_path).next_seed == 6


def test_a_session_of_an_older_version_goes_on(tmp_path):
    for seed in (2, 4):
        path = drive(Killed(tmp_path), seed)
        name_module(path)
        if seed == 2:
            render(path)
    episodes = Killed(tmp_path)
    assert (episodes.saved, episodes.next_seed) == (2, 5)
    rendered = read_episode(render(tmp_path / ".partial" / "attempt_4.hdf5"))
    assert rendered.cameras == ("top",) and rendered.attrs["recording"]["world"] == "record_sim_episodes"


def test_who_drove_is_kept(tmp_path):
    path = drive(Killed(tmp_path), corrected=EveryOtherStep())
    before = read_episode(path)
    after = read_episode(render(path))
    assert after.intervention is not None and after.executed_action is not None and before.intervention is not None
    np.testing.assert_array_equal(after.intervention, before.intervention)
    assert after.intervention.tolist() == [k % 2 == 1 for k in range(15)]
    np.testing.assert_array_equal(after.executed_action, after.action)


def test_an_episode_that_does_not_go_the_same_way_again_stays_as_it_is(tmp_path):
    path = drive(Killed(tmp_path))
    seen = read_episode(path)
    arrays = {"qpos": seen.qpos + 0.1, "qvel": seen.qvel, "action": seen.action, "env_state": seen.env_state}
    write_episode(path, **arrays, images={}, attrs=seen.attrs)
    content = path.read_bytes()
    with pytest.raises(RuntimeError, match=r"attempt_2\.hdf5 did not go the same way"):
        render(path)
    assert path.read_bytes() == content
    assert find_episodes(tmp_path) == []


def test_episodes_of_another_driver_are_refused(tmp_path):
    render(drive(Killed(tmp_path)))
    with pytest.raises(ValueError, match="style 'operator' \\(now 'operator 0123'\\)"):
        DeferredRendering(RECORDING, "operator 0123", MAKE_ENV, tmp_path)


def test_a_port_that_cannot_be_is_refused():
    with pytest.raises(ValueError, match=r"--port 99999: must be 0 \(any free one\) to 65535"):
        PageOptions(port=99_999).check()
