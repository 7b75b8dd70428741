"""How good is an agent: seeded rollouts -> success with its interval, every stage, latency -> results.json.

Three families of seeds never mix: demonstrations are recorded with seeds from 0 upward, `VALIDATION_SEEDS` choose
checkpoints and settings, `TEST_SEEDS` are for the number that is reported. Finished episodes are appended to an
`EpisodeLog`, so an interrupted evaluation goes on where it stopped.
"""

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from tqdm import tqdm

from act.evaluation.rates import PRELIMINARY_BELOW, Rate
from act.files import whole_file
from act.provenance import git_commit, provenance
from act.runtime.agents import ChunkPolicy, remembered
from act.runtime.envs import Envs
from act.runtime.rollout import rollout
from act.types import CONTROL_TIMESTEP, Agent, EnvSpec, Observation, Observer, RolloutResult


@dataclass(frozen=True)
class Latency:
    """How long policy queries took [ms], against the control period; `batch_size` observations per query at most."""

    queries: int
    batch_size: int
    p50_ms: float
    p99_ms: float
    within_deadline: float  # share of the queries, 0..1
    deadline_ms: float = 1e3 * CONTROL_TIMESTEP

    @classmethod
    def of(cls, seconds: Sequence[float], batch_size: int) -> "Latency | None":
        if not seconds:
            return None
        ms = 1e3 * np.asarray(seconds)
        p50, p99 = (float(value) for value in np.percentile(ms, (50, 99)))
        return cls(len(ms), batch_size, p50, p99, float(np.mean(ms <= 1e3 * CONTROL_TIMESTEP)))


@dataclass(frozen=True)
class Summary:
    """What an evaluation came to. `stages[r]` is the share of rollouts that reached reward r + 1 or more."""

    task: str
    objects: tuple[str, ...]  # in the order of env_state
    n: int
    seeds: list[int]
    success: Rate
    strict_success: Rate
    stages: list[Rate]
    mean_return: float
    mean_length: float  # [control steps]
    clipped: float  # mean control steps per rollout with a target outside the joint limits
    latency: Latency | None  # of the batched queries of the rollouts
    episodes: list[RolloutResult]
    rollout_commits: list[str]  # of the trees that simulated: rollouts that were there are not done again
    wall_time_s: float
    rollouts_per_min: float

    @property
    def preliminary(self) -> bool:
        return self.n < PRELIMINARY_BELOW

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "preliminary": self.preliminary}

    def __str__(self) -> str:
        return f"{self.task}: success {self.success}, strict {self.strict_success}" + (
            f" (preliminary: n < {PRELIMINARY_BELOW})" if self.preliminary else ""
        )


@dataclass(frozen=True)
class LoggedEpisode:
    """One finished episode, the queries [s] and wall time [s] that passed since the one before it, and the commit."""

    result: RolloutResult
    latencies: list[float]
    wall_time: float
    git: str = ""


class EpisodeLog:
    """Finished episodes by seed, in `path` (JSON lines; in memory without one).

    The first line of the file holds `settings`, each following one an episode; a line cut short by a crash is dropped.
    A log of other settings is set aside as episodes.before.jsonl (before2, ...), and a new one begun.
    """

    def __init__(self, path: Path | None = None, settings: Mapping[str, Any] | None = None):
        self.path = path
        self.episodes: dict[int, LoggedEpisode] = {}
        if path is None:
            return
        header = json.dumps({"settings": settings or {}}, sort_keys=True)
        if path.exists() and not self._read(path, header):
            names = (path.with_suffix(f".before{number}.jsonl") for number in ("", *range(2, 1000)))
            path.replace(next(name for name in names if not name.exists()))
        lines = [header, *(_to_line(episode) for episode in self.episodes.values())]
        with whole_file(path) as temporary:
            temporary.write_text("\n".join(lines) + "\n")

    def __contains__(self, seed: int) -> bool:
        return seed in self.episodes

    def append(self, episode: LoggedEpisode) -> None:
        """Keeps the episode; it is on the disk when this returns."""
        self.episodes[episode.result.seed] = episode
        if self.path is not None:
            with self.path.open("a") as file:
                file.write(_to_line(episode) + "\n")
                file.flush()
                os.fsync(file.fileno())

    def _read(self, path: Path, header: str) -> bool:
        """Whether the file is of these settings."""
        first, *lines = path.read_text().split("\n")
        if first != header:
            return False
        for line in lines:
            try:
                fields = json.loads(line)
            except json.JSONDecodeError:
                continue
            result = RolloutResult(**fields["result"])
            git = fields.get("git", "")
            self.episodes[result.seed] = LoggedEpisode(result, fields["latencies"], fields["wall_time"], git)
        return True


