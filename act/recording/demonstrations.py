"""Recording a dataset: attempts in worker processes, numbering in the parent, resuming from the files alone.

Attempt k (act/recording/attempts.py) runs with seed `seed + k`; the i-th kept episode in the order of attempts becomes
episode_<i>.hdf5. So the files are the same bytes whatever the number of workers: these leave whole episodes in
DIR/.partial, and only the parent gives them their number, in order. Which attempts failed is told by the seeds of
consecutive files.
"""

import functools
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from tqdm import tqdm

from act.data.episodes import episode_index, episode_path, find_episodes, read_episode
from act.recording.attempts import Attempts, Outcome, Recording
from act.seeds import DEMONSTRATION_SEEDS
from act.workers import Worker, close_all, use_one_core, wait_for_any

HOPELESS = 50  # attempts without one episode kept, after which the recorder gives up


# ------------------------------------------------------------------------------------------------------------- workers
class InProcessWorker:
    """The crew of one: runs in this process."""

    def __init__(self, recording: Recording, partial: Path):
        self._attempts = Attempts(recording, partial)
        self._todo: list[int] = []

    @property
    def free(self) -> int:
        return 1 - len(self._todo)

    def submit(self, attempt: int) -> None:
        self._todo.append(attempt)

    def next_outcome(self) -> Outcome:
        return self._attempts.run(self._todo.pop(0))

    def stop(self) -> None:
        self._attempts.envs.close()


class Workers(Protocol):
    """What runs attempts; InProcessWorker, WorkerPool, and act.cluster.RayWorkers on several machines."""

    @property
    def free(self) -> int:
        """How many attempts may be submitted now."""
        ...

    def submit(self, attempt: int) -> None: ...
    def next_outcome(self) -> Outcome: ...
    def stop(self) -> None: ...


class WorkerPool:
    """Worker processes that run one attempt at a time each. `stop` kills them at once; they leave only whole files."""

    def __init__(self, recording: Recording, partial: Path, workers: int):
        make = functools.partial(_make_attempts, recording, partial)
        self._idle = [Worker(make, f"recording worker {index}") for index in range(workers)]
        self._busy: list[Worker] = []

    @property
    def free(self) -> int:
        return len(self._idle)

    def submit(self, attempt: int) -> None:
        worker = self._idle.pop()
        worker.send(Attempts.run, attempt)
        self._busy.append(worker)

    def next_outcome(self) -> Outcome:
        worker = wait_for_any(self._busy)
        outcome = worker.receive()
        self._busy.remove(worker)
        self._idle.append(worker)
        return outcome

    def stop(self) -> None:
        close_all([*self._idle, *self._busy], patience=0)


def _make_attempts(recording: Recording, partial: Path) -> Attempts:
    use_one_core()
    return Attempts(recording, partial)


# ----------------------------------------------------------------------------------------------- numbering and resuming
@dataclass
class Progress:
    """Commits outcomes in the order of attempts: what is kept becomes the next episode."""

    directory: Path
    known: dict[int, Outcome]  # decided, not yet committed
    most: int  # attempts there are seeds for
    decided: int = 0  # attempts committed = number of the next one
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
                f"{path}: attempt {self.decided} gives {target.name} here, which is not how this dataset began "
                "(other versions or another machine?); give another --dataset_dir"
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
        if attempt >= self.most:
            raise ValueError(
                f"the {self.most} seeds from --seed on are used up: give another --dataset_dir and a smaller --seed"
            )
        return attempt


def find_known(directory: Path, recording: Recording) -> dict[int, Outcome]:
    """Outcomes told by the files: numbered episodes, failures between consecutive ones, whole files in .partial.

    ValueError if an episode is broken, or if anything was recorded otherwise; what is broken in .partial is removed.
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


def _outcome_of(path: Path, recording: Recording) -> Outcome:
    try:
        attrs = read_episode(path).attrs
    except ValueError as error:
        raise ValueError(f"{error}; `python -m act episodes repair {path.parent}` sets it aside") from None
    theirs: Mapping[str, Any] = attrs.get("recording", {})
    ours = recording.to_json()
    differing = [
        f"{name} {theirs.get(name)!r} (now {value!r})" for name, value in ours.items() if theirs.get(name) != value
    ]
    if differing:
        told = ", ".join(differing) if theirs else "another program"
        raise ValueError(f"{path} was recorded with {told}; give another --dataset_dir or the same flags")
    return Outcome(int(attrs["seed"]) - recording.seed, bool(attrs["strict_success"]), path)


def record(
    recording: Recording,
    directory: Path,
    num_episodes: int,
    workers: int,
    hire: Callable[[Recording, Path], Workers] | None = None,
) -> Progress:
    """Records until `directory` holds `num_episodes`; RuntimeError when the expert never succeeds.

    `hire` gives other workers than `workers` processes of this machine.
    """
    partial = directory / ".partial"
    progress = Progress(directory, find_known(directory, recording), DEMONSTRATION_SEEDS.stop - recording.seed)
    progress.commit(num_episodes)
    if progress.kept == num_episodes:
        shutil.rmtree(partial, ignore_errors=True)
        return progress
    partial.mkdir(parents=True, exist_ok=True)
    workers = min(workers, num_episodes - progress.kept)
    crew: Workers
    if hire is not None:
        crew = hire(recording, partial)
    else:
        crew = InProcessWorker(recording, partial) if workers == 1 else WorkerPool(recording, partial, workers)
    try:
        with tqdm(total=num_episodes, initial=progress.kept, unit="episode", dynamic_ncols=True) as bar:
            while progress.kept < num_episodes:
                while crew.free and (attempt := progress.next_attempt(num_episodes)) is not None:
                    progress.running.add(attempt)
                    crew.submit(attempt)
                outcome = crew.next_outcome()
                progress.running.discard(outcome.attempt)
                progress.known[outcome.attempt] = outcome
                progress.commit(num_episodes)
                bar.update(progress.kept - bar.n)
                bar.set_postfix_str(f"{progress.successes} of {progress.decided} attempts succeeded")
                if progress.decided >= HOPELESS and not progress.kept:
                    raise RuntimeError(
                        f"the expert failed in all of the first {progress.decided} attempts; nothing kept"
                    )
    finally:
        crew.stop()
    shutil.rmtree(partial, ignore_errors=True)
    return progress
