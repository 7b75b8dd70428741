"""The programs that are killed, or run on a disk that is too small: what they do, and what their result is.

A program runs in a fork of this process, which has loaded torch already. So a trial costs what the program does, and a
kill hits its work and not seconds of imports.
"""

import contextlib
import hashlib
import importlib
import json
import os
import shutil
import signal
import sys
import time
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
import torch
from safetensors.torch import load_file

import eval as evaluation
import record_sim_episodes
import train
from act.__main__ import main as act
from act.data.episodes import find_episodes, read_episode
from act.nn.tensors import tensors_digest
from act.run_folder import RunFolder
from act.training import pretrain

LOADED = ("torch.utils.tensorboard", "torchvision.models", "onnxruntime", "pyarrow.parquet", "av")  # where installed
TASK = "sim_transfer_cube_scripted"
PATIENCE = 900.0  # [s] for a program that takes seconds on quiet cores
VIEW = ("--cameras", "top", "--image_size", "48", "64")
TINY = ("--hidden_dim", "16", "--dim_feedforward", "32", "--n_heads", "2", "--batch_size", "4", "--device", "cpu")
SAVING = ("--save_every", "5", "--log_every", "5", "--val_fraction", "0.5")


@dataclass(frozen=True)
class Program:
    """A program, of which `inputs` is the folder of what other programs made before, each under its name."""

    run: Callable[[Path, Path], int]  # (inputs, out) -> exit code
    result: Callable[[Path], str]  # out -> a text that is the same for equal results
    begins_with: str = ""  # the program whose output is copied to `out` before


# ------------------------------------------------------------------------------------------------------------ programs
def record(*more: str) -> Callable[[Path, Path], int]:
    words = ("--task_name", TASK, *VIEW, "--num_episodes", "2", "--workers", "1", *more)
    return lambda inputs, out: record_sim_episodes.main([*words, "--dataset_dir", str(out)])


def record_scenes(inputs: Path, out: Path) -> int:
    words = ("--random_scenes", "30", *VIEW, "--workers", "1")
    return record_sim_episodes.main(["--task_name", TASK, *words, "--dataset_dir", str(out)])


def pretrain_backbone(backbone: str, steps: int, *more: str) -> Callable[[Path, Path], int]:
    def run(inputs: Path, out: Path) -> int:
        pretrain.SAVE_EVERY = 4  # a pretraining has hundreds of steps, and this one few
        words = ("--backbone", backbone, "--steps", str(steps), "--batch_size", "4", "--device", "cpu", *more)
        return act(["pretrain", str(inputs / "scenes" / "scenes.hdf5"), "--out", str(out), *words])

    return run


def train_policy(preset: str, steps: int) -> Callable[[Path, Path], int]:
    def run(inputs: Path, out: Path) -> int:
        words = ["--policy_class", "ACT", "--preset", preset, "--task_name", TASK, "--steps", str(steps), *TINY]
        words += ["--dataset_dir", str(inputs / "recording"), "--run_dir", str(out), *SAVING]
        if preset == "aloha":  # co-training: the encoder also learns to locate keypoints in random scenes
            words += [*VIEW, "--scenes", str(inputs / "scenes" / "scenes.hdf5"), "--scene_batch_size", "2"]
            words += ["--trunk", str(inputs / "resnet18")]
        return train.main(words)

    return run


def evaluate(inputs: Path, out: Path) -> int:
    plan = ("--num_rollouts", "3", "--videos", "0", "--modes", "chunk", "--num_workers", "1", "--num_envs", "1")
    return evaluation.main([str(out), "--device", "cpu", *plan])


def convert(inputs: Path, out: Path) -> int:
    words = ("--video", "none", "--workers", "1")
    if (out / "converted").exists():  # it appears whole, and a second conversion into the same folder is refused
        return 0
    return act(["convert", str(inputs / "recording"), str(out / "converted"), *words])


def export(inputs: Path, out: Path) -> int:
    return act(["export", str(out)])


# ------------------------------------------------------------------------------------------------------------- results
def recorded(out: Path) -> str:
    digest = hashlib.sha256()
    for path in find_episodes(out):
        episode = read_episode(path)
        arrays = [value for value in vars(episode).values() if isinstance(value, np.ndarray)]
        for array in (*arrays, *(episode.read_images(camera) for camera in episode.cameras)):
            digest.update(f"{path.name} {array.dtype} {array.shape}".encode() + array.tobytes())
    return digest.hexdigest()


