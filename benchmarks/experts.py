"""How often do the experts succeed? `python -m benchmarks.experts --task transfer_cube --style scripted [--push]`

With --push, a random object gets a horizontal velocity of 0.3 to 0.5 m/s at a random one of the first 80 control steps,
while the hands reach for it. The result is printed; that of 300 episodes or more is also written to --out.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

import sim_envs
from act.evaluation.evaluate import evaluate
from act.files import write_json
from act.provenance import provenance
from act.runtime.envs import ParallelEnvs
from act.types import Observation
from benchmarks.programs import check_values, main

FIRST_SEED = 3_000_000  # no other program uses seeds from here on


@dataclass(frozen=True)
class Options:
    """Which expert is measured, and how."""

    task: str = "transfer_cube"
    style: str = "scripted"
    num: int = 300
    """Number of episodes."""
    push: bool = False
    """Push an object while the hands reach for it."""
    seed: int = FIRST_SEED
    """Seed of the first episode; the next ones count up."""
    workers: int = 2
    """Simulating processes."""
    out: Path | None = None
    """JSON file; by default benchmarks/results/experts_TASK_STYLE[_push].json for 300 episodes or more."""


class FreshExperts:
    """An agent that makes a new expert for every seed, so that an episode depends on nothing but its own seed."""

    def __init__(self, options: Options):
        self.make, self.next_seed = partial(sim_envs.make_expert, options.task, options.style), options.seed

    def reset(self, num_envs: int) -> None:
        self.experts = [self.make(self.next_seed + index) for index in range(num_envs)]
        for expert in self.experts:
            expert.reset(1)
        self.next_seed += num_envs

    def needs_images(self) -> bool:
        return False

    def select_action(self, observations: Sequence[Observation]) -> np.ndarray:
        pairs = zip(self.experts, observations, strict=True)
        return np.concatenate([expert.select_action([obs]) for expert, obs in pairs])


class Push(gymnasium.Wrapper):
    """Pushes one object in every episode."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        assert seed is not None, "the push follows from the seed"
        self.t, self.plan = 0, push_of(seed, self.get_wrapper_attr("task").objects)
        return super().reset(seed=seed, options=options)

    def step(self, action: Any) -> Any:
        if self.t == self.plan[0]:
            self.get_wrapper_attr("push")(*self.plan[1:])
        self.t += 1
        return super().step(action)


def push_of(seed: int, objects: Sequence[str]) -> tuple[int, str, np.ndarray]:
    """Returns the control step of an episode's push, the object, and the velocity (3,) [m/s] that it gets."""
    rng = np.random.default_rng((seed, 3))  # `seed` alone would be the stream that places the objects
    t, angle, speed = int(rng.integers(0, 80)), rng.uniform(0, 2 * np.pi), rng.uniform(0.3, 0.5)
    return t, rng.choice(list(objects)), speed * np.array([np.cos(angle), np.sin(angle), 0.0])


def make_env(task: str, push: bool) -> gymnasium.Env:
    env = sim_envs.make(task, cameras=())
    return Push(env) if push else env


def measure(options: Options) -> dict[str, Any]:
    """Runs the episodes; returns counts with their 95 % Wilson intervals, control steps of success, failed seeds."""
    agent, seeds = FreshExperts(options), range(options.seed, options.seed + options.num)
    agent.make()  # a wrong name fails here, before the workers start
    with ParallelEnvs(partial(make_env, options.task, options.push), 4 * options.workers, options.workers) as envs:
        summary = evaluate(envs, agent, seeds)
    times = [episode.stages[-1] for episode in summary.episodes if episode.stages[-1] is not None]
    result: dict[str, Any] = {"task": options.task, "style": options.style, "push": options.push}
    result |= {"first_seed": options.seed, "num": options.num}
    for name, rate in (("success", summary.success), ("strict_success", summary.strict_success)):
        result |= {name: rate.successes, f"{name}_interval": [rate.low, rate.high]}
    result |= {"mean_success_t": float(np.mean(times or [0])), "last_success_t": max(times, default=None)}
    failed = [episode.seed for episode in summary.episodes if not (episode.success and episode.strict_success)]
    clipped = sum(episode.clipped for episode in summary.episodes)
    return result | {"provenance": provenance(), "failed_seeds": failed, "clipped_steps": clipped}


def work(options: Options) -> None:
    check_values(options, ("num", "workers"))
    name = f"experts_{options.task}_{options.style}{'_push' if options.push else ''}.json"
    out = options.out or (Path(__file__).parent / "results" / name if options.num >= Options.num else None)
    if out is not None and out.is_dir():
        raise ValueError(f"--out {out} is a folder; give a file")
    result = measure(options)
    print("\n".join(f"{key}: {value}" for key, value in result.items() if key != "provenance"))
    if out is not None:
        write_json(out, result)


def program(argv: Sequence[str] | None = None) -> int:
    return main("experts", Options, work, __doc__, "docs/adding_a_task.md", argv, stopped="nothing is kept")


if __name__ == "__main__":
    sys.exit(program())
