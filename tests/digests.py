"""Answers "does this change a number?": prints digests of what the programs produce, to compare two versions.

    python -m tests.digests runs/digests        about two minutes on two cores; the folder must not exist yet

Run it before and after a change, on the same machine: a refactoring leaves every digest as it was.
"""

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

ROOT = Path(__file__).parent.parent
TASKS = ("transfer_cube", "insertion", "peg_in_cup")
CUBE = "sim_transfer_cube_scripted"
SIZE = ("--image_size", "240", "320")
TIMES = ("provenance", "wall_time_s", "rollouts_per_min", "latency", "single_query", "rollout_commits")
PLACES = ("run", "train_commit")  # settings that differ between folders and commits


def run(*words: object) -> None:
    command = [sys.executable, *map(str, words)]
    print("$", *command[1:], file=sys.stderr, flush=True)
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def of_file(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def of_arrays(path: Path) -> str:
    """Of all datasets of an HDF5 file, without its attributes."""
    digest, names = hashlib.sha256(), []
    with h5py.File(path) as file:
        file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        for name in sorted(names):
            array = np.asarray(file[name])
            digest.update(f"{name}{array.dtype}{array.shape}".encode() + array.tobytes())
    return digest.hexdigest()[:16]


def of_results(path: Path) -> str:
    """Of a results.json, without what depends on the time, the machine and the commit."""
    results: dict[str, Any] = json.loads(path.read_text())
    results = {key: value for key, value in results.items() if key not in TIMES}
    results["settings"] = {key: value for key, value in results["settings"].items() if key not in PLACES}
    return hashlib.sha256(json.dumps(results, sort_keys=True).encode()).hexdigest()[:16]


def digests(out: Path) -> Iterator[tuple[str, str]]:
    """Records, pretrains, trains and evaluates in small; yields a digest of everything that comes out."""
    record = ("record_sim_episodes.py", "--task_name")
    for task in TASKS:
        small = ("--num_episodes", 1, "--image_size", 120, 160)
        run(*record, f"sim_{task}_scripted", "--dataset_dir", out / task, *small)
        yield f"episode {task}", of_arrays(out / task / "episode_0.hdf5")
    demos, trunk = out / "demos", out / "trunk"
    run(*record, CUBE, "--dataset_dir", demos, *SIZE, "--num_episodes", 4)
    run(*record, CUBE, "--dataset_dir", demos, *SIZE, "--random_scenes", 64)
    yield "scenes", of_arrays(demos / "scenes.hdf5")
    run("-m", "act", "pretrain", demos / "scenes.hdf5", "--out", trunk, "--steps", 10)
    yield "trunk after 10 steps", of_file(trunk / "trunk.safetensors")
    for preset, flags in (("state", ()), ("fast", ("--trunk", trunk))):
        data = ("--task_name", CUBE, "--dataset_dir", demos, "--run_dir", out / preset)
        run("train.py", "--preset", preset, *data, "--steps", 20, *flags)
        yield f"checkpoint {preset}, 20 steps", of_file(out / preset / "policy.safetensors")
        run("eval.py", out / preset, "--num_rollouts", 4, "--videos", 0, "--n_action_steps", 20)
        for mode in ("chunk", "ensemble"):
            yield (
                f"results {preset} {mode}",
                of_results(out / preset / "eval" / f"test_{mode}_every20" / "results.json"),
            )


if __name__ == "__main__":
    folder = Path(sys.argv[1]).resolve()
    if folder.exists():
        sys.exit(f"{folder} exists; give a new folder")
    print(json.dumps(dict(digests(folder)), indent=1))
