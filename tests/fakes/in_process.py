"""Records without worker processes, for tests that do not test the processes: the same results in less time."""

from pathlib import Path

from act.recording.attempts import Outcome
from act.recording.demonstrations import MakeRunner


class InProcess:
    """`Workers` of act.recording.demonstrations that run one attempt at a time, in this process."""

    def __init__(self, make_runner: MakeRunner, folder: Path, workers: int = 1):
        self._runner = make_runner(folder)
        self._submitted: list[int] = []

    @property
    def free(self) -> int:
        return 1 - len(self._submitted)

    def submit(self, attempt: int) -> None:
        self._submitted.append(attempt)

    def next_outcome(self) -> Outcome:
        return self._runner.run(self._submitted.pop())

    def stop(self) -> None:
        self._runner.close()
