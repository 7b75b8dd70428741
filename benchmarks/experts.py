"""How often do the experts succeed? `python -m benchmarks.experts --task transfer_cube --style scripted [--push]`

With --push, a random object gets a horizontal velocity of 0.3 to 0.5 m/s at a random one of the first 80 control steps,
while the hands reach for it. The result of 300 episodes or more is also written to benchmarks/results.
"""

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from tqdm import tqdm

import sim_envs
from act.evaluation.rates import Rate
from act.files import write_json
from act.provenance import provenance
from act.runtime.envs import SerialEnvs
from act.runtime.rollout import rollout
from benchmarks.programs import check_values, main

FIRST_SEED = 3_000_000  # only experts, and the operator of benchmarks/operator_rate.py, use seeds from here on


@dataclass(frozen=True)
class Options:
    """Which expert is measured."""

    task: str = "transfer_cube"
    style: str = "scripted"
    push: bool = False
    """Push an object while the hands reach for it."""
    first_seed: int = FIRST_SEED
    """Of the seeds, one per episode; an expert that was mended after failures needs fresh ones."""
    num: int = 300
    """Number of episodes."""


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


def measure(options: Options, seeds: Sequence[int]) -> dict[str, Any]:
    """Runs an episode per seed; returns counts with 95 % Wilson intervals, control steps of success, failed seeds."""
    env, episodes = sim_envs.make(options.task, cameras=()), []
    envs = SerialEnvs([Push(env) if options.push else env])
    for seed in tqdm(seeds, unit="episode"):  # a new expert for each, so that it depends on nothing but its own seed
        episodes += rollout(envs, sim_envs.make_expert(options.task, options.style, seed), seeds=[seed])
    times = [episode.stages[-1] for episode in episodes if episode.stages[-1] is not None]
    result = asdict(options) | {"first_seed": seeds[0], "num": len(seeds)}
    for name in ("success", "strict_success"):
        rate = Rate.of(name, (getattr(episode, name) for episode in episodes))
        result |= {name: rate.successes, f"{name}_interval": [rate.low, rate.high]}
    result |= {"mean_success_t": float(np.mean(times or [0])), "last_success_t": max(times, default=None)}
    result["failed_seeds"] = [e.seed for e in episodes if not (e.success and e.strict_success)]
    return result | {"clipped_steps": sum(e.clipped for e in episodes), "provenance": provenance()}


def work(options: Options) -> None:
    check_values(options, ("num",))
    if options.first_seed < FIRST_SEED:
        raise ValueError(
            f"--first_seed {options.first_seed}: give at least {FIRST_SEED}; other programs use those below"
        )
    result = measure(options, range(options.first_seed, options.first_seed + options.num))
    print("\n".join(f"{key}: {value}" for key, value in result.items() if key != "provenance"))
    if options.num >= Options.num:
        name = f"experts_{options.task}_{options.style}{'_push' if options.push else ''}.json"
        write_json(Path(__file__).parent / "results" / name, result)


program = partial(main, "experts", Options, work, __doc__, "docs/adding_a_task.md")

if __name__ == "__main__":
    sys.exit(program())
