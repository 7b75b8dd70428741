"""What may enter a simulation and what may leave it: actions, options and observations."""

import operator
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np

NUMBERS = "fiu"  # kinds of numpy's types that hold real numbers
LARGEST = 1e6  # of a quaternion's numbers; it is normalized
OBSERVED = ("qpos", "qvel", "env_state")


def check_action(action: Any, size: int) -> np.ndarray:
    """Returns joint targets (size,) as float64. Raises ValueError for another shape or type, or what is not finite."""
    action = _real_numbers("action", action)
    if action.shape != (size,):
        raise ValueError(f"action has shape {action.shape}; expected ({size},) joint targets")
    if not np.all(np.isfinite(action)):
        bad = int(np.flatnonzero(~np.isfinite(action))[0])
        raise ValueError(f"action[{bad}] is {action[bad]}; joint targets must be finite")
    return action


def check_options(options: Any, objects: Sequence[str], space: Any) -> np.ndarray | None:
    """Returns the poses (7n,) that the options of a reset ask for, with unit quaternions; None where they ask for none.

    Args:
        objects: their names, in the order of env_state.
        space: the Box of env_state.

    Raises ValueError for what is no dict, unknown names, and poses that are not in the space or have a zero quaternion.
    """
    if options is not None and not isinstance(options, Mapping):
        raise ValueError(f"options are a {type(options).__name__}; expected a dict such as {{'env_state': poses}}")
    if unknown := set(options or {}) - {"env_state"}:
        raise ValueError(f"unknown options {sorted(map(str, unknown))}; available: env_state")
    given = (options or {}).get("env_state")
    if given is None:
        return None
    env_state = _real_numbers("env_state", given)
    size = 7 * len(objects)
    if env_state.shape != (size,) or not np.all(np.isfinite(env_state)):
        raise ValueError(
            f"env_state has shape {env_state.shape}; expected {size} finite numbers: "
            f"x y z qw qx qy qz of {', '.join(objects)}"
        )
    poses = env_state.reshape(-1, 7)
    if np.any(np.abs(poses[:, :3]) > space.high[0]) or np.any(np.abs(poses[:, 3:]) > LARGEST):
        raise ValueError(f"env_state has places beyond {space.high[0]:g} m, or quaternions beyond {LARGEST:g}")
    norms = np.linalg.norm(poses[:, 3:], axis=1, keepdims=True)
    if np.any(norms < 1e-6):
        raise ValueError("env_state holds a zero quaternion; identity is 1 0 0 0")
    poses[:, 3:] /= norms
    return env_state


def check_seed(seed: Any) -> int | None:
    """Returns the seed of a reset as Gymnasium takes it. Raises ValueError for anything but None and 0, 1, 2, ..."""
    try:
        number = None if seed is None else operator.index(seed)
    except TypeError:
        raise ValueError(f"seed {seed!r}: expected a whole number from 0 on, or None") from None
    if number is not None and number < 0:
        raise ValueError(f"seed {number}: expected a whole number from 0 on, or None")
    return number


def is_sound(space: gymnasium.spaces.Dict, observation: Mapping[str, Any]) -> bool:
    """Whether the numbers of an observation are in the declared space; NaN is in none. Images are not looked at."""
    return all(inside(space[name], observation[name]) for name in OBSERVED)


def inside(box: Any, values: np.ndarray) -> bool:
    """Whether all values are within the bounds of a box of the same shape."""
    return bool(np.all((values >= box.low) & (values <= box.high)))


def _real_numbers(name: str, values: Any) -> np.ndarray:
    """Returns an array of float64. Raises ValueError for values of another type, such as complex numbers and texts."""
    try:
        array = np.asarray(values)
    except ValueError:
        raise ValueError(f"{name} holds lists of different lengths; expected one list of numbers") from None
    if array.dtype.kind not in NUMBERS:
        raise ValueError(f"{name} has type {array.dtype}; expected real numbers")
    with np.errstate(over="ignore"):
        return array.astype(np.float64)
