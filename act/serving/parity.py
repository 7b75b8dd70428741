"""Compares the answers of an exported graph with those of torch, on random or recorded observations."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from act.data.episodes import Episode, read_episode
from act.runtime.agents import DescribedPolicy
from act.types import Observation

History = list[Observation]


def differences(
    policy: DescribedPolicy, engine: DescribedPolicy, histories: Sequence[History]
) -> dict[str, float] | None:
    """Returns the mean and the largest difference between the actions of two policies, in physical units.

    Returns None for a policy that samples its answers, because two answers of it differ anyway.
    """
    expected = [policy.predict_chunk([history]) for history in histories]
    if (expected[0] != policy.predict_chunk(histories[:1])).any():
        return None
    errors = np.abs(np.stack(expected) - np.stack([engine.predict_chunk([history]) for history in histories]))
    return {"mean": float(errors.mean()), "max": float(errors.max())}


def describe_error(error: dict[str, float] | None) -> str:
    """Returns a clause about the result of `differences`."""
    if error is None:
        return "it samples random numbers, so its answers cannot be compared with torch's one by one"
    return f"its answers differ from torch's by {error['mean']:.2g} rad on average, {error['max']:.2g} at most"


def random_histories(policy: DescribedPolicy, n: int) -> list[History]:
    """Returns n histories of joints within 1 rad, object poses within 1 m and noise images, from a fixed seed."""
    rng, spec = np.random.default_rng(0), policy.spec

    def observe() -> Observation:
        obs: Observation = {
            "qpos": rng.uniform(-1, 1, spec.qpos_dim).astype(np.float32),
            "env_state": rng.uniform(-1, 1, spec.env_state_dim).astype(np.float32),
        }
        return obs | {"images": {c: rng.integers(0, 256, (*spec.image_size, 3), np.uint8) for c in spec.cameras}}

    return [[observe() for _ in range(policy.n_obs_steps)] for _ in range(n)]


def recorded_histories(policy: DescribedPolicy, paths: Sequence[Path], n: int) -> list[History]:
    """Returns n histories that end at random steps of random episodes, from a fixed seed."""
    spec, rng = policy.spec, np.random.default_rng(0)
    histories = []
    for _ in range(n):
        episode = read_episode(paths[int(rng.integers(len(paths)))], spec.cameras)
        t = int(rng.integers(len(episode)))
        steps = [max(0, t + k) for k in range(1 - policy.n_obs_steps, 1)]
        histories.append([_observation(episode, step, spec.image_size) for step in steps])
    return histories


def _observation(episode: Episode, t: int, image_size: tuple[int, int]) -> dict[str, Any]:
    images = {camera: episode.read_images(camera, t, t + 1, image_size)[0] for camera in episode.cameras}
    env_state = None if episode.env_state is None else episode.env_state[t]
    return {"qpos": episode.qpos[t], "env_state": env_state, "images": images}
