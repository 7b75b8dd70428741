"""How far from all demonstrated states a policy gets, and the expert: `python -m benchmarks.covariate_shift RUN`

A state is qpos and the objects' poses, each number divided by its standard deviation over the demonstrations (0.02 at
least). The distance is that to the nearest demonstrated state at any control step, divided by the root of the number of
numbers. It writes covariate_shift.json and .png into benchmarks/results.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from scipy.spatial import KDTree
from tqdm import tqdm

import sim_envs
from act.data.episodes import find_episodes, read_episode
from act.files import write_json
from act.policies.base.storage import load_policy
from act.provenance import provenance
from act.run_folder import RunFolder
from act.runtime.agents import PolicyAgent
from act.runtime.envs import SerialEnvs
from act.runtime.rollout import rollout
from act.seeds import TEST_SEEDS
from act.types import Agent, task_of
from benchmarks.figures import panels
from benchmarks.programs import check_values, main

SMALLEST = 0.02  # [rad, m, ...] standard deviation of a number that hardly differs


@dataclass(frozen=True)
class Options:
    """Which policy is followed."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Folder of a policy that sees object poses."""
    dataset_dir: Path
    """Folder of the demonstrations that it learned from."""
    num: int = 20
    """Number of episodes of each agent, on test seeds."""


class States:
    """An observer that keeps the states of every episode, a list of rows each."""

    def __init__(self) -> None:
        self.episodes: list[list[np.ndarray]] = []

    def needs_images(self) -> bool:
        return False

    def on_reset(self, index: int, seed: int, obs: Any, info: Any) -> None:
        self.episodes.append([])

    def on_step(self, index: int, t: int, obs: Any, action: Any, next_obs: Any, reward: float, info: Any) -> None:
        self.episodes[-1].append(np.concatenate([obs["qpos"], obs["env_state"]]))

    def on_end(self, index: int, result: Any) -> None: ...


class Demonstrated:
    """The states of all demonstrations in a folder."""

    def __init__(self, folder: Path):
        episodes = [read_episode(path, cameras=()) for path in find_episodes(folder)]
        states = [np.hstack([e.qpos, e.env_state]) for e in episodes if e.env_state is not None]
        if not states:
            raise ValueError(f"--dataset_dir {folder}: there are no episodes with poses of objects; record some first")
        rows = np.concatenate(states)
        self.number, self._scale = len(episodes), np.maximum(rows.std(0), SMALLEST) * np.sqrt(rows.shape[1])
        self._tree = KDTree(rows / self._scale)

    def distance(self, states: np.ndarray) -> np.ndarray:
        """The distances of states (..., D) to the nearest demonstrated ones."""
        return self._tree.query(states / self._scale)[0]


def followed(task: str, agent: Agent, demonstrated: Demonstrated, num: int, name: str) -> dict[str, Any]:
    """Returns the quartiles over episodes of the distance, at every control step, and the number of successes."""
    envs, states, seeds = SerialEnvs([sim_envs.make(task, cameras=())]), States(), TEST_SEEDS[:num]
    results = list(tqdm(rollout(envs, agent, [states], seeds=seeds), total=num, desc=name))
    distances = np.stack([demonstrated.distance(np.array(rows)) for rows in states.episodes])
    quartiles = np.quantile(distances, [0.25, 0.5, 0.75], axis=0).round(4).tolist()
    return {"quartiles": quartiles, "mean": float(distances.mean()), "strict": sum(r.strict_success for r in results)}


def draw(agents: dict[str, dict[str, Any]], path: Path) -> None:
    figure, (axes,) = panels((6.4, 3.0), 1, 1)
    for k, (name, found) in enumerate(agents.items()):
        low, middle, high = np.array(found["quartiles"])
        seconds = 0.02 * np.arange(len(middle))
        axes.plot(seconds, middle, color=f"C{k}", label=name)
        axes.fill_between(seconds, low, high, color=f"C{k}", alpha=0.2, linewidth=0)
    axes.set(xlabel="t [s]", ylabel="distance to the nearest\ndemonstrated state")
    axes.legend(fontsize=8, frameon=False)
    figure.savefig(path, dpi=120)


def work(options: Options) -> None:
    check_values(options, ("num",))
    task, demonstrated = task_of(RunFolder(options.run).task_name()), Demonstrated(options.dataset_dir)
    policy = load_policy(options.run)
    agents: dict[str, Any] = {
        "expert": sim_envs.make_expert(task),
        f"policy, chunks of {policy.chunk_size}": PolicyAgent(policy),
    }
    agents["policy, one action per query"] = PolicyAgent(policy, n_action_steps=1)
    found = {name: followed(task, agent, demonstrated, options.num, name) for name, agent in agents.items()}
    results = Path(__file__).parent / "results"
    about = {"task": task, "demonstrations": demonstrated.number, "num": options.num, "provenance": provenance()}
    write_json(results / "covariate_shift.json", about | {"agents": found})
    draw(found, results / "covariate_shift.png")
    print("\n".join(f"{name}: mean {one['mean']:.3f}, strict {one['strict']}" for name, one in found.items()))


if __name__ == "__main__":
    sys.exit(main("covariate_shift", Options, work, __doc__, "docs/lecture.md"))
