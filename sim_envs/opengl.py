"""Chooses the OpenGL library that MuJoCo renders with; where none can be used, physics works without."""

import ctypes.util
import os
from functools import cache
from importlib import import_module


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


@cache
def load_mujoco() -> str:
    """Imports MuJoCo and dm_control, and returns why they cannot render; "" where nothing is known to be wrong.

    Both look for OpenGL when they are imported, and dm_control cannot be imported when that fails, for example without
    a driver, or with PYOPENGL_PLATFORM for another library. They are then imported without OpenGL: physics needs none.
    """
    try:
        import_module("dm_control.mujoco")
        return ""
    except Exception as error:  # PyOpenGL raises what it likes
        reason = " ".join(str(error).split()) or type(error).__name__
    chosen = os.environ.get("MUJOCO_GL")
    os.environ["MUJOCO_GL"] = "disable"
    try:
        import_module("dm_control.mujoco")
    finally:
        if chosen is None:
            del os.environ["MUJOCO_GL"]
        else:
            os.environ["MUJOCO_GL"] = chosen  # worker processes fail in the same way and with the same sentence
    return reason
