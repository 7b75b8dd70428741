"""Renders named cameras to uint8 images without a display. Environments of one process share renderers."""

import atexit
import os
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from operator import attrgetter
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

from sim_envs.opengl import load_mujoco


class RenderingUnavailableError(OSError):
    """OpenGL could not be started; the message names the package to install."""


@dataclass(frozen=True)
class Quality:
    """Chooses what is rendered.

    On a software renderer, multisampling and shadows make an image ten times slower, and scenery twice as slow.
    """

    multisampling: int  # samples per pixel; 0 gives jagged edges
    shadows: bool
    scenery: bool  # sky, floor and textures; without it the background is black


QUALITIES = {"fast": Quality(0, False, False), "pretty": Quality(4, True, True)}
SCENERY_GROUP = 1  # group of the geoms that are rendered only with scenery


class CameraRenderer:
    """Renders one scene at one size (H, W) [pixels]. It owns a graphics context, so only its own process may use it.

    Raises ValueError for an unknown quality and RenderingUnavailableError when OpenGL cannot be started.
    """

    def __init__(self, scene: Path, image_size: tuple[int, int], quality: str = "fast"):
        if quality not in QUALITIES:
            raise ValueError(f"unknown quality {quality!r}; available: {', '.join(QUALITIES)}")
        settings = QUALITIES[quality]
        model = mujoco.MjModel.from_xml_path(str(scene))
        height, width = image_size
        model.vis.quality.offsamples = settings.multisampling
        model.vis.quality.shadowsize = 4096 if settings.shadows else 0
        model.vis.global_.offheight, model.vis.global_.offwidth = height, width
        try:
            self._renderer: Any = mujoco.Renderer(model, height, width)
        except Exception as error:
            backend, reason = os.environ.get("MUJOCO_GL", "unset"), load_mujoco() or error
            raise RenderingUnavailableError(
                f"MuJoCo could not start OpenGL with MUJOCO_GL={backend} ({reason}); "
                "on Debian or Ubuntu: apt-get install libegl1 libegl-mesa0 (or libosmesa6); "
                "in your own programs, import sim_envs before mujoco"
            ) from error
        self._renderer.scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = settings.shadows
        self._renderer.scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = False
        self._renderer.scene.flags[mujoco.mjtRndFlag.mjRND_SKYBOX] = settings.scenery
        self._option = mujoco.MjvOption()
        self._option.flags[mujoco.mjtVisFlag.mjVIS_TEXTURE] = settings.scenery
        self._option.geomgroup[SCENERY_GROUP] = settings.scenery
        self._close = weakref.finalize(self, _close, self._renderer)
        atexit.register(self._close)  # runs before MuJoCo's own exit handler, which ends EGL

    def render(self, data: Any, camera: str, appearance: Mapping[str, np.ndarray] | None = None) -> np.ndarray:
        """Returns an image (H, W, 3) uint8 RGB of `camera`, for an MjData of this scene.

        `appearance` has other values of fields of MjModel, for this image alone: {"mat_rgba": (n, 4), ...}.
        """
        usual = self._put_on(appearance or {})
        self._renderer.update_scene(data, camera, self._option)
        image = self._renderer.render()
        self._put_on(usual)
        return image

    def _put_on(self, appearance: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Changes fields of the model and returns their former values. Textures go to the graphics context, too."""
        model, before = self._renderer.model, {}
        for name, values in appearance.items():
            field = attrgetter(name)(model)
            before[name] = np.array(field)
            field[:] = values
        if "tex_data" in appearance and self._option.flags[mujoco.mjtVisFlag.mjVIS_TEXTURE]:
            for texture in range(model.ntex):
                mujoco.mjr_uploadTexture(model, self._renderer._mjr_context, texture)
        return before

    def close(self) -> None:
        """Frees the graphics context."""
        self._close()


def _close(renderer: Any) -> None:
    """Frees a renderer in its own context, because MuJoCo frees the objects of the context that is current."""
    renderer._gl_context.make_current()
    renderer.close()


@cache
def shared_renderer(scene: Path, image_size: tuple[int, int], quality: str) -> CameraRenderer:
    """Returns the renderer of this process for a scene, size and quality; it is made once and shared."""
    return CameraRenderer(scene, image_size, quality)
