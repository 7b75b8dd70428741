"""Rendering: named cameras to uint8 images, without a display, one graphics context per process and kind of image."""

import atexit
import os
import weakref
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import mujoco
import numpy as np


class RenderingUnavailableError(OSError):
    """No OpenGL implementation could be started; the message says what to install."""


@dataclass(frozen=True)
class Quality:
    """What is drawn. On a software renderer samples and shadows cost ten images, scenery as much as everything else."""

    multisampling: int  # samples per pixel; 0: jagged edges
    shadows: bool
    scenery: bool  # sky, floor and textures; black and plain without


QUALITIES = {"fast": Quality(0, False, False), "pretty": Quality(4, True, True)}
SCENERY_GROUP = 1  # geom group of what only scenery shows


class CameraRenderer:
    """Draws one scene at one size (H, W) [pixels]. Owns a graphics context; use it from the process that made it."""

    def __init__(self, scene: Path, image_size: tuple[int, int], quality: str = "fast"):
        if quality not in QUALITIES:
            raise ValueError(f"quality {quality!r} is unknown; choose one of {', '.join(QUALITIES)}")
        settings = QUALITIES[quality]
        model = mujoco.MjModel.from_xml_path(str(scene))
        height, width = image_size
        model.vis.quality.offsamples = settings.multisampling
        model.vis.quality.shadowsize = 4096 if settings.shadows else 0
        model.vis.global_.offheight, model.vis.global_.offwidth = height, width
        try:
            self._renderer: Any = mujoco.Renderer(model, height, width)
        except Exception as error:
            raise RenderingUnavailableError(
                f"MuJoCo could not start OpenGL with MUJOCO_GL={os.environ.get('MUJOCO_GL', 'unset')} ({error}); "
                "on Debian or Ubuntu: apt-get install libegl1 libegl-mesa0 (or libosmesa6); "
                "in your own programs import sim_envs before mujoco"
            ) from error
        self._renderer.scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = settings.shadows
        self._renderer.scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = False
        self._renderer.scene.flags[mujoco.mjtRndFlag.mjRND_SKYBOX] = settings.scenery
        self._option = mujoco.MjvOption()
        self._option.flags[mujoco.mjtVisFlag.mjVIS_TEXTURE] = settings.scenery
        self._option.geomgroup[SCENERY_GROUP] = settings.scenery
        self._close = weakref.finalize(self, _close, self._renderer)
        atexit.register(self._close)  # registered after MuJoCo's own, so it runs before EGL is gone

    def render(self, data: Any, camera: str) -> np.ndarray:
        """(H, W, 3) uint8 RGB of `camera` for an MjData of this scene."""
        self._renderer.update_scene(data, camera, self._option)
        return self._renderer.render()

    def close(self) -> None:
        self._close()


def _close(renderer: Any) -> None:
    """Frees a renderer in its own context: MuJoCo would free names of whichever context is current."""
    renderer._gl_context.make_current()
    renderer.close()


@cache
def shared_renderer(scene: Path, image_size: tuple[int, int], quality: str) -> CameraRenderer:
    """The one renderer of this process for that scene, size and quality: environments of one kind share it."""
    return CameraRenderer(scene, image_size, quality)
