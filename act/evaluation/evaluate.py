"""Measures how good an agent is: seeded rollouts -> success with its interval, every stage, latency -> results.json.

Three families of seeds never mix (act/seeds.py): demonstrations are recorded with seeds from 0 upward, validation seeds
choose checkpoints and settings, test seeds are for the number that is reported. Finished episodes are appended to an
`EpisodeLog`, so an interrupted evaluation continues where it stopped.
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
from act.files import full_disk_names, read_text, whole_file
from act.provenance import git_commit, provenance
from act.runtime.agents import ChunkPolicy, remembered
from act.runtime.envs import Envs
from act.runtime.rollout import rollout
from act.types import CONTROL_TIMESTEP, Agent, EnvSpec, Observation, Observer, RolloutResult


@dataclass(frozen=True)
class Latency:
    """Duration of policy queries [ms] beside the control period; a query answers at most `batch_size` observations."""

    queries: int
    batch_size: int
    p50_ms: float
    p99_ms: float
    within_deadline: float  # fraction of the queries, 0..1
    deadline_ms: float = 1e3 * CONTROL_TIMESTEP

    @classmethod
    def of(cls, seconds: Sequence[float], batch_size: int) -> "Latency | None":
        """The latency of queries that took so many `seconds`; None without any query."""
        if not seconds:
            return None
        ms = 1e3 * np.asarray(seconds)
        p50, p99 = (float(value) for value in np.percentile(ms, (50, 99)))
        return cls(len(ms), batch_size, p50, p99, float(np.mean(ms <= 1e3 * CONTROL_TIMESTEP)))


@dataclass(frozen=True)
class Summary:
    """Result of an evaluation. `stages[r]` is the fraction of rollouts that reached reward r + 1 or more."""

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
    latency: Latency | None  # of the batched queries during the rollouts
    episodes: list[RolloutResult]
    rollout_commits: list[str]  # git commits that ran the rollouts; several when an evaluation was continued
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
    """One finished episode, and what was measured since the episode before it ended.

    latencies: duration of every query [s]. wall_time: [s]. git: commit that ran the rollout, "" if unknown.
    """

    result: RolloutResult
    latencies: list[float]
    wall_time: float
    git: str = ""


class EpisodeLog:
    """Finished episodes by seed, kept in the file `path` (JSON lines), or only in memory when `path` is None.

    The first line of the file holds `settings`, each following line an episode; a line that a crash has cut off is
    dropped. When the file holds other settings, it is renamed to episodes.before.jsonl (before2, ...) and a new one
    begins.

    Example:
        log = EpisodeLog(folder / "episodes.jsonl", {"weights": digest, "mode": "chunk"})
        evaluate(envs, agent, TEST_SEEDS[:50], log=log)      # runs only the seeds that the file lacks
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
        """Adds the episode; it is on the disk when this returns."""
        self.episodes[episode.result.seed] = episode
        if self.path is not None:
            with full_disk_names(self.path), self.path.open("a") as file:
                file.write(_to_line(episode) + "\n")
                file.flush()
                os.fsync(file.fileno())

    def _read(self, path: Path, header: str) -> bool:
        """Reads the episodes; False when the file holds other settings than `header`."""
        first, *lines = read_text(path).split("\n")
        if first != header:
            return False
        for line in lines:
            try:
                fields = json.loads(line)
                result = RolloutResult(**fields["result"])
                episode = LoggedEpisode(result, fields["latencies"], fields["wall_time"], fields.get("git", ""))
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
                continue  # cut off by a crash, or changed; the episode is run again
            self.episodes[result.seed] = episode
        return True


class ProgressBar(Observer):
    """A progress bar over the control steps of all rollouts, with the time left and the success rate so far."""

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
        self._show_success()

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
        self._show_success()

    def close(self) -> None:
        self.bar.close()

    def _show_success(self) -> None:
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
    """Runs one rollout per seed, except for seeds that `log` already holds, and summarizes all of `seeds`.

    Args:
        envs: waves of `envs.num_envs` rollouts run in lockstep.
        agent: its list `latencies` [s] is read if it has one.
        seeds: one per rollout; results are in this order. Raises ValueError when there is none.
        observers: watch every rollout that is run, e.g. a VideoWriter.
        log: where finished episodes are kept, and read when an evaluation continues.

    Example:
        with ParallelEnvs(partial(sim_envs.make, "transfer_cube"), num_envs=8, num_workers=2) as envs:
            print(evaluate(envs, PolicyAgent(policy), VALIDATION_SEEDS[:50]).success)
    """
    if not seeds:
        raise ValueError("nothing to evaluate: the list of seeds is empty; give at least one seed")
    log = log or EpisodeLog()
    finished = [log.episodes[seed].result for seed in seeds if seed in log]
    remaining = [seed for seed in seeds if seed not in log]
    bar = ProgressBar(len(seeds), envs.env_spec.episode_len, finished, progress and bool(remaining))
    latencies: list[float] = getattr(agent, "latencies", [])
    logged, since, git = len(latencies), time.perf_counter(), git_commit() or ""
    try:
        for result in rollout(envs, agent, (*observers, bar), seeds=remaining) if remaining else ():
            now = time.perf_counter()
            log.append(LoggedEpisode(result, [round(s, 6) for s in latencies[logged:]], now - since, git))
            logged, since = len(latencies), now
    finally:
        bar.close()
    return summarize(envs.env_spec, [log.episodes[seed] for seed in seeds], envs.num_envs)


def summarize(env_spec: EnvSpec, logged: Sequence[LoggedEpisode], batch_size: int = 1) -> Summary:
    """Rates, means and latency of finished episodes. batch_size: observations per query, to label the latency."""
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
    """Latency of queries with ONE observation, as on one robot; three queries before the `repeats` are not counted."""
    seconds = []
    for _ in range(3 + repeats):
        start = time.perf_counter()
        policy.predict_chunk([remembered(policy, [obs]) * policy.n_obs_steps])
        seconds.append(time.perf_counter() - start)
    return Latency.of(seconds[3:], 1)


def write_results(
    path: Path, summary: Summary, settings: Mapping[str, Any], single_query: Latency | None = None
) -> dict[str, Any]:
    """Writes results.json, whole or not at all, and returns its content.

    settings: what was evaluated: run, policy, step, backbone_weights, mode, n_action_steps, ensemble_m, ...
    single_query: latency of one observation at a time, which is what a robot would see.
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
