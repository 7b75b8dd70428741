"""Rollouts on a cluster: the policy travels there, waves of episodes come back."""

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import gymnasium
from tqdm import tqdm

from act.cluster.calls import Calls, core_counts, gpu_share
from act.evaluation.evaluate import EpisodeLog, LoggedEpisode, evaluate
from act.run_folder import fingerprint
from act.runtime.agents import PolicyAgent
from act.runtime.envs import ParallelEnvs
from act.serving.loading import open_policy
from act.serving.onnx_policy import FILES, about_path


class Waves:
    """Rollouts of the policy in `run`, a wave of at most `num_envs` at a time on `num_workers` cores of a machine.

    `make` makes an environment; it must be importable by name. `device` and `engine` as in eval.py. ValueError when the
    run has other weights by now than `weights`, their fingerprint.
    """

    def __init__(
        self,
        run: Path,
        make: Callable[[], gymnasium.Env],
        num_envs: int,
        num_workers: int,
        weights: str,
        device: str = "cpu",
        engine: str = "torch",
    ):
        device = device.partition(":")[0]
        if device == "cuda" and not gpu_share(1):
            raise ValueError("the policy runs on a GPU here, but the cluster has none; give --device cpu")
        num_cpus = min(num_workers, *core_counts())
        evaluator = partial(_Evaluator, _files(run, engine, weights), make, num_envs, num_cpus, device, engine)
        self.num_envs, self._calls = num_envs, Calls(evaluator, num_cpus, float(device == "cuda"))

    def fill(self, log: EpisodeLog, seeds: Sequence[int], n_action_steps: int, ensemble_m: float | None) -> None:
        """Adds the rollouts of all `seeds` that `log` lacks, in the waves that `rollout` would make of them.

        The wall time of an episode is what passed here since the one before.
        """
        remaining = [seed for seed in seeds if seed not in log]
        for start in range(0, len(remaining), self.num_envs):
            wave = remaining[start : start + self.num_envs]
            self._calls.submit(f"rollouts of seeds {wave[0]} to {wave[-1]}", wave, n_action_steps, ensemble_m)
        since = time.perf_counter()
        try:
            with tqdm(total=len(seeds), initial=len(seeds) - len(remaining), unit="rollout", mininterval=1) as bar:
                while self._calls:
                    for episode in self._calls.next_answer():
                        now = time.perf_counter()
                        log.append(replace(episode, wall_time=now - since))
                        since = now
                        bar.update()
        finally:
            self._calls.cancel()
            self._calls.wait()


def _files(run: Path, engine: str, weights: str) -> dict[str, bytes]:
    """What a machine needs to load the policy of a run, which may be training."""
    paths = [run / "policy.json", run / "policy.safetensors"]
    if engine != "torch":
        paths = [run / FILES[engine], about_path(run / FILES[engine])]
    files = {path.name: path.read_bytes() for path in paths}
    if weights != fingerprint(run / "policy.safetensors") or files != {path.name: path.read_bytes() for path in paths}:
        raise ValueError(f"{run} has other weights now than when it was opened: it is trained meanwhile; try again")
    return files


class _Evaluator:
    """Runs waves in a process of the cluster: the policy here, the simulator, which must not meet torch, in others."""

    def __init__(
        self,
        files: Mapping[str, bytes],
        make: Callable[[], gymnasium.Env],
        num_envs: int,
        num_cpus: int,
        device: str,
        engine: str,
    ):
        with tempfile.TemporaryDirectory() as folder:
            for name, content in files.items():
                (Path(folder) / name).write_bytes(content)
            self._policy = open_policy(folder, engine, device, num_cpus)
        self._envs = ParallelEnvs(make, num_envs, num_cpus)

    def __call__(self, seeds: Sequence[int], n_action_steps: int, ensemble_m: float | None) -> list[LoggedEpisode]:
        log, agent = EpisodeLog(), PolicyAgent(self._policy, n_action_steps, ensemble_m)
        evaluate(self._envs, agent, seeds, progress=False, log=log)
        return [log.episodes[seed] for seed in seeds]
