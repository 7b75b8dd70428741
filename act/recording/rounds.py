"""Rounds of DAgger as episodes: a policy drives, an expert or a simulated operator corrects it, one episode per seed.

An interrupted round continues from its files. Who drives when is decided by act/runtime/dagger.py.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from tqdm import tqdm

from act.data.editing.copying import check_not_edited
from act.data.episodes import episode_index, episode_path, find_episodes, read_episode
from act.data.labels import count_labels
from act.recording.attempts import MakeEnv, Recording
from act.recording.recorder import EpisodeRecorder, keep_all
from act.run_folder import RunFolder
from act.runtime.agents import ChunkPolicy, PolicyAgent
from act.runtime.dagger import BetaSchedule, GatedAgent, MixtureAgent
from act.runtime.envs import Envs, ParallelEnvs
from act.runtime.operators import DistanceToExpert, EnsembleDisagreement, SimulatedOperator
from act.runtime.rollout import rollout
from act.seeds import DEMONSTRATION_SEEDS, SEEDS_PER_ROUND
from act.types import Agent, Observation, RolloutResult, task_of

ENVS_PER_WORKER = 8  # at most; all of them share one query of the policy
Rows = Callable[[int, int, Observation, np.ndarray], dict[str, Any]]  # see EpisodeRecorder


# ------------------------------------------------------------------------------------------------------------- options
@dataclass(frozen=True)
class RoundOptions:
    """A policy drives and is corrected: by the expert (dagger), a simulated operator (hg_dagger) or you (human)."""

    policy: tuple[Path, ...] = ()
    """Run folder of the policy that drives; it also decides the cameras and their size. Additional runs are used only
    to measure disagreement (--gate ensemble)."""
    round: int = 1
    """Number of the round: 1, 2, ...; it decides the seeds, the expert's share, and the default of --dataset_dir."""
    beta_schedule: str = "first"
    """Probability that the expert drives a chunk, by rounds: first (1, then 0), linear:N (0 from round N on), power:P,
    constant:P."""
    label_every: int = 20
    """Every Nth control step is labelled with a whole chunk of the expert (0: no chunks)."""
    to_the_end: bool = False
    """Once the expert has begun to drive, they drive until the episode ends."""
    n_action_steps: int | None = None
    """Control steps between two queries of the policy, as in eval.py."""
    ensemble_m: float | None = None
    """Execute the policy with temporal ensembling, as in eval.py (0.01 in the paper); dagger can do so only in rounds
    in which the expert's share is 0."""
    gate: Literal["distance", "ensemble"] = "distance"
    """Intervention score that the simulated operator watches: distance of the policy's action to the expert's, or
    disagreement among several policies."""
    take_over: float = 0.1
    """Intervention score [rad] above which the simulated operator takes over, 0.3 s later."""
    hand_back: float = 0.05
    """Intervention score [rad] below which the simulated operator hands back, after 0.5 s."""

    def check(self, agent: str, recording: Recording, num_episodes: int) -> None:
        """Raises ValueError for a policy or a round that cannot be; it names the flag and what would work."""
        if agent in ("dagger", "hg_dagger") and not self.policy:
            raise ValueError(f"--agent {agent} needs --policy RUN, the folder of a trained policy")
        if len(self.policy) > 1 and (agent != "hg_dagger" or self.gate != "ensemble"):
            raise ValueError(
                f"--policy {' '.join(map(str, self.policy))}: more than one run has an effect only with "
                "--agent hg_dagger --gate ensemble; leave the others out"
            )
        if self.policy and num_episodes > SEEDS_PER_ROUND:
            raise ValueError(f"--num_episodes {num_episodes}: a round has at most {SEEDS_PER_ROUND}")
        if self.round < 1 or self.label_every < 0:
            raise ValueError(f"--round {self.round} --label_every {self.label_every}: must be at least 1 and 0")
        if self.policy and self.first_seed(recording) + SEEDS_PER_ROUND > DEMONSTRATION_SEEDS.stop:
            raise ValueError(
                f"--round {self.round} --seed {recording.seed}: every round takes {SEEDS_PER_ROUND} seeds of "
                f"the {DEMONSTRATION_SEEDS.stop} that there are; give smaller numbers"
            )
        for run in self.policy:
            trained = RunFolder(run).task_name()
            if task_of(trained) != recording.task:
                raise ValueError(f"{run} was trained on {trained}, not on {recording.task}: give --task_name {trained}")

    def first_seed(self, recording: Recording) -> int:
        """Rounds take their seeds from ranges of their own."""
        return recording.seed + SEEDS_PER_ROUND * self.round

    def digests(self) -> list[str]:
        """Digests of the weights of all policies."""
        return [RunFolder(run).digest() for run in self.policy]


