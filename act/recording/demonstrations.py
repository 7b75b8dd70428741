"""Recording a data set: attempts in worker processes, numbering in the parent, resuming from the files alone.

Attempt k (act/recording/attempts.py) runs with seed `seed + k`; the i-th kept episode in the order of attempts becomes
episode_<i>.hdf5. Workers leave whole episodes in DIR/.partial, and only the parent numbers them, in order, so the files
are the same bytes whatever the number of workers. The seeds of consecutive files say which attempts failed.
"""

import functools
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from tqdm import tqdm

from act.data.editing.copying import check_not_edited
from act.data.episodes import episode_index, episode_path, find_episodes, read_episode
from act.recording.attempts import AttemptRunner, MakeEnv, MakeExpert, Outcome, Recording
from act.seeds import DEMONSTRATION_SEEDS
from act.workers import Worker, close_all, use_one_core, wait_for_any

HOPELESS = 50  # attempts without one kept episode, after which the recorder gives up
MakeRunner = Callable[[Path], AttemptRunner]  # picklable; the argument is the folder of unnumbered episodes
StartWorkers = Callable[[MakeRunner, Path], "Workers"]


# ------------------------------------------------------------------------------------------------------------- workers
class Workers(Protocol):
    """What runs attempts side by side: WorkerPool on this machine, act.cluster.RayWorkers on several."""

    @property
    def free(self) -> int:
        """How many attempts may be submitted now."""
        ...

    def submit(self, attempt: int) -> None: ...
    def next_outcome(self) -> Outcome:
        """Waits for the next attempt to end, whichever it is."""
        ...

    def stop(self) -> None: ...


class WorkerPool:
    """Worker processes of this machine that run one attempt at a time each.

    `stop` kills them at once; they leave only whole files.
    """

    def __init__(self, make_runner: MakeRunner, folder: Path, workers: int):
        self._make, self._workers = functools.partial(_make_runner, make_runner, folder), workers
        self._idle: list[Worker] = []
        self._busy: list[Worker] = []

    @property
    def free(self) -> int:
        return self._workers - len(self._busy)

    def submit(self, attempt: int) -> None:
        name = f"recording worker {len(self._busy)}"
        worker = self._idle.pop() if self._idle else Worker(self._make, name)  # a few attempts need few processes
        worker.send(AttemptRunner.run, attempt)
        self._busy.append(worker)

    def next_outcome(self) -> Outcome:
        worker = wait_for_any(self._busy)
        outcome = worker.receive()
        self._busy.remove(worker)
        self._idle.append(worker)
        return outcome

    def stop(self) -> None:
        close_all([*self._idle, *self._busy], patience=0)


def _make_runner(make_runner: MakeRunner, folder: Path) -> AttemptRunner:
    use_one_core()
    return make_runner(folder)


# ----------------------------------------------------------------------------------------------- numbering and resuming
@dataclass
class Progress:
    """Commits outcomes in the order of attempts: each kept one becomes the next episode."""

    directory: Path
    known: dict[int, Outcome]  # decided, not yet committed
    n_seeds: int  # how many attempts have a seed
    decided: int = 0  # attempts committed, and so the number of the next one
    successes: int = 0
    kept: int = 0
    running: set[int] = field(default_factory=set)

    def commit(self, num_episodes: int) -> None:
        while self.kept < num_episodes and self.decided in self.known:
            outcome = self.known.pop(self.decided)
            if outcome.path is not None:
                self._number(outcome.path)
                self.kept += 1
            self.successes += outcome.success
            self.decided += 1

    def _number(self, path: Path) -> None:
        target = episode_path(self.directory, self.kept)
        if path == target:
            return
        if path.parent == self.directory or target.exists():
            raise ValueError(
                f"{path}: attempt {self.decided} would become {target.name}, but this data set began differently "
                "(with other versions or on another machine?); give another --dataset_dir"
            )
        path.replace(target)

    def next_attempt(self, num_episodes: int) -> int | None:
        """The next attempt worth running; None while those under way may suffice."""
        promised = sum(outcome.path is not None for outcome in self.known.values()) + len(self.running)
        if self.kept + promised >= num_episodes and self.decided in self.running:
            return None
        attempt = self.decided
        while attempt in self.known or attempt in self.running:
            attempt += 1
        if attempt >= self.n_seeds:
            raise ValueError(
                f"the {self.n_seeds} seeds from --seed on are used up: give another --dataset_dir and a smaller --seed "
                "or a larger --spread"
            )
        return attempt

    def __str__(self) -> str:
        rate = 100 * self.successes / self.decided
        return (
            f"{self.kept} episodes in {self.directory}; "
            f"the expert succeeded in {self.successes} of {self.decided} attempts ({rate:.1f} %)"
        )


