"""The one loop: `rollout(envs, agent, observers, seeds=...)` over B environments in lockstep. B = 1 is a robot.

`SerialEnvs` steps its environments in this process, `ParallelEnvs` in worker processes; the loop cannot tell.
"""

import contextlib
import multiprocessing
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any, Protocol

import gymnasium
import numpy as np

from act.types import Agent, EnvSpec, Info, Observation, Observer, RolloutResult

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
    if known is not None:
        return known
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


@dataclass
class _Lane:
    """One episode under way."""

    seed: int
    obs: Observation
    info: Info
    images: dict[str, np.ndarray] | None = None  # the last ones seen
    rewards: list[float] = field(default_factory=list)
    live: bool = True

    def change(self, change: Change) -> None:
        self.obs, reward, terminated, truncated, self.info = change
        self.rewards.append(reward)
        self.images = self.obs.get("images", self.images)
        self.live = not (terminated or truncated)

    def seen(self) -> Observation:
        """What the agent gets; an episode that has ended keeps showing its last images to an agent that wants some."""
        return self.obs if self.live or self.images is None else {**self.obs, "images": self.images}

    def result(self, spec: EnvSpec, env_state0: list[float]) -> RolloutResult:
        best = max(self.rewards)
        reached = [(np.asarray(self.rewards) >= r).nonzero()[0] for r in range(1, spec.max_reward + 1)]
        success = bool(self.info.get("success", spec.max_reward > 0 and best >= spec.max_reward))
        return RolloutResult(
            seed=self.seed,
            length=len(self.rewards),
            max_reward=best,
            episode_return=float(sum(self.rewards)),
            success=success,
            strict_success=bool(self.info.get("strict_success", success)),
            stages=[int(at[0]) if len(at) else None for at in reached],
            env_state0=env_state0,
            clipped=int(self.info.get("clipped", 0)),
        )


def rollout(
    envs: Envs,
    agent: Agent,
    observers: Sequence[Observer] = (),
    *,
    seeds: Sequence[int],
    options: Sequence[dict | None] | None = None,
) -> Iterator[RolloutResult]:
    """One episode per seed, in waves of `envs.num_envs`; yields the results of a wave in the order of its seeds.

    `options[i]` goes to the reset of episode i. An episode that ends early is left alone until its wave has ended.
    """
    if options is not None and len(options) != len(seeds):
        raise ValueError(f"{len(options)} options for {len(seeds)} seeds; give one (or None) per seed")
    for start in range(0, len(seeds), envs.num_envs):
        wave = slice(start, start + envs.num_envs)
        yield from _run_wave(envs, agent, observers, seeds[wave], options[wave] if options is not None else None)


def _run_wave(
    envs: Envs,
    agent: Agent,
    observers: Sequence[Observer],
    seeds: Sequence[int],
    options: Sequence[dict | None] | None,
) -> list[RolloutResult]:
    agent.reset(len(seeds))
    _seed_noise(seeds[0])
    starts = envs.reset(seeds, options, _images_due(agent, observers))
    lanes = [_Lane(int(s), obs, info, obs.get("images")) for s, (obs, info) in zip(seeds, starts, strict=True)]
    env_states0 = [np.asarray(lane.obs.get("env_state", ())).tolist() for lane in lanes]
    results: dict[int, RolloutResult] = {}
    for index, lane in enumerate(lanes):
        for observer in observers:
            observer.on_reset(index, lane.seed, lane.obs, lane.info)
    t = 0
    while len(results) < len(lanes):
        actions = np.asarray(agent.select_action([lane.seen() for lane in lanes]))
        changes = envs.step(actions, _images_due(agent, observers))
        for index, lane in enumerate(lanes):
            if index in results:
                continue
            obs = lane.obs
            lane.change(changes[index])
            for observer in observers:
                observer.on_step(index, t, obs, actions[index], lane.obs, lane.rewards[-1], lane.info)
            if not lane.live:
                results[index] = lane.result(envs.env_spec, env_states0[index])
                for observer in observers:
                    observer.on_end(index, results[index])
        t += 1
    return [results[index] for index in range(len(lanes))]


def _seed_noise(seed: int) -> None:
    """Seeds torch, where an agent has loaded it: a policy that samples repeats itself, wave by wave."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.manual_seed(seed)


def _images_due(agent: Agent, observers: Sequence[Observer]) -> bool:
    return agent.needs_images() or any(observer.needs_images() for observer in observers)
