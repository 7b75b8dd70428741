"""Without OpenGL everything works that draws nothing, and drawing fails in one sentence that says what to install."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = """
import sim_envs
env = sim_envs.make("transfer_cube", cameras=())
obs, _ = env.reset(seed=0)
print("steps", env.step(obs["qpos"])[4]["stage"])
from sim_envs.camera import RenderingUnavailableError
try:
    sim_envs.make("transfer_cube", cameras=("top",), image_size=(24, 32)).reset(seed=0)
except RenderingUnavailableError as error:
    print("refused:", error)
"""
RENDER_THEN_TRAIN = """
import sim_envs.kinematics  # imports MuJoCo
env = sim_envs.make("transfer_cube", cameras=("top",), image_size=(24, 32))
print(env.reset(seed=0)[0]["images"]["top"].shape)
import torch
torch.optim.AdamW([torch.nn.Parameter(torch.zeros(2))])
print("still alive")
"""
BROKEN = {
    "another library is asked of PyOpenGL": {"MUJOCO_GL": "egl", "PYOPENGL_PLATFORM": "nonsense"},
    "no driver is behind libEGL": {"MUJOCO_GL": "egl", "__EGL_VENDOR_LIBRARY_DIRS": "/nowhere"},
    "OSMesa has no library": {"MUJOCO_GL": "osmesa", "PYOPENGL_PLATFORM": "osmesa"},
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", BROKEN)
def test_without_opengl_physics_works_and_drawing_is_refused_in_one_sentence(kind: str):
    environment = {key: value for key, value in os.environ.items() if key not in ("MUJOCO_GL", "PYOPENGL_PLATFORM")}
    environment |= BROKEN[kind] | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=ROOT, env=environment, capture_output=True, text=True)
    steps, *refused = done.stdout.splitlines()
    assert steps == "steps 0", done.stderr
    sentence = f"refused: MuJoCo could not start OpenGL with MUJOCO_GL={BROKEN[kind]['MUJOCO_GL']} ("
    assert len(refused) == 1 and refused[0].startswith(sentence) and "apt-get install libegl1" in refused[0]
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_one_process_may_render_first_and_train_afterwards():
    """Mesa and Triton, which optimizers import, both contain LLVM, and crashed in this order."""
    done = subprocess.run([sys.executable, "-c", RENDER_THEN_TRAIN], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.splitlines() == ["(24, 32, 3)", "still alive"], (done.returncode, done.stderr)
