"""Records episodes through the page of teleoperation, a script in place of the person, and trains on them.

    python -m tests.page_operator runs/operated --num 10        some minutes; the same command continues

For each task it prints the seeds of the episodes (an attempt has a seed of its own), how long they are, how still and
how jerky. The same numbers of our own demonstrations: `python -m act view DIR`.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

import record_sim_episodes
import train
from act.data.episodes import find_episodes, read_episode
from act.data.motion import executed_action, find_stillness, jerk
from act.data.repair import main as episodes_command
from act.types import CONTROL_TIMESTEP
from sim_envs.teleop import session
from tests.fakes.teleop_people import Attended

TASKS = ("transfer_cube", "insertion")
ARMS = np.delete(np.arange(14), [6, 13])  # without the grippers


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--num", type=int, default=10, help="episodes of each task")
    given = parser.parse_args(argv)
    given.out.mkdir(parents=True, exist_ok=True)
    session.Session = Attended
    for task in TASKS:
        print(task, operated(task, given.out / task, given.num), flush=True)
    return 0


def operated(task: str, folder: Path, num: int) -> dict[str, int | list[int] | list[float]]:
    """Records, checks and trains; returns what the episodes are like. Raises RuntimeError when a program fails."""
    data = ["--task_name", f"sim_{task}_human", "--dataset_dir", str(folder)]
    programs = [
        (record_sim_episodes.main, [*data, "--agent", "human", "--num_episodes", str(num), "--port", "0"]),
        (episodes_command, ["validate", str(folder)]),
        (
            train.main,
            ["--preset", "state", *data, "--run_dir", str(folder / "run"), "--steps", "20", "--val_fraction", "0"],
        ),
    ]
    for program, flags in programs:
        if code := program(flags):
            raise RuntimeError(f"{program.__module__} {' '.join(flags)} ended with code {code}")
    episodes = [read_episode(path) for path in find_episodes(folder)]
    lengths = [CONTROL_TIMESTEP * len(episode.action) for episode in episodes]
    at_rest = [100 * find_stillness(episode).still.mean() for episode in episodes]
    jerks = [jerk(executed_action(episode), ARMS) for episode in episodes]
    found = {"length [s]": lengths, "at rest [%]": at_rest, "jerk [rad/s^3]": jerks}
    seeds = [int(episode.attrs["seed"]) for episode in episodes]
    return {"seeds": seeds, "strict": sum(bool(e.attrs["strict_success"]) for e in episodes)} | {
        name: [round(float(value), 1) for value in np.percentile(values, (0, 50, 100))]
        for name, values in found.items()
    }


if __name__ == "__main__":
    sys.exit(main())
