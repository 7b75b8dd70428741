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
from act import command_line
from act.evaluation.evaluate import evaluate
from act.files import write_json
from act.provenance import provenance
from act.runtime.envs import ParallelEnvs
from act.types import Observation

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
        self.options, self.next_seed = options, options.seed

    def reset(self, num_envs: int) -> None:
        seeds = range(self.next_seed, self.next_seed + num_envs)
        self.experts = [sim_envs.make_expert(self.options.task, self.options.style, seed) for seed in seeds]
        for expert in self.experts:
            expert.reset(1)
        self.next_seed = seeds.stop

    def needs_images(self) -> bool:
        return False

    def select_action(self, observations: Sequence[Observation]) -> np.ndarray:
        pairs = zip(self.experts, observations, strict=True)
        return np.concatenate([expert.select_action([obs]) for expert, obs in pairs])


class Push(gymnasium.Wrapper):
    """Pushes one object in every episode."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        assert seed is not None, "the push follows from the seed"
        self.t, self.plan = 0, push_of(seed, self.get_wrapper_attr("task").objects)
        return super().reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        push_t, body, velocity = self.plan
        if self.t == push_t:
            self.get_wrapper_attr("push")(body, velocity)
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
    if options.num < 1 or options.workers < 1:
        raise ValueError(f"--num {options.num} --workers {options.workers}: both must be at least 1")
    if options.out is not None and options.out.is_dir():
        raise ValueError(f"--out {options.out} is a folder; give a file")
    agent = FreshExperts(options)
    sim_envs.make_expert(options.task, options.style)  # a wrong name fails here, before the workers start
    seeds = range(options.seed, options.seed + options.num)
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


def main(argv: Sequence[str] | None = None) -> int:
    program, example = "python -m benchmarks.experts", "python -m benchmarks.experts --task insertion --push"
    options = command_line.parse(
        Options, argv, program=program, description=__doc__ or "", example=example, page="docs/adding_a_task.md"
    )

    def work() -> None:
        result = measure(options)
        print("\n".join(f"{key}: {value}" for key, value in result.items() if key != "provenance"))
        name = f"experts_{options.task}_{options.style}{'_push' if options.push else ''}.json"
        default = Path(__file__).parent / "results" / name if options.num >= Options.num else None
        if out := options.out or default:
            write_json(out, result)

    return command_line.run(program, work, stopped="nothing is kept")


if __name__ == "__main__":
    sys.exit(main())
