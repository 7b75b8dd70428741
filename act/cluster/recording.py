"""Recording on a cluster: attempts answer with the bytes of their files, so the machines share no folder."""

import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from act.cluster.calls import Calls, core_counts
from act.files import whole_file
from act.recording.attempts import Outcome
from act.recording.demonstrations import MakeRunner
from act.workers import use_one_core


class RayWorkers:
    """`Workers` of act.recording.demonstrations.record: one attempt per core of the cluster.

    Machines that join later take part, too.

    Example:
        with connected("auto"):
            record(recording, make_env, make_expert, Path("data/cube"), 500, RayWorkers)
    """

    def __init__(self, make_runner: MakeRunner, folder: Path):
        self._calls, self._folder = Calls(partial(_Recorder, make_runner)), folder

    @property
    def free(self) -> int:
        return max(0, max(1, sum(core_counts())) - len(self._calls))  # machines may have been lost

    def submit(self, attempt: int) -> None:
        self._calls.submit(f"attempt {attempt}", attempt)

    def next_outcome(self) -> Outcome:
        outcome, content = self._calls.next_answer()
        if outcome.path is None:
            return outcome
        path = self._folder / outcome.path.name
        with whole_file(path) as temporary:
            content.tofile(temporary)
        return replace(outcome, path=path)

    def stop(self) -> None:
        self._calls.cancel()
        self._calls.wait()


class _Recorder:
    """Runs attempts in a process of the cluster; answers with their outcome and the file's content, uint8."""

    def __init__(self, make_runner: MakeRunner):
        use_one_core()
        self._runner = make_runner(Path())

    def __call__(self, attempt: int) -> tuple[Outcome, np.ndarray | None]:
        with tempfile.TemporaryDirectory() as folder:
            self._runner.folder = Path(folder)
            outcome = self._runner.run(attempt)
            return outcome, None if outcome.path is None else np.fromfile(outcome.path, np.uint8)
