"""An operator's episodes: sketched without images, drawn by playing them back, safe from interruptions."""

from pathlib import Path

import numpy as np
import pytest

from act.data.episodes import episode_path, find_episodes, read_episode, write_episode
from act.data.repair import check_episode
from act.recording.attempts import Recording
from act.recording.teleoperated import DeferredRendering, draw
from act.runtime.envs import SerialEnvs
from act.runtime.rollout import rollout
from tests.fakes.toy_env import ToyEnv
from tests.fakes.toy_world import GoalAgent

RECORDING = Recording(
    task="toy",
    style="operator",
    seed=0,
    cameras=("top",),
    image_size=(24, 32),
    quality="fast",
    raw=False,
    jpeg_quality=85,
    keep_failures=False,
    dart_noise=0.0,
    world="tests.fakes.toy_world",
)


class Book(DeferredRendering):
    """A sketchbook in which nothing is drawn, as if the program had been killed just before."""

    def draw(self, path: Path) -> None:
        pass


class Half:
    """Says that the operator drove every other step."""

    def __init__(self) -> None:
        self.asked = 0

    @property
    def intervention(self) -> np.ndarray:
        self.asked += 1
        return np.array([self.asked % 2 == 0])


def sketch(book: DeferredRendering, seed: int = 2, length: int = 15, teaching: Half | None = None) -> Path:
    """An episode of the toy, longer than the toy's own limit of 10 when it is drawn."""
    envs = SerialEnvs([ToyEnv(episode_len=length)])
    list(rollout(envs, GoalAgent(seed), [book.recorder(envs.env_spec, "operator", teaching)], seeds=[seed]))
    return book.path_of(seed)


def test_a_sketch_becomes_the_same_episode_with_images(tmp_path):
    path = sketch(Book(RECORDING, tmp_path))
    before = read_episode(path)
    after = read_episode(draw(RECORDING, tmp_path, path))
    assert before.cameras == () and after.cameras == ("top",)
    assert len(after) == 15
    np.testing.assert_array_equal(after.qpos, before.qpos)
    np.testing.assert_array_equal(after.action, before.action)
    assert {**before.attrs, "camera_names": ["top"]} == after.attrs
    assert after.attrs["source"] == "operator" and after.attrs["seed"] == 2
    assert check_episode(episode_path(tmp_path, 0), decode_all=True) is None


def test_what_is_drawn_but_not_numbered_is_not_drawn_again(tmp_path, monkeypatch):
    path = sketch(Book(RECORDING, tmp_path))
    monkeypatch.setattr(
        Path, "replace", lambda self, target: self.rename(target) if ".partial" in str(target) else self
    )
    draw(RECORDING, tmp_path, path)
    drawn = path.read_bytes()
    monkeypatch.undo()
    monkeypatch.setattr("act.recording.teleoperated.draw_images", None)  # would fail if it were called
    assert draw(RECORDING, tmp_path, path).read_bytes() == drawn


def test_sketches_that_are_there_are_drawn_first_and_their_seeds_not_used_again(tmp_path):
    sketch(Book(RECORDING, tmp_path), seed=2)
    with DeferredRendering(RECORDING, tmp_path) as book:
        assert (book.saved, book.next_seed) == (1, 3)
        sketch(book, seed=5)
    assert [read_episode(path).attrs["seed"] for path in find_episodes(tmp_path)] == [2, 5]
    assert not (tmp_path / ".partial").exists()
    assert Book(RECORDING, tmp_path).next_seed == 6


def test_who_drove_is_kept(tmp_path):
    path = sketch(Book(RECORDING, tmp_path), teaching=Half())
    before = read_episode(path)
    after = read_episode(draw(RECORDING, tmp_path, path))
    assert after.intervention is not None and after.executed_action is not None and before.intervention is not None
    np.testing.assert_array_equal(after.intervention, before.intervention)
    assert after.intervention.tolist() == [k % 2 == 1 for k in range(15)]
    np.testing.assert_array_equal(after.executed_action, after.action)


def test_a_sketch_that_does_not_go_the_same_way_again_stays_what_it_is(tmp_path):
    path = sketch(Book(RECORDING, tmp_path))
    seen = read_episode(path)
    arrays = {"qpos": seen.qpos + 0.1, "qvel": seen.qvel, "action": seen.action, "env_state": seen.env_state}
    write_episode(path, **arrays, images={}, attrs=seen.attrs)
    content = path.read_bytes()
    with pytest.raises(RuntimeError, match=r"attempt_2\.hdf5 did not go the same way"):
        draw(RECORDING, tmp_path, path)
    assert path.read_bytes() == content
    assert find_episodes(tmp_path) == []


def test_episodes_recorded_otherwise_are_refused(tmp_path):
    draw(RECORDING, tmp_path, sketch(Book(RECORDING, tmp_path)))
    other = Recording(**{**vars(RECORDING), "style": "operator of another policy"})
    with pytest.raises(ValueError, match="style 'operator' \\(now 'operator of another policy'\\)"):
        DeferredRendering(other, tmp_path)
