"""What may enter a policy and what may leave it: readings and chunks that are finite and of the right size."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from act.types import Observation, PolicySpec

NUMBERS = "fiu"  # kinds of numpy's types that hold real numbers
READ = ("qpos", "env_state")  # what a policy is given besides images; nothing is asked of qvel, which it never sees


def checked_chunks(answer: Any, batch: int, chunk_size: int, action_dim: int | None) -> np.ndarray:
    """The answer of a policy as an array (B, K, A), if it is one and finite in float32.

    Args:
        batch, chunk_size, action_dim: B, K and A. A is None where nothing describes the policy; any A is right then.

    Raises ValueError, which says what is wrong: it is the policy's fault, and no robot must get such an answer.
    """
    try:
        chunks = np.asarray(answer)
    except ValueError:
        raise ValueError("the policy answered lists of different lengths, expected an array (B, K, A)") from None
    if chunks.dtype.kind not in NUMBERS:
        raise ValueError(f"the policy answered values of type {chunks.dtype}, expected numbers in float32")
    if chunks.ndim != 3 or chunks.shape[:2] != (batch, chunk_size) or action_dim not in (None, chunks.shape[2]):
        expected = f"({batch}, {chunk_size}, {'A' if action_dim is None else action_dim})"
        raise ValueError(f"the policy answered chunks of shape {chunks.shape}, expected {expected}")
    finite = finite_in_float32(chunks)
    if not finite.all():
        index, k, joint = (int(value) for value in np.argwhere(~finite)[0])
        raise ValueError(
            f"the policy answered {chunks[index, k, joint]} for joint {joint} in action {k} of chunk {index}; "
            "actions must be finite, so check its weights and its inputs"
        )
    return chunks


def finite_in_float32(values: np.ndarray) -> np.ndarray:
    """Which values, of the same shape, are finite once they are float32: 1e300 is not."""
    with np.errstate(over="ignore"):
        return np.isfinite(values.astype(np.float32, copy=False))


def wrong_reading(obs: Observation, like: Observation | None = None) -> str:
    """What is wrong with the numbers of an observation, for example "qpos[3] is nan"; "" if they are sound.

    like: an earlier observation, whose shapes this one must have.
    """
    for name in READ:
        expected = None if like is None else like.get(name)
        if name not in obs and name != "qpos" and expected is None:
            continue
        values = np.asarray(obs.get(name, ()))
        if values.ndim != 1 or values.dtype.kind not in NUMBERS:
            return f"{name} is an array of shape {values.shape} and type {values.dtype}"
        if (name == "qpos" and not values.size) or (expected is not None and values.shape != np.shape(expected)):
            return f"{name} has {len(values)} numbers" + (
                "" if expected is None else f", not {len(expected)} as before"
            )
        finite = finite_in_float32(values)
        if not finite.all():
            index = int(np.flatnonzero(~finite)[0])
            return f"{name}[{index}] is {values[index]}"
    return ""


def check_readings(observations: Sequence[Observation]) -> None:
    """Raises ValueError naming the environment and the number, if a policy must not get these observations."""
    for index, obs in enumerate(observations):
        wrong = wrong_reading(obs)
        if wrong:
            raise ValueError(f"environment {index} gives a reading that no policy gets: {wrong}")


def check_fits(spec: PolicySpec, obs: Observation, action_dim: int | None, env_name: str) -> None:
    """Raises ValueError, in one sentence, when a policy and an environment have different sizes or cameras.

    Args:
        spec: inputs and outputs of the policy.
        obs: the environment's first observation.
        action_dim: numbers in an action of the environment; None where nobody knows.
    """
    seen = np.size(obs["qpos"]) if "qpos" in obs else spec.qpos_dim
    poses = np.size(obs.get("env_state", ()))
    for name, ours, here in (
        ("sees qpos", spec.qpos_dim, seen),
        ("answers actions", spec.action_dim, spec.action_dim if action_dim is None else action_dim),
        ("sees an env_state", spec.env_state_dim, poses if spec.env_state_dim else 0),
    ):
        if ours != here:
            raise ValueError(f"the policy {name} of {ours} numbers, but {env_name} has {here or 'none'}")
    missing = [camera for camera in spec.cameras if camera not in obs.get("images", spec.cameras)]
    if missing:
        raise ValueError(
            f"the policy needs camera {missing[0]!r}, but {env_name} has {', '.join(obs['images']) or 'none'}"
        )
