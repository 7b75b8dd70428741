"""Several machines through Ray: recording, rollouts and whole programs as calls that survive the loss of a machine.

    with connected("auto"):                        "auto", "host:6379", or "local" for one on this machine; "": no Ray
        record(recording, DIR, 50, workers, RayCrew)

A call goes to any process of the cluster that has the cores for it. What is dear to make (an environment, a policy) is
made once per process and kept. A call whose process or machine dies is made again elsewhere; its answer counts once.
Answers are bytes and numbers, so machines share no files: only those that run whole programs (`RemoteProgram`) do.
"""

import importlib
import logging
import os
import secrets
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial as bind
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from tqdm import tqdm

from act.agents import PolicyAgent
from act.attempts import Attempts, Outcome, Recording
from act.engine import FILES, about_path, fingerprint
from act.evaluation import EpisodeLog, LoggedEpisode, evaluate
from act.files import whole_file
from act.loading import open_policy
from act.provenance import available_cores
from act.recording import use_one_core
from act.rollout import ParallelEnvs

TRIES = 5  # processes that one call may take down before it is given up
TIMEOUT = 5  # [s] for the head of a cluster to answer, and for calls to end that are no longer wanted
POLL = 0.1  # [s]
# Runs a program that dies with the process that started it, also when that one has no time to say so (Linux).
DIE_TOGETHER = "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 9); os.execv(sys.argv[1], sys.argv[1:])"


# ---------------------------------------------------------------------------------------------------------- the cluster
@contextmanager
def connected(address: str) -> Iterator[None]:
    """Everything inside may use the cluster. ValueError where there is none, or no Ray."""
    if not address:
        yield
        return
    ray = _ray()
    if address not in ("auto", "local"):
        _check_reachable(address)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ours: dict[str, Any] = {}
    if address == "local":
        ours = {"num_cpus": available_cores(), "include_dashboard": False}
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))  # Ray would leave one in the home folder
    on_terminate = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **ours)
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        told = str(error).split("\n")[0]
        raise ValueError(f"--ray {address}: {told} `ray start --head` starts a cluster") from None
    if on_terminate != signal.SIG_DFL:  # Ray's own handler ends the program, which may have other plans
        signal.signal(signal.SIGTERM, on_terminate)
    try:
        if not core_counts():
            raise ValueError(f"--ray {address}: no machine of this cluster has cores to give; `ray start` adds one")
        yield
    finally:
        ray.shutdown()


def core_counts() -> list[int]:
    """Cores of every machine of the cluster that has any to give."""
    counts = [int(node["Resources"].get("CPU", 0)) for node in _ray().nodes() if node["Alive"]]
    return [count for count in counts if count]