def trained(out: Path) -> str:
    return RunFolder(out).digest()


def pretrained(out: Path) -> str:
    return tensors_digest(load_file(out / "trunk.safetensors")) + (out / "pretrain.json").read_text()


def evaluated(out: Path) -> str:
    (path,) = (out / "eval").glob("*/results.json")
    return json.dumps(json.loads(path.read_text())["episodes"], sort_keys=True)


def files(*patterns: str) -> Callable[[Path], str]:
    """The digests of all files of some patterns."""

    def result(out: Path) -> str:
        found = sorted(path for pattern in patterns for path in out.glob(pattern) if path.is_file())
        lines = [f"{path.relative_to(out)} {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in found]
        return "\n".join(lines)

    return result


# In an order in which each program finds what it needs.
PROGRAMS = {
    "recording": Program(record(), recorded),
    "raw recording": Program(record("--raw"), recorded),
    "scenes": Program(record_scenes, files("scenes.hdf5")),
    "resnet18": Program(pretrain_backbone("resnet18", 10), pretrained),
    "pretraining": Program(pretrain_backbone("keypoints", 40, "--channels", "4", "4", "8", "8"), pretrained),
    "training": Program(train_policy("state", 40), trained),
    "co-training": Program(train_policy("aloha", 20), trained),
    "evaluation": Program(evaluate, evaluated, begins_with="training"),
    "conversion": Program(convert, files("converted/data/**/*", "converted/meta/**/*")),
    "export": Program(export, files("policy.onnx"), begins_with="training"),
}


# ------------------------------------------------------------------------------------------------------------- running
@dataclass(frozen=True)
class End:
    """How a program ended."""

    code: int  # minus the signal's number where one ended it
    killed: bool  # here, because its time was over
    said: str  # its last line on stderr


def prepare(program: Program, inputs: Path, out: Path) -> None:
    """Puts into `out`, which may exist and be empty, what the program continues."""
    out.mkdir(parents=True, exist_ok=True)
    if program.begins_with:
        shutil.copytree(inputs / program.begins_with, out, dirs_exist_ok=True)


def run_undisturbed(inputs: Path, names: tuple[str, ...], programs: dict[str, Program]) -> Iterator[tuple[str, float]]:
    """Runs programs, and yields their names and how long they took [s]. Raises RuntimeError when one fails."""
    for module in LOADED:
        with contextlib.suppress(ImportError):
            importlib.import_module(module)
    for name in names:
        start = time.monotonic()
        prepare(programs[name], inputs, inputs / name)
        end = run_and_kill(lambda name=name: programs[name].run(inputs, inputs / name), None, inputs / "log")
        if end.code:
            raise RuntimeError(f"{name} failed, although nobody disturbed it: {end.said}")
        yield name, time.monotonic() - start


def run_and_kill(work: Callable[[], int], after: float | None, log: Path) -> End:
    """Runs `work` in a fork, and kills it with its workers `after` so many seconds (None: never).

    log: the file that gets its output.
    """
    child = os.fork()
    if child == 0:
        _work(work, log)
    code = _wait(child, PATIENCE if after is None else after)
    killed = code is None
    if code is None:
        for kill in (os.killpg, os.kill):  # it may not have a group of its own yet
            with contextlib.suppress(ProcessLookupError):
                kill(child, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    said = lines[-1] if lines else ""
    return End(code, killed, f"it did not end within {PATIENCE:.0f} s" if killed and after is None else said)


def _wait(child: int, seconds: float) -> int | None:
    """The exit code of a child; None when it still runs after so many seconds."""
    deadline = time.monotonic() + seconds
    while True:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() >= deadline:
            return None
        time.sleep(0.005)


def _work(work: Callable[[], int], log: Path) -> NoReturn:
    """What the fork does; it never returns."""
    code = 1
    try:
        os.setsid()
        descriptor = os.open(log, os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
        for number, opened in ((0, os.open(os.devnull, os.O_RDONLY)), (1, descriptor), (2, descriptor)):
            os.dup2(opened, number)
        sys.stdout = sys.stderr = os.fdopen(descriptor, "w", buffering=1)
        torch.set_num_threads(1)  # the threads of the parent are not in the fork
        sys.modules["__main__"] = types.ModuleType("__main__")  # so that workers do not load this program again
        code = work()
    except BaseException:
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
