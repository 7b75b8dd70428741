"""Random scenes that need no renderer: a bright spot in the images of two cameras."""

import os
import signal
from dataclasses import dataclass
from typing import NoReturn

import numpy as np

CAMERAS: tuple[str, ...] = ("one", "two")
DOT_SIZE, BLOB_SIZE = (16, 16), (32, 48)  # (H, W)


@dataclass(frozen=True)
class ToyScene:
    images: dict[str, np.ndarray]
    keypoints: dict[str, np.ndarray]
    visible: dict[str, np.ndarray]
    qpos: np.ndarray


def toy_scene(images: dict[str, np.ndarray], keypoints: dict[str, np.ndarray]) -> ToyScene:
    return ToyScene(images, keypoints, {camera: np.array([True]) for camera in CAMERAS}, np.zeros(14, np.float32))


class DotSampler:
    """A white pixel on black at a random place, per camera."""

    cameras, keypoints = CAMERAS, ("dot",)

    def sample(self, rng: np.random.Generator) -> ToyScene:
        images, keypoints = {}, {}
        for camera in CAMERAS:
            x, y = rng.integers(2, 14, 2)
            images[camera] = np.zeros((*DOT_SIZE, 3), np.uint8)
            images[camera][y, x] = 255
            keypoints[camera] = np.array([[x, y]], np.float32)
        return toy_scene(images, keypoints)


class BlobSampler:
    """A bright square on noise at a random place, per camera."""

    cameras, keypoints = CAMERAS, ("blob",)

    def sample(self, rng: np.random.Generator) -> ToyScene:
        height, width = BLOB_SIZE
        images, keypoints = {}, {}
        for camera in CAMERAS:
            x, y = rng.integers(6, width - 6), rng.integers(6, height - 6)
            images[camera] = rng.integers(0, 40, (height, width, 3), dtype=np.uint8)
            images[camera][y - 2 : y + 3, x - 2 : x + 3] = 230
            keypoints[camera] = np.array([[x, y]], np.float32)
        return toy_scene(images, keypoints)


def blind() -> NoReturn:
    raise RuntimeError("no renderer here")


def deadly() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)  # as the kernel does when memory is short
    raise AssertionError("unreachable")
