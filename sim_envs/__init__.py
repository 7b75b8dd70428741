"""Simulated bimanual tasks. The package simulates robots and tasks and knows nothing about learning.

    env = sim_envs.make("transfer_cube", cameras=("top",))    # or gymnasium.make("sim_envs/TransferCube-v0")
    obs, info = env.reset(seed=0)

Every file in `sim_envs/tasks/` is a task of that name. `import sim_envs` does not load MuJoCo; making an environment
does. So a program can hand `partial(sim_envs.make, task, ...)` to its worker processes and stay free of MuJoCo itself.
"""

import importlib
import pkgutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium

from sim_envs.opengl import choose_gl_backend, load_mujoco, load_triton_first

if TYPE_CHECKING:
    from sim_envs.env import BimanualEnv
    from sim_envs.expert_labels import ExpertLabels
    from sim_envs.experts import ExpertAgent
    from sim_envs.random_scenes import SceneSampler
    from sim_envs.task import BimanualTask

choose_gl_backend()  # now, because MuJoCo reads the choice when it is imported
load_triton_first()  # now, because MuJoCo may start OpenGL when it is imported

STYLES = ("scripted", "human")  # of experts: one clean way, or varied in speed, pauses, grasps and hand-over


def available() -> tuple[str, ...]:
    """Returns the names of all tasks."""
    tasks = Path(__file__).parent / "tasks"
    return tuple(sorted(module.name for module in pkgutil.iter_modules([str(tasks)])))


def check_task_name(task_name: str, tasks: Sequence[str] | None = None) -> None:
    """Raises ValueError, which lists the choices, unless the name is sim_<task>_<style>, e.g. sim_insertion_human."""
    known = [f"sim_{task}_{style}" for task in tasks or available() for style in STYLES]
    if task_name not in known:
        raise ValueError(f"unknown task {task_name!r}; available: {', '.join(known)}")


def load(task: str) -> "type[BimanualTask]":
    """Returns the task class of that name. Raises ValueError, which lists the choices, if there is none."""
    if task not in available():
        raise ValueError(f"unknown task {task!r}; available: {', '.join(available())}")
    load_mujoco()
    return importlib.import_module(f"sim_envs.tasks.{task}").Task


def make(task: str, **kwargs: Any) -> "BimanualEnv":
    """Returns an environment for the task; keyword arguments (cameras, image_size, ...) as for `BimanualEnv`."""
    load_mujoco()
    from sim_envs.env import BimanualEnv

    return BimanualEnv(load(task), **kwargs)


def make_expert(task: str, style: str = "scripted", seed: int = 0) -> "ExpertAgent":
    """Returns the scripted expert of the task as an agent; see `sim_envs.experts.make_agent`."""
    load_mujoco()
    from sim_envs import experts

    return experts.make_agent(task, style=style, seed=seed)


def make_with_expert(
    task: str, style: str = "scripted", chunk_size: int = 1, label_every: int = 0, **kwargs: Any
) -> "ExpertLabels":
    """Returns an environment whose observations hold the expert's actions, too; see `ExpertLabels`."""
    load_mujoco()
    from sim_envs.expert_labels import ExpertLabels

    return ExpertLabels(make(task, **kwargs), style, chunk_size, label_every)


def make_scene_sampler(
    task: str,
    cameras: tuple[str, ...],
    image_size: tuple[int, int],
    quality: str = "fast",
    randomize: Sequence[str] = (),
) -> "SceneSampler":
    """Returns a sampler of random, labelled scenes of the task; see `sim_envs.random_scenes.SceneSampler`."""
    load_mujoco()
    from sim_envs.random_scenes import SceneSampler

    return SceneSampler(load(task), cameras, image_size, quality, randomize)


def gymnasium_id(task: str) -> str:
    """Returns "sim_envs/TransferCube-v0" for "transfer_cube"."""
    return f"sim_envs/{''.join(word.capitalize() for word in task.split('_'))}-v0"


for _task in available():
    gymnasium.register(gymnasium_id(_task), entry_point="sim_envs:make", kwargs={"task": _task})