def share(calls: int) -> int:
    """Cores for each of so many calls side by side; no more than the smallest machine has."""
    counts = core_counts()
    return max(1, min(sum(counts) // calls, *counts))


def gpu_share(calls: int) -> float:
    """The part of a GPU, 0 to 1, for each of so many calls side by side."""
    return min(1.0, _ray().cluster_resources().get("GPU", 0) / calls)


def _ray() -> Any:
    try:
        return importlib.import_module("ray")
    except ModuleNotFoundError:
        raise ValueError("--ray needs Ray, on every machine: pip install -e '.[ray]'") from None


def _check_reachable(address: str) -> None:
    """Ray itself would wait for more than a minute, and then end the program."""
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdigit():
        raise ValueError(f"--ray {address}: give auto, local, or HOST:PORT of a cluster's head")
    try:
        socket.create_connection((host, int(port)), TIMEOUT).close()
    except (OSError, OverflowError) as error:
        raise ValueError(f"--ray {address}: nobody answers ({error}); `ray start --head` starts a cluster") from None


class Calls:
    """Calls of the function that `make()` returns; each process of the cluster makes its own once, and keeps it.

    `submit` begins a call, `next_answer` returns what one of them came to, in the order in which they end.
    """

    def __init__(self, make: Callable[[], Callable[..., Any]], num_cpus: int = 1, num_gpus: float = 0.0):
        self._ray = _ray()
        self._call = self._ray.remote(max_retries=0, num_cpus=num_cpus, num_gpus=num_gpus)(_call)
        self._key, self._make = uuid.uuid4().hex, self._ray.put(make)
        self._running: dict[Any, tuple[str, tuple[Any, ...], int]] = {}  # by the reference to their answer

    def __len__(self) -> int:
        """Calls under way."""
        return len(self._running)

    def submit(self, name: str, *arguments: Any, tries: int = 1) -> None:
        reference = self._call.remote(self._key, [self._make], arguments)
        self._running[reference] = name, arguments, tries

    def next_answer(self, timeout: float | None = None) -> Any:
        """An answer, never None; None when there is none within `timeout` [s].

        ValueError as the function raised it; RuntimeError for any other exception of it; ChildProcessError for a call
        that took `TRIES` processes down.
        """
        while True:
            ended, _ = self._ray.wait(list(self._running), timeout=timeout)
            if not ended:
                return None
            name, arguments, tries = self._running.pop(ended[0])
            try:
                return self._ray.get(ended[0])
            except self._ray.exceptions.RayTaskError as error:
                if isinstance(error.cause, ValueError):
                    raise error.cause from None
                raise RuntimeError(f"{name} failed:\n{error}") from None
            except self._ray.exceptions.RayError as error:
                lost = f"{name}: its process or machine died ({type(error).__name__})"
                if tries == TRIES:
                    raise ChildProcessError(f"{lost}, {TRIES} times now; out of memory?") from None
                tqdm.write(f"{lost}; it is done again", file=sys.stderr)
                self.submit(name, *arguments, tries=tries + 1)

    def cancel(self) -> None:
        """Raises KeyboardInterrupt in all calls."""
        for reference in self._running:
            self._ray.cancel(reference)

    def wait(self, patience: float = TIMEOUT) -> None:
        """Until all calls have ended after `cancel`; their processes are killed after `patience` [s]."""
        if self._running:
            _, late = self._ray.wait(list(self._running), num_returns=len(self._running), timeout=patience)
            for reference in late:
                self._ray.cancel(reference, force=True)
        self._running.clear()


_made: dict[str, Callable[..., Any]] = {}  # in a process of the cluster: the function that it calls


def _call(key: str, make: Sequence[Any], arguments: Sequence[Any]) -> Any:
    if key not in _made:
        _made[key] = _ray().get(make[0])()
    return _made[key](*arguments)


# ------------------------------------------------------------------------------------------------------------ recording
class RayCrew:
    """A crew of `act.recording.record`: an attempt per core of the cluster, also of machines that join later."""

    def __init__(self, recording: Recording, partial: Path):
        self._calls, self._partial = Calls(bind(_Recorder, recording)), partial

    @property
    def free(self) -> int:
        return max(1, sum(core_counts())) - len(self._calls)

    def submit(self, attempt: int) -> None:
        self._calls.submit(f"attempt {attempt}", attempt)

    def next_outcome(self) -> Outcome:
        outcome, content = self._calls.next_answer()
        if outcome.path is None:
            return outcome
        path = self._partial / outcome.path.name
        with whole_file(path) as temporary:
            content.tofile(temporary)
        return replace(outcome, path=path)

    def stop(self) -> None:
        self._calls.cancel()
        self._calls.wait()


class _Recorder:
    """Runs attempts in a process of the cluster; answers with their outcome and the file's content, uint8."""

    def __init__(self, recording: Recording):
        use_one_core()
        self._attempts = Attempts(recording, Path())

    def __call__(self, attempt: int) -> tuple[Outcome, np.ndarray | None]:
        with tempfile.TemporaryDirectory() as folder:
            self._attempts.partial = Path(folder)
            outcome = self._attempts.run(attempt)
            return outcome, None if outcome.path is None else np.fromfile(outcome.path, np.uint8)


# ------------------------------------------------------------------------------------------------------------- rollouts
class Waves:
    """Rollouts of the policy in `run`, a wave of at most `num_envs` at a time on `num_workers` cores of a machine.

    `make` makes an environment; it must be importable by name. `device` and `engine` as in eval.py. ValueError when the
    run has other weights by now than `weights`, their fingerprint.
    """

    def __init__(
        self,
        run: Path,
        make: Callable[[], gymnasium.Env],
        num_envs: int,
        num_workers: int,
        weights: str,
        device: str = "cpu",
        engine: str = "torch",
    ):
        device = device.partition(":")[0]
        if device == "cuda" and not gpu_share(1):
            raise ValueError("the policy runs on a GPU here, but the cluster has none; give --device cpu")
        num_cpus = min(num_workers, *core_counts())
        evaluator = bind(_Evaluator, _files(run, engine, weights), make, num_envs, num_cpus, device, engine)
        self.num_envs, self._calls = num_envs, Calls(evaluator, num_cpus, float(device == "cuda"))

    def fill(self, log: EpisodeLog, seeds: Sequence[int], n_action_steps: int, ensemble_m: float | None) -> None:
        """Adds the rollouts of all `seeds` that `log` lacks, in the waves that `act.rollout` would make of them.

        The wall time of an episode is what passed here since the one before.
        """
        remaining = [seed for seed in seeds if seed not in log]
        for start in range(0, len(remaining), self.num_envs):
            wave = remaining[start : start + self.num_envs]
            self._calls.submit(f"rollouts of seeds {wave[0]} to {wave[-1]}", wave, n_action_steps, ensemble_m)
        since = time.perf_counter()
        try:
            with tqdm(total=len(seeds), initial=len(seeds) - len(remaining), unit="rollout", mininterval=1) as bar:
                while self._calls:
                    for episode in self._calls.next_answer():
                        now = time.perf_counter()
                        log.append(replace(episode, wall_time=now - since))
                        since = now
                        bar.update()
        finally:
            self._calls.cancel()
            self._calls.wait()


def _files(run: Path, engine: str, weights: str) -> dict[str, bytes]:
    """What a machine needs to load the policy of a run, which may be training."""
    paths = [run / "policy.json", run / "policy.safetensors"]
    if engine != "torch":
        paths = [run / FILES[engine], about_path(run / FILES[engine])]
    files = {path.name: path.read_bytes() for path in paths}
    if weights != fingerprint(run / "policy.safetensors") or files != {path.name: path.read_bytes() for path in paths}:
        raise ValueError(f"{run} has other weights now than when it was opened: it is trained meanwhile; try again")
    return files


class _Evaluator:
    """Runs waves in a process of the cluster: the policy here, the simulator, which must not meet torch, in others."""

    def __init__(
        self,
        files: Mapping[str, bytes],
        make: Callable[[], gymnasium.Env],
        num_envs: int,
        num_cpus: int,
        device: str,
        engine: str,
    ):
        with tempfile.TemporaryDirectory() as folder:
            for name, content in files.items():
                (Path(folder) / name).write_bytes(content)
            self._policy = open_policy(folder, engine, device, num_cpus)
        self._envs = ParallelEnvs(make, num_envs, num_cpus)

    def __call__(self, seeds: Sequence[int], n_action_steps: int, ensemble_m: float | None) -> list[LoggedEpisode]:
        log, agent = EpisodeLog(), PolicyAgent(self._policy, n_action_steps, ensemble_m)
        evaluate(self._envs, agent, seeds, progress=False, log=log)
        return [log.episodes[seed] for seed in seeds]


# ------------------------------------------------------------------------------------------------------- whole programs
class RemoteProgram:
    """A program on some machine of the cluster, which must see this folder under the same name.

    What it prints is added to `log`. When its machine dies, it is started again on another one.
    """

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        environment: Mapping[str, str],
        patience: float,
        num_cpus: int = 1,
        num_gpus: float = 0.0,
    ):
        self._patience = patience
        self._calls = Calls(lambda: _run_program, num_cpus, num_gpus)
        self._calls.submit(shlex.join(command[1:]), list(command), Path.cwd(), log, dict(environment), patience)

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs or waits for a machine with free cores."""
        return self._calls.next_answer(timeout=0)

    def interrupt(self) -> None:
        self._calls.cancel()

    def wait(self) -> None:
        """Until it has ended after `interrupt`; after `patience` [s] it is killed with all its workers."""
        self._calls.wait(self._patience + TIMEOUT)


def _run_program(
    command: Sequence[str], folder: Path, log: Path, environment: Mapping[str, str], patience: float
) -> int:
    """The exit code; on KeyboardInterrupt (a call that is cancelled) it ends the program first."""
    if not (folder / log).parent.is_dir():
        where = (folder / log).parent
        raise ValueError(f"{socket.gethostname()} sees no {where}; all machines must share the folders of a grid")
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # blocked in Ray's processes, and in their children
    with (folder / log).open("ab") as file:
        program = subprocess.Popen(
            [sys.executable, "-c", DIE_TOGETHER, *command],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            env={**os.environ, **environment},
            start_new_session=True,
        )
    try:
        while program.poll() is None:
            time.sleep(POLL)
    except KeyboardInterrupt:
        program.send_signal(signal.SIGINT)
        try:
            program.wait(patience)
        except subprocess.TimeoutExpired:
            os.killpg(program.pid, signal.SIGKILL)
            program.wait()
        raise
    return program.returncode
