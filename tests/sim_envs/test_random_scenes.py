"""The keypoint labels of random scenes are at the pixels where the objects are rendered."""

from typing import Any

import numpy as np
import pytest

import sim_envs
from sim_envs.random_scenes import SceneSampler, project


@pytest.fixture(scope="module")
def sampler():
    return SceneSampler(sim_envs.load("transfer_cube"), cameras=("cam_high", "top"), image_size=(120, 160))


class Grey:
    """Renders the height of the cube as a shade of grey."""

    def render(self, data: Any, camera: str, appearance: Any) -> np.ndarray:
        return np.full((120, 160, 3), min(255, int(1000 * data.qpos[18])), np.uint8)


def test_another_renderer_changes_images_and_no_label(sampler: SceneSampler):
    other = SceneSampler(sim_envs.load("transfer_cube"), ("cam_high", "top"), (120, 160), renderer=Grey())
    for k in range(4):
        here, there = (each.sample(np.random.default_rng((4, k))) for each in (sampler, other))
        assert np.all(there.images["top"] == min(255, int(1000 * there.env_state[2])))
        for camera in sampler.cameras:
            assert np.array_equal(here.keypoints[camera], there.keypoints[camera])
            assert np.array_equal(here.visible[camera], there.visible[camera])


def test_the_cube_is_red_where_its_label_says(sampler):
    seen = red = 0
    for scene in (sampler.sample(np.random.default_rng((1, k))) for k in range(40)):
        for camera in sampler.cameras:
            if scene.visible[camera][0]:
                x, y = np.round(scene.keypoints[camera][0]).astype(int)
                patch = scene.images[camera][max(y - 3, 0) : y + 4, max(x - 3, 0) : x + 4].astype(int)
                seen += 1
                red += bool(np.any(patch[..., 0] > 2 * patch[..., 1]))
    assert seen > 40
    assert red >= 0.97 * seen


def test_a_cube_that_is_rendered_at_its_label_is_visible():
    """Invisible collision hulls surround the fingers in front of a wrist camera, and they must hide nothing."""
    sampler = SceneSampler(sim_envs.load("transfer_cube"), ("cam_left_wrist", "cam_right_wrist"), (120, 160))
    red = 0
    for scene in (sampler.sample(np.random.default_rng((2, k))) for k in range(150)):
        for camera in sampler.cameras:
            x, y = np.round(scene.keypoints[camera][0]).astype(int)
            if 0 <= x < 160 and 0 <= y < 120:
                r, g, b = scene.images[camera][y, x].astype(int)
                if r > 2 * max(g, b):
                    red += 1
                    assert scene.visible[camera][0]
    assert red > 50


def test_a_cube_behind_a_hand_is_hidden():
    sampler = SceneSampler(sim_envs.load("transfer_cube"), ("cam_left_wrist", "cam_right_wrist"), (120, 160))
    hidden = 0
    for scene in (sampler.sample(np.random.default_rng((3, k))) for k in range(150)):
        for camera in sampler.cameras:
            x, y = scene.keypoints[camera][0]
            hidden += bool(0 <= x < 160 and 0 <= y < 120 and not scene.visible[camera][0])
    assert hidden > 0


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_wrist_camera_sees_its_own_hand(side):
    """The camera is mounted on the hand, so the hand is always at the same pixel."""
    sampler = SceneSampler(sim_envs.load("transfer_cube"), (f"cam_{side}_wrist",), (48, 64))
    hand = sampler.task.keypoints.index(f"{side}/tcp")
    scenes = (sampler.sample(np.random.default_rng(seed)) for seed in range(3))
    seen = np.array([scene.keypoints[f"cam_{side}_wrist"][hand] for scene in scenes])
    assert np.ptp(seen, axis=0).max() < 0.1
    assert np.all((seen > 0) & (seen < (64, 48)))


def test_the_same_seed_samples_the_same_scene(sampler):
    one, other = (sampler.sample(np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(one.images["top"], other.images["top"])
    np.testing.assert_array_equal(one.keypoints["top"], other.keypoints["top"])


def test_projection_is_the_pinhole_formula():
    straight_down = np.eye(3)  # camera at 1 m above the origin, x right, y up
    points = np.array([[0, 0, 0], [0.5, 0, 0], [0, 0.5, 0], [0, 0, 2.0]])
    pixels = project(points, np.array([0, 0, 1.0]), straight_down, 90.0, (101, 201))
    np.testing.assert_allclose(pixels[:3], [[100, 50], [100 + 25.25, 50], [100, 50 - 25.25]])
    assert np.all(pixels[3] < -1e5), "behind the camera"


@pytest.mark.parametrize("task", sim_envs.available())
def test_every_task_has_random_scenes(task):
    sampler = SceneSampler(sim_envs.load(task), cameras=("cam_high",), image_size=(48, 64))
    scene = sampler.sample(np.random.default_rng(0))
    assert scene.keypoints["cam_high"].shape == (len(sampler.task.keypoints), 2)
