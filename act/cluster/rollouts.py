"""Rollouts on a cluster: the files of the policy are sent to its machines, which answer with finished episodes."""

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import gymnasium
from tqdm import tqdm

from act.cluster.calls import Calls, core_counts, gpu_share
from act.evaluation.evaluate import EpisodeLog, LoggedEpisode, evaluate
from act.evaluation.execution import Execution
from act.run_folder import RunFolder
from act.runtime.envs import ParallelEnvs
from act.serving.loading import open_policy
from act.serving.onnx_policy import FILES, about_path


@dataclass(frozen=True)
class PolicyFiles:
    """A policy that can be sent to another machine: the content of its files by name, and what executes it.

    device: "cpu" or "cuda"; engine: "torch", "onnx" or "int8".
    """

    content: Mapping[str, bytes]
    device: str
    engine: str

    @classmethod
    def read(cls, run: Path, weights: str, device: str = "cpu", engine: str = "torch") -> "PolicyFiles":
        """The files of a run, which may be training: ValueError when its weights have another digest than `weights`."""
        folder = RunFolder(run)
        paths = [run / "policy.json", folder.weights]
        if engine != "torch":
            paths = [run / FILES[engine], about_path(run / FILES[engine])]
        content = {path.name: path.read_bytes() for path in paths}
        if weights != folder.digest() or content != {path.name: path.read_bytes() for path in paths}:
            raise ValueError(f"the weights of {run} have changed since they were loaded: a training runs; try again")
        return cls(content, device.partition(":")[0], engine)


class Waves:
    """Rollouts of a policy, at most `num_envs` at a time, each such wave on `num_workers` cores of one machine.

    make_env: makes an environment; picklable, and importable by name on every machine. Raises ValueError when the
    policy computes on a GPU and the cluster has none.
    """

    def __init__(self, policy: PolicyFiles, make_env: Callable[[], gymnasium.Env], num_envs: int, num_workers: int):
        on_gpu = policy.device == "cuda"
        if on_gpu and not gpu_share(1):
            raise ValueError("the policy runs on a GPU here, but the cluster has none; give --device cpu")
        num_cpus = min(num_workers, *core_counts())
        evaluator = partial(_Evaluator, policy, make_env, num_envs, num_cpus)
        self.num_envs = num_envs
        self._calls = Calls(evaluator, num_cpus, float(on_gpu))

    def fill(self, log: EpisodeLog, seeds: Sequence[int], execution: Execution) -> None:
        """Adds the rollouts of all `seeds` that `log` lacks, in the waves that `rollout` would make of them.

        The wall time of an episode is what passed here since the episode before it arrived.
        """
        remaining = [seed for seed in seeds if seed not in log]
        for start in range(0, len(remaining), self.num_envs):
            wave = remaining[start : start + self.num_envs]
            self._calls.submit(f"rollouts of seeds {wave[0]} to {wave[-1]}", wave, execution)
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


class _Evaluator:
    """Runs waves in a process of the cluster: the policy in this one, the simulator in workers, without torch."""

    def __init__(self, policy: PolicyFiles, make_env: Callable[[], gymnasium.Env], num_envs: int, num_cpus: int):
        with tempfile.TemporaryDirectory() as folder:
            for name, content in policy.content.items():
                (Path(folder) / name).write_bytes(content)
            self._policy = open_policy(folder, policy.engine, policy.device, num_cpus)
        self._envs = ParallelEnvs(make_env, num_envs, num_cpus)

    def __call__(self, seeds: Sequence[int], execution: Execution) -> list[LoggedEpisode]:
        log = EpisodeLog()
        evaluate(self._envs, execution.agent(self._policy), seeds, progress=False, log=log)
        return [log.episodes[seed] for seed in seeds]
