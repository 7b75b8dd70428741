"""Opens an environment by the name that eval.py's --env takes.

    env = open_env("gym_aloha/AlohaTransferCube-v0")     # a Gymnasium id
    env = open_env("my_robot:make_env")                  # what make_env() of my_robot.py returns

The environment is adapted to the rollout loop, so it belongs into the worker processes of
act.runtime.envs.ParallelEnvs, where simulators and torch never meet:

    with ParallelEnvs(partial(open_env, "my_robot:make_env"), num_envs=4, num_workers=2) as envs:
        print(evaluate(envs, agent, TEST_SEEDS[:50]).success)
"""

import inspect
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import gymnasium

from act.interop.environments.adapted import AdaptedEnv, View, slug

ADAPTERS = ("gym_aloha", "aloha_sim")  # packages with a module of the same name in this folder


def open_env(
    name: str, cameras: tuple[str, ...] = (), image_size: tuple[int, int] = (480, 640)
) -> gymnasium.Env[Any, Any]:
    """The environment of this name, adapted.

    Args:
        name: MODULE:FUNCTION or a Gymnasium id; `check_name` has both forms.
        cameras: what a policy looks at; () leaves the choice to the environment, for videos.
        image_size: (H, W) [pixels]. Cameras and size reach a shipped adapter, and a FUNCTION that has parameters of
            these names; the images of any other environment are what they are.

    Raises ValueError, in one sentence, when there is no such environment, package, camera, or when it does not fit.
    """
    module, function = check_name(name)
    space, view = name.partition("/")[0], View(cameras, image_size)
    if not module and "/" in name and space in ADAPTERS:
        return import_module(f"{__package__}.{space}").make(name, view)
    env = _made(module, function, view) if module else _registered(name)
    if not isinstance(env, gymnasium.Env):
        raise ValueError(f"{name} returned {type(env).__name__}, expected a gymnasium.Env")
    return AdaptedEnv(env, name, view)


def env_name(name: str) -> str:
    """The environment's name as folders and results have it. Raises ValueError for a name that `check_name` refuses."""
    check_name(name)
    return slug(name)


def check_name(name: str) -> tuple[str, str]:
    """Returns (MODULE, FUNCTION), or ("", "") for a Gymnasium id. Raises ValueError for a name that is neither."""
    module, colon, function = name.partition(":")
    if not name or (colon and not (module and function)):
        raise ValueError(f"--env {name!r}: give MODULE:FUNCTION, or a Gymnasium id such as gym_aloha/AlohaInsertion-v0")
    if module.endswith(".py"):
        raise ValueError(f"--env {name}: give the module, not the file: {module.removesuffix('.py')}:{function}")
    return (module, function) if colon and function.isidentifier() else ("", "")


def _made(module: str, function: str, view: View) -> Any:
    make = _function(module, function)
    parameters = inspect.signature(make).parameters
    return make(**{key: value for key, value in vars(view).items() if key in parameters})


def _function(module: str, function: str) -> Callable[..., Any]:
    here = str(Path.cwd())  # programs that were started by their path have their own folder there, not this one
    if here not in sys.path:
        sys.path.insert(0, here)
    loaded = imported(module, f"is there a {module.replace('.', '/')}.py in {here}?")
    made = getattr(loaded, function, None)
    if not callable(made):
        known = [key for key, value in vars(loaded).items() if callable(value) and not key.startswith("_")]
        raise ValueError(f"{module} has no function {function}; it has {', '.join(known) or 'none'}")
    return made


def _registered(name: str) -> gymnasium.Env[Any, Any]:
    """The environment of a Gymnasium id, whose namespace is imported because most packages are called like it."""
    space = name.partition("/")[0] if "/" in name else ""
    if space and space.isidentifier() and name not in gymnasium.registry:
        imported(space, f"the package that registers {name} must be installed")
    try:
        return gymnasium.make(name, disable_env_checker=True)
    except gymnasium.error.Error as error:
        raise ValueError(f"--env {name}: {str(error).splitlines()[0]}") from None


def imported(module: str, hint: str) -> Any:
    """The module of that name. Raises ValueError with the hint where it does not exist."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise  # it exists, and a module that it imports does not
        raise ValueError(f"there is no module {module}: {hint}") from None
