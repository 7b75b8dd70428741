"""Recording on a cluster: attempts answer with their files, so the machines share none."""

import tempfile
from dataclasses import replace
from functools import partial as bind
from pathlib import Path

import numpy as np

from act.cluster.calls import Calls, core_counts
from act.files import whole_file
from act.recording.attempts import Attempts, Outcome, Recording
from act.workers import use_one_core


class RayWorkers:
    """Workers of `demonstrations.record`: an attempt per core of the cluster, also of machines that join later."""

    def __init__(self, recording: Recording, partial: Path):
        self._calls, self._partial = Calls(bind(_Recorder, recording)), partial

    @property
    def free(self) -> int:
        return max(0, max(1, sum(core_counts())) - len(self._calls))  # machines may have been lost

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
