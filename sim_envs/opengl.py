"""Chooses the OpenGL library that MuJoCo renders with; where none can be used, physics works without."""

import contextlib
import ctypes.util
import os
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path


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


def load_triton_first() -> None:
    """Loads Triton's library, where it is installed; it must run before `import mujoco`, which starts OpenGL.

    Both contain LLVM. In the other order, what loads Triton later crashes the interpreter, and every optimizer of
    torch does so (seen with Mesa's software renderer and Triton 3.8.0).
    """
    if found := find_spec("triton"):
        for folder in found.submodule_search_locations or ():
            with contextlib.suppress(OSError):  # what cannot be loaded here cannot be loaded later, either
                ctypes.CDLL(str(Path(folder, "_C", "libtriton.so")))


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
