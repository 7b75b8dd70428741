"""B environments in lockstep: `SerialEnvs` steps them in this process, `ParallelEnvs` in worker processes."""

import contextlib
import multiprocessing
import signal
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import fields
from multiprocessing.connection import Connection
from typing import Any, Protocol

import gymnasium
import numpy as np

from act.types import EnvSpec, Info, Observation

Start = tuple[Observation, Info]  # of reset
Change = tuple[Observation, float, bool, bool, Info]  # of step: obs, reward, terminated, truncated, info


class Envs(Protocol):
    """B environments in lockstep. An environment that has ended is not stepped: its last change is returned again."""

    num_envs: int
    env_spec: EnvSpec

    def reset(
        self, seeds: Sequence[int], options: Sequence[dict | None] | None = None, images_due: bool = True
    ) -> list[Start]:
        """Starts one episode per seed; fewer seeds than `num_envs` run only the first environments."""
        ...

    def step(self, actions: np.ndarray, images_due: bool = True) -> list[Change]:
        """Actions (B, A), B the number of seeds of the last reset; `images_due`: the next observation has images."""
        ...

    def close(self) -> None: ...


def spec_of(env: gymnasium.Env) -> EnvSpec:
    """The environment's `env_spec`; for anybody else's Gymnasium environment, what can be known of it."""
    known = getattr(env.unwrapped, "env_spec", None)
    if known is not None:  # a copy: the environment's own class would bring its simulator into this program
        return EnvSpec(**{field.name: getattr(known, field.name) for field in fields(EnvSpec)})
    name = env.spec.id if env.spec else type(env.unwrapped).__name__
    return EnvSpec(name, (), (env.spec.max_episode_steps if env.spec else None) or 1_000_000)


class SerialEnvs:
    """Environments stepped one after another in this process."""

    def __init__(self, envs: Sequence[gymnasium.Env]):
        if not envs:
            raise ValueError("SerialEnvs needs at least one environment, got none")
        self.envs = list(envs)
        self.num_envs = len(self.envs)
        self.env_spec = spec_of(self.envs[0])
        self._ended: list[Change | None] = []

    def reset(
        self, seeds: Sequence[int], options: Sequence[dict | None] | None = None, images_due: bool = True
    ) -> list[Start]:
        if not 0 < len(seeds) <= self.num_envs:
            raise ValueError(f"{len(seeds)} seeds for {self.num_envs} environments; give 1 to {self.num_envs}")
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

    They are dealt out like cards, so that a few active ones keep all processes busy.
    An exception in a worker is raised here with its message: ValueError and OSError stay what they are, the rest become
    RuntimeError and bring their traceback; a worker that died is a ChildProcessError. Workers die with `close()` and
    with this process.
    """

    def __init__(self, make: Callable[[], gymnasium.Env], num_envs: int, num_workers: int):
        if num_envs < 1 or num_workers < 1:
            raise ValueError(f"num_envs={num_envs}, num_workers={num_workers}: both must be at least 1")
        self.num_envs = num_envs
        workers = min(num_workers, num_envs)
        self._active = 0
        context = multiprocessing.get_context("spawn")
        pipes = [context.Pipe() for _ in range(workers)]
        self._connections = [ours for ours, _ in pipes]
        self._processes = [
            context.Process(target=_serve, args=(theirs, make, len(range(worker, num_envs, workers))), daemon=True)
            for worker, (_, theirs) in enumerate(pipes)
        ]
        for process, (_, theirs) in zip(self._processes, pipes, strict=True):
            process.start()
            theirs.close()
        self.env_spec: EnvSpec = self._collect(range(workers))[0]

    def reset(
        self, seeds: Sequence[int], options: Sequence[dict | None] | None = None, images_due: bool = True
    ) -> list[Start]:
        if not 0 < len(seeds) <= self.num_envs:
            raise ValueError(f"{len(seeds)} seeds for {self.num_envs} environments; give 1 to {self.num_envs}")
        self._active = len(seeds)
        return self._everyone("reset", images_due, list(seeds), list(options) if options else [None] * len(seeds))

    def step(self, actions: np.ndarray, images_due: bool = True) -> list[Change]:
        return self._everyone("step", images_due, actions)

    def _everyone(self, command: str, images_due: bool, *per_env: Any) -> list[Any]:
        workers = len(self._connections)
        busy = range(min(workers, self._active))
        for worker in busy:
            with contextlib.suppress(BrokenPipeError):  # `_collect` names the dead worker
                self._connections[worker].send((command, [part[worker::workers] for part in per_env], images_due))
        dealt: list[Any] = [None] * self._active
        for worker, answer in zip(busy, self._collect(busy), strict=True):
            dealt[worker::workers] = answer
        return dealt

    def _collect(self, workers: Sequence[int]) -> list[Any]:
        answers = []
        for worker in workers:
            try:
                answer, error = self._connections[worker].recv()
            except (EOFError, ConnectionResetError):
                answer, error = None, (ChildProcessError, "the process died (out of memory?)")
            if error is not None:
                self.close()
                raise error[0](f"environment worker {worker}: {error[1]}")
            answers.append(answer)
        return answers

    def close(self) -> None:
        for connection in self._connections:  # a worker finds it closed, even one that waits to be read
            connection.close()
        patience = time.monotonic() + 2
        for process in self._processes:
            process.join(timeout=max(0.0, patience - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join()

    def __enter__(self) -> "ParallelEnvs":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _serve(connection: Connection, make: Callable[[], gymnasium.Env], num_envs: int) -> None:
    """What a worker process does: answers (result, None) or (None, (exception class, message))."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    envs = None
    with contextlib.suppress(EOFError, ConnectionError):  # the parent has closed it, or is gone
        try:
            envs = SerialEnvs([make() for _ in range(num_envs)])
            connection.send((envs.env_spec, None))
            while True:
                command, arguments, images_due = connection.recv()
                connection.send((getattr(envs, command)(*arguments, images_due=images_due), None))
        except (EOFError, ConnectionError):
            raise
        except Exception as error:
            kind = next((kind for kind in (ValueError, OSError) if isinstance(error, kind)), RuntimeError)
            text = f"{type(error).__name__}: {error}" if kind is not OSError else str(error)
            connection.send((None, (kind, f"{text}\n{traceback.format_exc()}" if kind is RuntimeError else text)))
    if envs is not None:
        envs.close()