class ProgressBar(Observer):
    """A bar over the control steps of all rollouts: time left, and the success rate so far."""

    def __init__(self, n: int, episode_len: int, finished: Sequence[RolloutResult] = (), show: bool = True):
        self.episode_len = episode_len
        self.n, self.done = n, len(finished)
        self.successes = sum(result.success for result in finished)
        shape = "{desc} {percentage:3.0f} %|{bar}| {elapsed}, {remaining} left{postfix}"
        self.bar = tqdm(
            total=n * episode_len,
            initial=self.done * episode_len,
            bar_format=shape,
            mininterval=0.2 if sys.stderr.isatty() else 10,  # [s]; a log file needs fewer lines
            disable=not show,
        )
        self._tell()

    def needs_images(self) -> bool:
        return False

    def on_reset(self, index: int, seed: int, obs: Any, info: Any) -> None:
        pass

    def on_step(self, index: int, t: int, obs: Any, action: Any, next_obs: Any, reward: float, info: Any) -> None:
        self.bar.update(1)

    def on_end(self, index: int, result: RolloutResult) -> None:
        self.bar.update(self.episode_len - result.length)
        self.done += 1
        self.successes += result.success
        self._tell()

    def close(self) -> None:
        self.bar.close()

    def _tell(self) -> None:
        self.bar.set_description(f"rollouts {self.done}/{self.n}", refresh=False)
        if self.done:
            self.bar.set_postfix_str(f"success {100 * self.successes / self.done:.0f} %", refresh=False)


def evaluate(
    envs: Envs,
    agent: Agent,
    seeds: Sequence[int],
    observers: Sequence[Observer] = (),
    progress: bool = True,
    log: EpisodeLog | None = None,
) -> Summary:
    """One rollout per seed, except for seeds already in `log`. `agent.latencies` [s] is used if present."""
    if not seeds:
        raise ValueError("nothing to evaluate: the list of seeds is empty, give at least one")
    log = log or EpisodeLog()
    finished = [log.episodes[seed].result for seed in seeds if seed in log]
    remaining = [seed for seed in seeds if seed not in log]
    bar = ProgressBar(len(seeds), envs.env_spec.episode_len, finished, progress and bool(remaining))
    latencies: list[float] = getattr(agent, "latencies", [])
    told, since, git = len(latencies), time.perf_counter(), git_commit() or ""
    try:
        for result in rollout(envs, agent, (*observers, bar), seeds=remaining) if remaining else ():
            now = time.perf_counter()
            log.append(LoggedEpisode(result, [round(s, 6) for s in latencies[told:]], now - since, git))
            told, since = len(latencies), now
    finally:
        bar.close()
    return summarize(envs.env_spec, [log.episodes[seed] for seed in seeds], envs.num_envs)


def summarize(env_spec: EnvSpec, logged: Sequence[LoggedEpisode], batch_size: int = 1) -> Summary:
    """Rates, means and latency of finished episodes; `batch_size` only labels the latency."""
    results = [episode.result for episode in logged]
    wall_time = sum(episode.wall_time for episode in logged)
    return Summary(
        task=env_spec.task_name,
        objects=env_spec.objects,
        n=len(results),
        seeds=[result.seed for result in results],
        success=Rate.of("success", (result.success for result in results)),
        strict_success=Rate.of("strict success", (result.strict_success for result in results)),
        stages=[
            Rate.of(name, (result.max_reward >= reward for result in results))
            for reward, name in enumerate(env_spec.stage_names, start=1)
        ],
        mean_return=fmean(result.episode_return for result in results),
        mean_length=fmean(result.length for result in results),
        clipped=fmean(result.clipped for result in results),
        latency=Latency.of([s for episode in logged for s in episode.latencies], min(batch_size, len(results))),
        episodes=results,
        rollout_commits=sorted({episode.git for episode in logged if episode.git}),
        wall_time_s=wall_time,
        rollouts_per_min=60 * len(results) / wall_time if wall_time > 0 else 0.0,
    )


def query_latency(policy: ChunkPolicy, obs: Observation, repeats: int = 50) -> Latency | None:
    """Time of a query with ONE observation, as beside one robot; the first three are not counted."""
    seconds = []
    for _ in range(3 + repeats):
        start = time.perf_counter()
        policy.predict_chunk([remembered(policy, [obs]) * policy.n_obs_steps])
        seconds.append(time.perf_counter() - start)
    return Latency.of(seconds[3:], 1)


def write_results(
    path: Path, summary: Summary, settings: Mapping[str, Any], single_query: Latency | None = None
) -> dict[str, Any]:
    """Writes results.json whole or not at all, and returns what it holds.

    `settings` say what was evaluated: run, policy, step, backbone_weights, mode, n_action_steps, ensemble_m, ...;
    `single_query` is the latency of one observation at a time, which is what a robot would see.
    """
    results = {
        **summary.to_json(),
        "single_query": asdict(single_query) if single_query else None,
        "settings": dict(settings),
        "provenance": provenance(),
    }
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(results, indent=1, allow_nan=False) + "\n")
    return results


def _to_line(episode: LoggedEpisode) -> str:
    return json.dumps(asdict(episode), allow_nan=False)
