"""B environments in lockstep: `SerialEnvs` steps them in this process, `ParallelEnvs` in worker processes."""

from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import partial
from operator import attrgetter
from typing import Any, Protocol

import gymnasium
import numpy as np

from act.types import EnvSpec, Info, Observation
from act.workers import Worker, close_all

Start = tuple[Observation, Info]  # what reset returns
Change = tuple[Observation, float, bool, bool, Info]  # what step returns: obs, reward, terminated, truncated, info


class Envs(Protocol):
    """B environments in lockstep. An environment that has ended is not stepped; its last change is returned again.

    `action_dim`, if they have it, is the number of values in an action, or None where nobody knows.
    """

    num_envs: int
    env_spec: EnvSpec

    def reset(
        self, seeds: Sequence[int], options: Sequence[dict | None] | None = None, images_due: bool = True
    ) -> list[Start]:
        """Starts one episode per seed; fewer seeds than `num_envs` run only the first environments."""
        ...

    def step(self, actions: np.ndarray, images_due: bool = True) -> list[Change]:
        """Takes actions (B, A), B the number of seeds of the last reset.

        `images_due` says whether the next observations shall have images; rendering is skipped otherwise.
        """
        ...

    def close(self) -> None: ...


def spec_of(env: gymnasium.Env) -> EnvSpec:
    """The environment's `env_spec`; an environment without one is described by its Gymnasium registration."""
    described = getattr(env.unwrapped, "env_spec", None)
    if described is not None:  # a copy: the environment's own class would bring its simulator into this program
        return EnvSpec(**{field.name: getattr(described, field.name) for field in fields(EnvSpec)})
    name = env.spec.id if env.spec else type(env.unwrapped).__name__
    return EnvSpec(name, (), (env.spec.max_episode_steps if env.spec else None) or 1_000_000)


def action_dim_of_env(env: gymnasium.Env) -> int | None:
    """A, the numbers in an action of the environment; None where its actions are no vectors."""
    shape = getattr(getattr(env, "action_space", None), "shape", None)
    return shape[0] if shape is not None and len(shape) == 1 else None


class SerialEnvs:
    """Environments that are stepped one after another in this process."""

    def __init__(self, envs: Sequence[gymnasium.Env]):
        if not envs:
            raise ValueError("SerialEnvs needs at least one environment, got none")
        self.envs = list(envs)
        self.num_envs = len(self.envs)
        self.env_spec, self.action_dim = spec_of(self.envs[0]), action_dim_of_env(self.envs[0])
        self._ended: list[Change | None] = []

    def reset(
        self, seeds: Sequence[int], options: Sequence[dict | None] | None = None, images_due: bool = True
    ) -> list[Start]:
        _check_number(seeds, self.num_envs)
        self._ended = [None] * len(seeds)
        starts: list[Start] = []
        for env, seed, option in zip(self.envs, seeds, options or [None] * len(seeds), strict=False):
            _ask_for_images(env, images_due)
            starts.append(env.reset(seed=int(seed), options=option))
        return starts

    def step(self, actions: np.ndarray, images_due: bool = True) -> list[Change]:
        changes: list[Change] = []
        for index, action in enumerate(actions):
            change = self._ended[index]
            if change is None:
                env = self.envs[index]
                _ask_for_images(env, images_due)
                obs, reward, terminated, truncated, info = env.step(action)
                change = (obs, float(reward), bool(terminated), bool(truncated), info)
                self._ended[index] = change if terminated or truncated else None
            changes.append(change)
        return changes

    def close(self) -> None:
        for env in self.envs:
            env.close()


def _ask_for_images(env: gymnasium.Env, images_due: bool) -> None:
    inner: Any = env.unwrapped
    if hasattr(inner, "images_due"):
        inner.images_due = images_due


class ParallelEnvs:
    """`num_envs` environments made by `make` (picklable) in `num_workers` processes; use as a context manager.

    Environment i lives in worker i modulo `num_workers`, so that a few active ones keep all processes busy.
    Errors in a worker are raised here as act.workers.Worker says, after which all workers are closed.

    Example:
        make = partial(sim_envs.make, "transfer_cube", cameras=("top",))
        with ParallelEnvs(make, num_envs=8, num_workers=4) as envs:
            for result in rollout(envs, agent, seeds=range(50)):
                print(result.seed, result.success)
    """

    def __init__(self, make: Callable[[], gymnasium.Env], num_envs: int, num_workers: int):
        if num_envs < 1 or num_workers < 1:
            raise ValueError(f"num_envs={num_envs}, num_workers={num_workers}: both must be at least 1")
        self.num_envs = num_envs
        self._active = 0
        count = min(num_workers, num_envs)
        self._workers = [
            Worker(partial(_make_envs, make, len(range(index, num_envs, count))), f"environment worker {index}")
            for index in range(count)
        ]
        for worker in self._workers:
            worker.send(attrgetter("env_spec", "action_dim"))
        self.env_spec: EnvSpec
        self.env_spec, self.action_dim = self._receive(self._workers)[0]

    def reset(
        self, seeds: Sequence[int], options: Sequence[dict | None] | None = None, images_due: bool = True
    ) -> list[Start]:
        _check_number(seeds, self.num_envs)
        self._active = len(seeds)
        return self._call(SerialEnvs.reset, images_due, list(seeds), list(options or [None] * len(seeds)))

    def step(self, actions: np.ndarray, images_due: bool = True) -> list[Change]:
        return self._call(SerialEnvs.step, images_due, actions)

    def _call(self, method: Callable[..., list[Any]], images_due: bool, *per_env: Any) -> list[Any]:
        """Calls a method of every worker that has active environments, with their share of the arguments `per_env`."""
        count = len(self._workers)
        busy = self._workers[: self._active]
        for index, worker in enumerate(busy):
            worker.send(method, *(values[index::count] for values in per_env), images_due)
        results: list[Any] = [None] * self._active
        for index, answer in enumerate(self._receive(busy)):
            results[index::count] = answer
        return results

    def _receive(self, workers: Sequence[Worker]) -> list[Any]:
        try:
            return [worker.receive() for worker in workers]
        except Exception:
            self.close()
            raise

    def close(self) -> None:
        close_all(self._workers)

    def __enter__(self) -> "ParallelEnvs":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _make_envs(make: Callable[[], gymnasium.Env], number: int) -> SerialEnvs:
    return SerialEnvs([make() for _ in range(number)])


def _check_number(seeds: Sequence[int], num_envs: int) -> None:
    if not 0 < len(seeds) <= num_envs:
        raise ValueError(f"{len(seeds)} seeds for {num_envs} environments; give 1 to {num_envs}")