@dataclass(frozen=True)
class Round:
    """One round: whose corrections, of which policies, how many episodes."""

    agent: str  # "dagger" or "hg_dagger"
    recording: Recording
    options: RoundOptions
    num_episodes: int

    @property
    def seeds(self) -> range:
        first = self.options.first_seed(self.recording)
        return range(first, first + self.num_episodes)

    @property
    def label_every(self) -> int:
        """As `sim_envs.make_with_expert` takes it; an operator labels by driving, never by chunks."""
        return self.options.label_every if self.agent == "dagger" else 0

    def make_agent(self, policies: Sequence[ChunkPolicy], seeds: Sequence[int]) -> MixtureAgent | GatedAgent:
        """The agent for episodes with these seeds, in this order; ValueError for options it cannot have."""
        options = self.options
        execution = options.n_action_steps, options.ensemble_m
        if self.agent == "dagger":
            beta = BetaSchedule.parse(options.beta_schedule)(options.round)
            return MixtureAgent(PolicyAgent(policies[0], *execution), beta, seeds, options.to_the_end)
        score = DistanceToExpert() if options.gate == "distance" else EnsembleDisagreement(policies)
        return GatedAgent(policies[0], SimulatedOperator(score, options.take_over, options.hand_back), *execution)

    def to_json(self) -> dict[str, Any]:
        """The attribute `recording` of a file: what decides the content of a round, policies by their weights."""
        of_agent = {
            "dagger": ("beta_schedule", "label_every", "to_the_end"),
            "hg_dagger": ("gate", "take_over", "hand_back"),
        }
        values = {"agent": self.agent, **dataclasses.asdict(self.recording), **dataclasses.asdict(self.options)}
        of_both = ("agent", "task_name", "seed", "round", "n_action_steps", "ensemble_m")
        of_images = ("quality", "raw", "jpeg_quality")
        names = of_both + of_images + of_agent[self.agent]
        return {**{name: values[name] for name in names}, "policy": self.options.digests()}


# -------------------------------------------------------------------------------------------- what a control step adds
class Intervening(Protocol):
    """An agent that knows of its last actions whether they were the expert's or the operator's."""

    @property
    def intervention(self) -> np.ndarray: ...  # (B,) bool


def dagger_rows(agent: Intervening) -> Rows:
    """What EpisodeRecorder writes for DAgger: the expert's action as /action, and the expert's chunks.

    No chunk is written from where the expert drives, because their actions are the chunk.
    """

    def rows(index: int, t: int, obs: Observation, action: np.ndarray) -> dict[str, Any]:
        drives = agent.intervention[index]
        values = {"action": obs["expert_action"], "executed_action": action, "intervention": drives}
        labelled = "expert_chunk" in obs and not drives
        return values | ({"action_chunk": obs["expert_chunk"], "action_chunk_t": t} if labelled else {})

    return rows


def gated_rows(agent: Intervening) -> Rows:
    """What EpisodeRecorder writes for human-gated DAgger: what was executed, and who drove."""

    def rows(index: int, t: int, obs: Observation, action: np.ndarray) -> dict[str, Any]:
        return {"executed_action": action, "intervention": agent.intervention[index]}

    return rows


