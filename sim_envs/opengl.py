"""Chooses the OpenGL library that MuJoCo renders with."""

import ctypes.util
import os


def choose_gl_backend() -> None:
    """Sets MUJOCO_GL for machines without a screen. It must run before `import mujoco`, which reads MUJOCO_GL.

    A value that the user has set is kept, and so is MuJoCo's own choice where there is a screen but no EGL.
    """
    if "MUJOCO_GL" in os.environ or (os.environ.get("DISPLAY") and not ctypes.util.find_library("EGL")):
        return
    for backend, library in (("egl", "EGL"), ("osmesa", "OSMesa")):
        if ctypes.util.find_library(library):
            os.environ["MUJOCO_GL"] = backend
            os.environ.setdefault("PYOPENGL_PLATFORM", backend)
            return
