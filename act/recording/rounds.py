"""Rounds of DAgger as episodes: what is written at every control step, one episode per seed, resumed from the files."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from tqdm import tqdm

from act.data.episodes import episode_index, episode_path, find_episodes, read_episode
from act.recording.recorder import EpisodeRecorder
from act.runtime.envs import Envs
from act.runtime.rollout import rollout
from act.types import Agent, Observation, RolloutResult


class Intervening(Protocol):
    """An agent of whose last actions is known whether they were the expert's."""

    @property
    def intervention(self) -> np.ndarray: ...  # (B,) bool


def dagger_rows(agent: Intervening) -> Callable[[int, int, Observation, np.ndarray], dict[str, Any]]:
    """What EpisodeRecorder writes for DAgger: the expert's action as /action, and his chunks.

    Not those from where he drives himself: there his actions are the chunk.
    """

    def rows(index: int, t: int, obs: Observation, action: np.ndarray) -> dict[str, Any]:
        drives = agent.intervention[index]
        values = {"action": obs["expert_action"], "executed_action": action, "intervention": drives}
        given = "expert_chunk" in obs and not drives
        return values | ({"action_chunk": obs["expert_chunk"], "action_chunk_t": t} if given else {})

    return rows


def gated_rows(agent: Intervening) -> Callable[[int, int, Observation, np.ndarray], dict[str, Any]]:
    """The same for human-gated DAgger: what was done, and who did it. Nobody labels what the policy does."""

    def rows(index: int, t: int, obs: Observation, action: np.ndarray) -> dict[str, Any]:
        return {"executed_action": action, "intervention": agent.intervention[index]}

    return rows


def record_round(
    envs: Envs,
    agent: Agent,
    rows: Callable[[int, int, Observation, np.ndarray], dict[str, Any]],
    directory: Path,
    seeds: Sequence[int],
    attrs: Mapping[str, Any],
    **form: Any,
) -> list[Path]:
    """One episode per seed, successful or not: seeds[i] becomes episode_<i>.hdf5. What is there already is kept.

    `form` (compress, jpeg_quality) goes to the recorder.
    ValueError when the directory holds episodes of which `attrs` ("source", "recording") say something else, or that
    are numbered otherwise.
    """
    index_of = {seed: index for index, seed in enumerate(seeds)}
    for path in find_episodes(directory) if directory.is_dir() else []:
        theirs, index = read_episode(path).attrs, episode_index(path)
        if theirs.get("recording") != attrs["recording"]:
            told = f"{theirs.get('recording')}, not {attrs['recording']}"
            raise ValueError(f"{path} was recorded with {told}; give another --dataset_dir")
        if index < len(seeds) and theirs.get("seed") != seeds[index]:
            told = f"seed {theirs.get('seed')}, not {seeds[index]}: it was renumbered"
            raise ValueError(
                f"{path} has {told}; a round goes on only with its own numbers, give another --dataset_dir"
            )

    def path_of(result: RolloutResult) -> Path:
        return episode_path(directory, index_of[result.seed])

    recorder = EpisodeRecorder(path_of, envs.env_spec, keep=lambda _: True, attrs=attrs, rows=rows, **form)
    missing = missing_seeds(directory, seeds)
    for _ in tqdm(rollout(envs, agent, [recorder], seeds=missing), total=len(missing), unit="episode"):
        pass
    return [episode_path(directory, index) for index in range(len(seeds))]


def missing_seeds(directory: Path, seeds: Sequence[int]) -> list[int]:
    """Those of a round's episodes that are still to be recorded, in order."""
    return [seed for index, seed in enumerate(seeds) if not episode_path(directory, index).exists()]