def find_known(directory: Path, recording: Mapping[str, Any]) -> dict[int, Outcome]:
    """Outcomes of earlier attempts: numbered episodes, the failures between them, and whole files in .partial.

    `recording` is `Recording.to_json()`. Raises ValueError if an episode is broken, or was recorded with other values;
    broken files in .partial are removed.
    """
    known: dict[int, Outcome] = {}
    last_index, last_attempt = -1, -1
    for path in find_episodes(directory) if directory.is_dir() else []:
        outcome = _outcome_of(path, recording)
        if episode_index(path) == last_index + 1:
            known |= {k: Outcome(k, False, None) for k in range(last_attempt + 1, outcome.attempt)}
        last_index, last_attempt = episode_index(path), outcome.attempt
        known[last_attempt] = outcome
    for path in (directory / ".partial").glob("*.hdf5"):
        if not _is_whole(path):
            path.unlink()
            continue
        outcome = _outcome_of(path, recording)
        known.setdefault(outcome.attempt, outcome)
    return known


def _is_whole(path: Path) -> bool:
    try:
        read_episode(path)
    except ValueError:
        return False
    return True


def _outcome_of(path: Path, expected: Mapping[str, Any]) -> Outcome:
    try:
        attrs = read_episode(path).attrs
    except ValueError as error:
        raise ValueError(f"{error}; `python -m act episodes repair {path.parent}` moves it away") from None
    check_not_edited(path, attrs)
    actual: Mapping[str, Any] = attrs.get("recording", {})  # older files also name a module, which decides nothing
    differing = [
        f"{name} {actual.get(name)!r} (now {value!r})" for name, value in expected.items() if actual.get(name) != value
    ]
    if differing:
        difference = ", ".join(differing) if actual else "another program"
        raise ValueError(f"{path} was recorded with {difference}; give another --dataset_dir or the same flags")
    attempt = int(attrs["attempt"]) if expected.get("spread") else int(attrs["seed"]) - expected["seed"]
    return Outcome(attempt, bool(attrs["strict_success"]), path)


# ----------------------------------------------------------------------------------------------------------- recording
def record(
    recording: Recording,
    make_env: MakeEnv,
    make_expert: MakeExpert,
    directory: Path,
    num_episodes: int,
    start_workers: StartWorkers,
) -> Progress:
    """Records until `directory` holds `num_episodes` episodes of the expert.

    `start_workers` is act.cluster.RayWorkers or partial(WorkerPool, workers=4); the files do not depend on it.
    Raises ValueError when the directory holds other episodes, RuntimeError when the expert never succeeds.

    Example:
        make_env = partial(sim_envs.make, "transfer_cube", cameras=("top",))
        make_expert = partial(sim_envs.make_expert, "transfer_cube", "scripted")
        recording = Recording("sim_transfer_cube_scripted", cameras=("top",))
        print(record(recording, make_env, make_expert, Path("data/cube"), 50, partial(WorkerPool, workers=4)))
    """
    partial = directory / ".partial"
    known = find_known(directory, recording.to_json())
    progress = Progress(directory, known, recording.spread or DEMONSTRATION_SEEDS.stop - recording.seed)
    progress.commit(num_episodes)
    if progress.kept < num_episodes:
        partial.mkdir(parents=True, exist_ok=True)
        make_runner = functools.partial(AttemptRunner, recording, make_env, make_expert)
        pool = start_workers(make_runner, partial)
        try:
            _record_missing(progress, pool, num_episodes)
        finally:
            pool.stop()
    shutil.rmtree(partial, ignore_errors=True)
    return progress


def _record_missing(progress: Progress, workers: Workers, num_episodes: int) -> None:
    with tqdm(total=num_episodes, initial=progress.kept, unit="episode", dynamic_ncols=True) as bar:
        while progress.kept < num_episodes:
            while workers.free and (attempt := progress.next_attempt(num_episodes)) is not None:
                progress.running.add(attempt)
                workers.submit(attempt)
            outcome = workers.next_outcome()
            progress.running.discard(outcome.attempt)
            progress.known[outcome.attempt] = outcome
            progress.commit(num_episodes)
            bar.update(progress.kept - bar.n)
            bar.set_postfix_str(f"{progress.successes} of {progress.decided} attempts succeeded")
            if progress.decided >= HOPELESS and not progress.kept:
                raise RuntimeError(
                    f"the expert failed in all of the first {progress.decided} attempts; no episode was kept"
                )
