"""Which OpenGL MuJoCo renders with, chosen before MuJoCo is imported."""

import ctypes.util
import os


def choose_gl_backend() -> None:
    """Picks how MuJoCo draws; must run before `import mujoco`. A MUJOCO_GL that the user has set is left alone."""
    if "MUJOCO_GL" in os.environ or (os.environ.get("DISPLAY") and not ctypes.util.find_library("EGL")):
        return
    for backend, library in (("egl", "EGL"), ("osmesa", "OSMesa")):
        if ctypes.util.find_library(library):
            os.environ["MUJOCO_GL"] = backend
            os.environ.setdefault("PYOPENGL_PLATFORM", backend)
            return