# ----------------------------------------------------------------------------------------------------------- recording
def record(round_: Round, policies: Sequence[ChunkPolicy], make_env: MakeEnv, directory: Path, workers: int) -> str:
    """Records a round, from wherever it stands; returns a sentence about it.

    Args:
        policies: the first one drives.
        make_env: makes an environment whose observations hold the expert's actions (act/runtime/dagger.py).
        workers: processes that simulate; the policies stay in this one.

    Raises ValueError for options that do not fit together, or when the directory holds another round.

    Example:
        round_ = Round("dagger", Recording(), RoundOptions((Path("runs/weak"),), round=2), num_episodes=10)
        make_env = partial(sim_envs.make_with_expert, "transfer_cube", chunk_size=60, label_every=20, cameras=())
        print(record(round_, [load_policy("runs/weak")], make_env, Path("data/round2"), workers=4))
    """
    recording, seeds = round_.recording, round_.seeds
    agent = round_.make_agent(policies, missing_seeds(directory, seeds))
    rows = gated_rows(agent) if isinstance(agent, GatedAgent) else dagger_rows(agent)
    attrs = {"source": round_.agent, "recording": round_.to_json()}
    encoding = {"compress": not recording.raw, "jpeg_quality": recording.jpeg_quality}
    per_worker = 1 if recording.raw else ENVS_PER_WORKER  # a raw episode of four cameras is 1.5 GB until it is written
    with ParallelEnvs(make_env, min(len(seeds), per_worker * workers), workers) as envs:
        paths = record_round(envs, agent, rows, directory, seeds, attrs, **encoding)
    episodes = [read_episode(path) for path in paths]
    successes = sum(episode.attrs["success"] for episode in episodes)
    labels = sum(count_labels(episode) for episode in episodes)
    return f"{len(paths)} episodes in {directory}, {successes} successful; the expert gave {labels} actions"


def record_round(
    envs: Envs,
    agent: Agent,
    rows: Rows,
    directory: Path,
    seeds: Sequence[int],
    attrs: Mapping[str, Any],
    **encoding: Any,
) -> list[Path]:
    """Records one episode per seed, successful or not: seeds[i] becomes episode_<i>.hdf5. Existing ones are kept.

    `encoding` (compress, jpeg_quality) goes to the recorder. Raises ValueError when the directory holds episodes whose
    attribute `recording` is not that of `attrs`, or that have other numbers.
    """
    _check_existing(directory, seeds, attrs["recording"])
    index_of = {seed: index for index, seed in enumerate(seeds)}

    def path_of(result: RolloutResult) -> Path:
        return episode_path(directory, index_of[result.seed])

    recorder = EpisodeRecorder(path_of, envs.env_spec, keep=keep_all, attrs=attrs, rows=rows, **encoding)
    missing = missing_seeds(directory, seeds)
    for _ in tqdm(rollout(envs, agent, [recorder], seeds=missing), total=len(missing), unit="episode"):
        pass
    return [episode_path(directory, index) for index in range(len(seeds))]


def _check_existing(directory: Path, seeds: Sequence[int], recording: Mapping[str, Any]) -> None:
    for path in find_episodes(directory) if directory.is_dir() else []:
        attrs, index = read_episode(path).attrs, episode_index(path)
        check_not_edited(path, attrs)
        if attrs.get("recording") != recording:
            difference = f"{attrs.get('recording')}, not {recording}"
            raise ValueError(f"{path} was recorded with {difference}; give another --dataset_dir")
        if index < len(seeds) and attrs.get("seed") != seeds[index]:
            raise ValueError(
                f"{path} has seed {attrs.get('seed')}, not {seeds[index]}: it was renumbered, and a round continues "
                "only with its own numbers; give another --dataset_dir"
            )


def missing_seeds(directory: Path, seeds: Sequence[int]) -> list[int]:
    """Seeds of a round whose episodes are still to be recorded, in order."""
    return [seed for index, seed in enumerate(seeds) if not episode_path(directory, index).exists()]
