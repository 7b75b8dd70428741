"""Simulated bimanual tasks: `make("transfer_cube")`, or `gymnasium.make("sim_envs/TransferCube-v0")`.

Knows robots, time and tasks; has never heard of learning. Every file in `sim_envs/tasks/` is a task by its name.
"""

import importlib
import pkgutil
from typing import Any

from sim_envs.camera import choose_gl_backend

choose_gl_backend()  # before anything imports mujoco

import gymnasium  # noqa: E402

from sim_envs import tasks  # noqa: E402
from sim_envs.env import BimanualEnv  # noqa: E402
from sim_envs.task import BimanualTask  # noqa: E402


def available() -> tuple[str, ...]:
    """Names of all tasks."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(tasks.__path__)))


def load(task: str) -> type[BimanualTask]:
    """The task class of that name; ValueError lists the choices."""
    if task not in available():
        raise ValueError(f"task {task!r} is unknown; choose one of {', '.join(available())}")
    return importlib.import_module(f"sim_envs.tasks.{task}").Task


def make(task: str, **kwargs: Any) -> BimanualEnv:
    """An environment for the task; keyword arguments (cameras, image_size, quality, ...) as for `BimanualEnv`."""
    return BimanualEnv(load(task), **kwargs)


def gymnasium_id(task: str) -> str:
    return f"sim_envs/{''.join(word.capitalize() for word in task.split('_'))}-v0"


for _task in available():
    gymnasium.register(gymnasium_id(_task), entry_point="sim_envs:make", kwargs={"task": _task})
