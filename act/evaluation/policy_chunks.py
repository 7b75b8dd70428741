"""Asks a policy about recorded observations, so that its chunks can be seen beside what was done."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from act.data.episodes import Episode
from act.runtime.agents import DescribedPolicy
from act.types import Observation, camera_named

QUERIES = 8  # per episode, evenly spaced
Chunks = Mapping[int, np.ndarray]  # control step of the query -> actions (K, A)


def load_run(run: Path) -> DescribedPolicy:
    """Returns the policy of a run. Raises ValueError for a folder without weights."""
    from act.policies.base.storage import load_policy  # here, because pages about episodes alone need no torch

    return load_policy(run)


def ask(policy: DescribedPolicy, episode: Episode, queries: int = QUERIES) -> dict[int, np.ndarray]:
    """Returns what the policy would do at evenly spaced control steps of an episode, without acting.

    Raises ValueError when the episode lacks what the policy looks at.
    """
    check(policy, episode)
    last = max(0, len(episode) - policy.chunk_size)
    steps = sorted({round(t) for t in np.linspace(0, last, queries)})
    histories = [[observation(policy, episode, t + k) for k in range(1 - policy.n_obs_steps, 1)] for t in steps]
    return {t: policy.predict_chunk([history])[0] for t, history in zip(steps, histories, strict=True)}


def check(policy: DescribedPolicy, episode: Episode) -> None:
    """Raises ValueError, which names the difference, when a policy cannot be asked about an episode."""
    spec = policy.spec
    poses = 0 if episode.env_state is None else episode.env_state.shape[1]
    sizes: Sequence[tuple[str, int, int]] = (
        ("joint positions", spec.qpos_dim, episode.qpos.shape[1]),
        ("actions", spec.action_dim, episode.action.shape[1]),
        ("object poses", spec.env_state_dim, poses if spec.env_state_dim else 0),
    )
    for name, needed, found in sizes:
        if needed != found:
            raise ValueError(f"{episode.path}: {found} {name}, but the policy has {needed}; leave --chunks out")
    missing = [camera for camera in spec.cameras if camera_named(camera, episode.cameras) is None]
    if missing:
        raise ValueError(f"{episode.path} has no camera {missing[0]!r}, which the policy looks at; leave --chunks out")


def observation(policy: DescribedPolicy, episode: Episode, t: int) -> Observation:
    """Returns the observation of control step t, or of the first one before the start, as in a rollout."""
    t, spec = max(0, t), policy.spec
    obs: dict[str, Any] = {"qpos": episode.qpos[t]}
    if spec.env_state_dim and episode.env_state is not None:
        obs["env_state"] = episode.env_state[t]
    if spec.cameras:
        obs["images"] = {c: episode.read_images(c, t, t + 1, spec.image_size)[0] for c in spec.cameras}
    return obs
