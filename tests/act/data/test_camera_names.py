"""The wrist cameras have two names, that of act++ and that of ALOHA; both mean the same camera everywhere."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from act.data.dataset import EpisodeDataset, Sampling
from act.data.episodes import episode_path, read_episode, write_episode
from act.data.loading import find, load_episodes
from act.nn.vision import KeypointConfig, KeypointTrunk
from act.recording.attempts import Recording
from act.recording.scenes import record_scenes
from act.runtime.robot_envs import RobotEnvs
from act.training.scenes import read_images, read_labels
from act.types import CAMERA_ALIASES, EnvSpec, camera_named
from sim_envs.env import MJCF_CAMERAS
from tests.fakes.toy_scenes import DOT_SIZE, DotSampler, ToyScene

ALOHA, PLUS = ("cam_left_wrist", "cam_right_wrist"), ("left_wrist", "right_wrist")
BOTH_WAYS = pytest.mark.parametrize(("stored", "asked"), [(ALOHA, PLUS), (PLUS, ALOHA)])


def images(cameras: tuple[str, ...], length: int = 4) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {camera: rng.integers(0, 256, (length, 16, 24, 3), np.uint8) for camera in cameras}


def write(folder: Path, cameras: tuple[str, ...], compress: bool = True) -> Path:
    rows = np.zeros((4, 14), np.float32)
    return write_episode(episode_path(folder, 0), qpos=rows, action=rows, images=images(cameras), compress=compress)


def test_a_name_means_the_camera_of_that_name_first() -> None:
    assert camera_named("left_wrist", ("cam_left_wrist", "left_wrist")) == "left_wrist"
    assert camera_named("left_wrist", ("cam_high", "cam_left_wrist")) == "cam_left_wrist"
    assert camera_named("left_wrist", ("cam_right_wrist", "right_wrist")) is None
    assert camera_named("top", ("cam_high",)) is None


def test_act_and_the_simulator_know_the_same_names() -> None:
    assert {MJCF_CAMERAS[name] == MJCF_CAMERAS[other] for name, other in CAMERA_ALIASES.items()} == {True}
    assert CAMERA_ALIASES.keys() == MJCF_CAMERAS.keys()


@BOTH_WAYS
@pytest.mark.parametrize("compress", [True, False])
def test_episodes_are_read_under_either_name(
    tmp_path: Path, stored: tuple[str, ...], asked: tuple[str, ...], compress: bool
) -> None:
    path = write(tmp_path, stored, compress)
    under_their_names, under_others = read_episode(path), read_episode(path, asked[::-1])
    assert under_others.cameras == asked[::-1]
    for camera, other in zip(stored, asked, strict=True):
        expected = under_their_names.read_images(camera)
        assert np.array_equal(under_others.read_images(other), expected)
        assert np.array_equal(under_their_names.read_images(other, 1, 3), expected[1:3])


@BOTH_WAYS
def test_files_without_checksums_are_read_under_either_name(
    tmp_path: Path, stored: tuple[str, ...], asked: tuple[str, ...]
) -> None:
    path = write(tmp_path, stored)
    with h5py.File(path, "r+") as file:
        del file.attrs["checksums"]
    for camera, other in zip(stored, asked, strict=True):
        assert np.array_equal(read_episode(path, asked).read_images(other), read_episode(path).read_images(camera))


def test_training_takes_a_camera_under_its_other_name(tmp_path: Path) -> None:
    write(tmp_path, ALOHA, compress=False)
    dataset = EpisodeDataset(load_episodes(find(tmp_path), PLUS), Sampling(2, cameras=PLUS, image_size=(16, 24)))
    batch = dataset.sample(0, 2)
    assert batch.images is not None
    assert np.array_equal(batch.images[0, 0].numpy(), np.stack([images(ALOHA)[camera][2] for camera in ALOHA]))


def test_a_camera_that_has_neither_name_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, ALOHA[:1])
    with pytest.raises(ValueError, match="unknown camera 'right_wrist'; available: cam_left_wrist"):
        read_episode(path, PLUS)


class WristSampler(DotSampler):
    cameras = ALOHA

    def sample(self, rng: np.random.Generator) -> ToyScene:
        scene = super().sample(rng)

        def renamed(values: Mapping[str, Any]) -> dict[str, Any]:
            return dict(zip(ALOHA, values.values(), strict=True))

        return ToyScene(renamed(scene.images), renamed(scene.keypoints), renamed(scene.visible), scene.qpos)


def test_scenes_are_read_under_either_name(tmp_path: Path) -> None:
    recording = Recording("sim_dot_scripted", cameras=ALOHA, image_size=DOT_SIZE)
    record_scenes(recording, WristSampler, tmp_path / "scenes.hdf5", 2, workers=1)
    labels = read_labels(tmp_path / "scenes.hdf5")
    assert np.array_equal(read_images(labels, PLUS[::-1], 0, 2), read_images(labels, ALOHA[::-1], 0, 2))


def test_a_backbone_is_chosen_under_either_name() -> None:
    trunk = KeypointTrunk(KeypointConfig(("cube",), ("top", *ALOHA), (32, 48), (4, 4, 4, 4)))
    chosen = trunk.select(("right_wrist",))
    assert chosen.config.cameras == ("right_wrist",) and bool((chosen.head == trunk.head[2:]).all())


class Robot:
    """A robot with one wrist camera."""

    def __init__(self, camera: str):
        self.camera = camera

    def observe(self) -> dict[str, Any]:
        return {"qpos": np.zeros(14, np.float32), "images": {self.camera: np.full((2, 3, 3), 7, np.uint8)}}

    def act(self, action: np.ndarray) -> None:
        pass


@BOTH_WAYS
def test_a_robot_shows_its_cameras_under_either_name(stored: tuple[str, ...], asked: tuple[str, ...]) -> None:
    envs = RobotEnvs(Robot(stored[0]), EnvSpec("arm", (), 5, cameras=asked[:1]), period=1e-3)
    ((obs, _),) = envs.reset([0])
    ((later, *_),) = envs.step(np.zeros((1, 14), np.float32))
    assert (obs["images"][asked[0]] == 7).all() and (later["images"][asked[0]] == 7).all()
