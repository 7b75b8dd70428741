"""How often the experts succeed: `python -m benchmarks.experts --task transfer_cube --style scripted [--push]`.

Seeds nobody else uses (3,000,000 upward), no rendering, two worker processes; the result is printed and written to
--out. With --push a random object gets a random horizontal velocity of 0.3 to 0.5 m/s at a random control step of the
first 80, while the hands are reaching.
"""

import json
import multiprocessing
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from tqdm import tqdm

import sim_envs
from act.evaluation.rates import wilson_interval
from act.files import whole_file
from act.provenance import provenance
from sim_envs import experts

FIRST_SEED = 3_000_000
RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Options:
    """Measures one expert on unseen seeds."""

    task: str = "transfer_cube"
    style: str = "scripted"
    num: int = 300
    """Episodes."""
    push: bool = False
    """Push an object while the hands reach for it."""
    seed: int = FIRST_SEED
    """Of the first episode; the next ones count up."""
    workers: int = 2
    out: Path | None = None
    """benchmarks/results/experts_TASK_STYLE[_push].json if not given and 300 episodes or more were asked for."""


def main() -> None:
    options = tyro.cli(Options, description=__doc__)
    try:
        result = measure(options)
    except (ValueError, OSError) as error:
        print(f"experts: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("\nexperts: stopped; nothing is kept", file=sys.stderr)
        sys.exit(130)
    for rule in ("success", "strict_success"):
        low, high = result[f"{rule}_interval"]
        print(f"{rule}: {result[rule]} of {options.num} ({100 * low:.1f} to {100 * high:.1f} %)")
    print(f"failed seeds: {', '.join(map(str, result['failed_seeds'])) or 'none'}")
    print(f"mean control step of success {result['mean_success_t']:.0f}, last {result['last_success_t']}")
    name = f"experts_{options.task}_{options.style}{'_push' if options.push else ''}.json"
    out = options.out or (RESULTS / name if options.num >= Options.num else None)
    if out is not None:
        with whole_file(out) as temporary:
            temporary.write_text(json.dumps(result, indent=2) + "\n")


def measure(options: Options) -> dict[str, Any]:
    """Runs the episodes and sums them up."""
    if options.num < 1 or options.workers < 1:
        raise ValueError(f"--num {options.num} and --workers {options.workers} must both be at least 1")
    if options.out is not None and options.out.is_dir():
        raise ValueError(f"--out {options.out} is a folder; give a file")
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
    experts.make_agent(options.task, options.style)  # a wrong name fails here, before the workers start
    seeds = range(options.seed, options.seed + options.num)
    run = partial(run_episode, options.task, options.style, options.push)
    with multiprocessing.get_context("spawn").Pool(options.workers) as pool:
        episodes = list(tqdm(pool.imap(run, seeds, chunksize=5), total=options.num, desc=options.task, mininterval=5))
    times = [episode["success_t"] for episode in episodes if episode["success"]]
    result: dict[str, Any] = {"task": options.task, "style": options.style, "push": options.push}
    result |= {"first_seed": options.seed, "num": options.num}
    for rule in ("success", "strict_success"):
        count = sum(episode[rule] for episode in episodes)
        result |= {rule: count, f"{rule}_interval": list(wilson_interval(count, options.num))}
    result |= {"mean_success_t": float(np.mean(times or [0])), "last_success_t": max(times, default=None)}
    result |= {"provenance": provenance()}
    failed = [e["seed"] for e in episodes if not (e["success"] and e["strict_success"])]
    return result | {"failed_seeds": failed, "clipped_steps": sum(episode["clipped"] for episode in episodes)}


def run_episode(task: str, style: str, push: bool, seed: int) -> dict[str, Any]:
    """One episode; `success_t` is the first control step of the highest stage."""
    env = sim_envs.make(task, cameras=())
    agent = experts.make_agent(task, style, seed)
    agent.reset(1)
    obs, info = env.reset(seed=seed)
    push_t, body, velocity = push_of(seed, env.task.objects)
    success_t = None
    for t in range(env.env_spec.episode_len):
        if push and t == push_t:
            env.push(body, velocity)
        obs, reward, terminated, _, info = env.step(agent.select_action([obs])[0])
        if success_t is None and reward == env.env_spec.max_reward:
            success_t = t
        if terminated:
            break
    return {"seed": seed, "success_t": success_t} | {k: info[k] for k in ("success", "strict_success", "clipped")}


def push_of(seed: int, objects: Sequence[str]) -> tuple[int, str, np.ndarray]:
    """At which control step an episode's push comes, to what, and the velocity (3,) [m/s] it gives."""
    rng = np.random.default_rng((seed, 3))  # `seed` alone would be the stream that places the objects
    t, angle, speed = int(rng.integers(0, 80)), rng.uniform(0, 2 * np.pi), rng.uniform(0.3, 0.5)
    return t, rng.choice(list(objects)), speed * np.array([np.cos(angle), np.sin(angle), 0.0])


if __name__ == "__main__":
    main()
