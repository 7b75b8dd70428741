"""Kills recording, training and evaluation at random moments, and compares what they leave with an undisturbed run.

A program and its workers get SIGKILL, once or twice; then the same command is run to its end. A trial is right when the
command ends with code 0 and its result is equal to that of a program that nobody killed.
"""

import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from act.data.episodes import find_episodes, read_episode
from act.run_folder import RunFolder

TASK = "sim_transfer_cube_scripted"
PATIENCE = 900.0  # [s] for one program that takes seconds on quiet cores
TWICE = 0.3  # share of the trials in which the program is killed again while it goes on
TRAINING = ("--policy_class", "ACT", "--preset", "state", "--steps", "40", "--save_every", "5", "--log_every", "5")


@dataclass(frozen=True)
class Trial:
    """One program that was killed, and how it ended afterwards."""

    program: str  # a name in PROGRAMS
    kills: int  # that hit it; 0 when it was done before
    outcome: str  # "equal", "another result", or how it failed
    sentence: str = ""  # the last line of a program that failed


# ----------------------------------------------------------------------------------------------------------- programs
def record(folder: Path) -> list[str]:
    """Records two episodes with one camera."""
    size = ("--cameras", "top", "--image_size", "48", "64", "--num_episodes", "2", "--workers", "1")
    return ["record_sim_episodes.py", "--task_name", TASK, "--dataset_dir", str(folder / "data"), *size]


def train(folder: Path) -> list[str]:
    """Trains a small network on them."""
    small = ("--hidden_dim", "16", "--dim_feedforward", "32", "--n_heads", "2", "--batch_size", "4")
    data = ("--task_name", TASK, "--dataset_dir", str(folder / "data"), "--run_dir", str(folder / "run"))
    return ["train.py", *TRAINING, *data, *small, "--device", "cpu", "--val_fraction", "0.5"]


def evaluate(folder: Path) -> list[str]:
    """Rolls the policy out three times."""
    plan = ("--num_rollouts", "3", "--videos", "0", "--modes", "chunk", "--num_workers", "1", "--num_envs", "1")
    return ["eval.py", str(folder / "run"), "--device", "cpu", *plan]


def recorded(folder: Path) -> str:
    """The digest of all arrays and images of the episodes."""
    digest = hashlib.sha256()
    for path in find_episodes(folder / "data"):
        episode = read_episode(path)
        arrays = [value for value in vars(episode).values() if isinstance(value, np.ndarray)]
        for array in (*arrays, *(episode.read_images(camera) for camera in episode.cameras)):
            digest.update(f"{path.name} {array.dtype} {array.shape}".encode() + array.tobytes())
    return digest.hexdigest()


def trained(folder: Path) -> str:
    """The digest of the weights."""
    return RunFolder(folder / "run").digest()


def evaluated(folder: Path) -> str:
    """What happened in every rollout."""
    (path,) = (folder / "run" / "eval").glob("*/results.json")
    return json.dumps(json.loads(path.read_text())["episodes"], sort_keys=True)


Command = Callable[[Path], list[str]]
Digest = Callable[[Path], str]
# name -> what is run, its result, and what is removed before it is run again
PROGRAMS: dict[str, tuple[Command, Digest, str]] = {
    "recording": (record, recorded, "data"),
    "training": (train, trained, "run"),
    "evaluation": (evaluate, evaluated, "run/eval"),
}


# -------------------------------------------------------------------------------------------------------------- trials
def run_kills(folder: Path, count: int, seed: int) -> Iterator[Trial]:
    """Yields the outcome of `count` trials, programs in turn, after each program has run undisturbed once.

    When a trial is killed depends on (seed, trial), and where that finds the program on the machine.
    Raises RuntimeError when an undisturbed program fails.
    """
    expected, durations = {}, {}
    for name, (command, result, _) in PROGRAMS.items():
        start = time.monotonic()
        code, _, said = run_and_kill(command(folder), None)
        if code:
            raise RuntimeError(f"{name} failed, although nobody killed it: {said}")
        expected[name], durations[name] = result(folder), time.monotonic() - start
    names = list(PROGRAMS)
    for index in range(count):
        name, rng = names[index % len(names)], np.random.default_rng((seed, index))
        yield run_trial(folder, name, expected[name], durations[name], rng)


def run_trial(folder: Path, name: str, expected: str, duration: float, rng: np.random.Generator) -> Trial:
    """Kills one program at random moments of `duration` [s], lets it end, and restores what was there before."""
    command, result, produced = PROGRAMS[name]
    kept = folder / "undisturbed"
    (folder / produced).rename(kept)
    kills = 0
    try:
        for _ in range(1 + int(rng.random() < TWICE)):
            kills += run_and_kill(command(folder), rng.uniform(0, duration))[1]
        code, _, said = run_and_kill(command(folder), None)
        if code:
            return Trial(name, kills, "failed", said)
        return Trial(name, kills, "equal" if result(folder) == expected else "another result")
    finally:
        shutil.rmtree(folder / produced, ignore_errors=True)
        kept.rename(folder / produced)


def run_and_kill(words: list[str], after: float | None) -> tuple[int, bool, str]:
    """Runs a program and kills it with its workers `after` so many seconds (None: never).

    Returns its exit code, whether it was killed, and its last line on stderr.
    """
    with subprocess.Popen(
        [sys.executable, *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as program:
        try:
            said = program.communicate(timeout=PATIENCE if after is None else after)[1]
            return program.returncode, False, (said.strip().splitlines() or [""])[-1]
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(program.pid, signal.SIGKILL)
            program.communicate()
    if after is None:
        return -signal.SIGKILL, True, f"it did not end within {PATIENCE:.0f} s"
    return -signal.SIGKILL, True, ""


def make_table(trials: list[Trial]) -> str:
    """Returns the outcomes as a Markdown table."""
    lines = ["| program | trials | kills | equal result | another result | failed |", "|---" * 6 + "|"]
    for name in (*PROGRAMS, "all"):
        chosen = [trial for trial in trials if name in (trial.program, "all")]
        outcomes, kills = Counter(trial.outcome for trial in chosen), sum(trial.kills for trial in chosen)
        counts = [len(chosen), kills, *(outcomes[outcome] for outcome in ("equal", "another result", "failed"))]
        lines.append(f"| {name} | " + " | ".join(map(str, counts)) + " |")
    return "\n".join(lines)
