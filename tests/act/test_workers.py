"""A worker process answers calls, hands on its errors by class, and never outlives its parent."""

import multiprocessing
import operator
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import NoReturn

import pytest

from act.workers import Worker, close_all, run_program, wait_for_any

ROOT = Path(__file__).parents[2]


class Counter:
    """What the workers of these tests hold."""

    def __init__(self, start: int, closed: Path | None = None):
        self.value, self.closed = start, closed

    def add(self, number: int) -> int:
        self.value += number
        return self.value

    def wait(self, seconds: float) -> int:
        time.sleep(seconds)
        return self.value

    def fail(self, error: Exception) -> NoReturn:
        raise error

    def die(self) -> NoReturn:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("unreachable")

    def process(self) -> int:
        return os.getpid()

    def close(self) -> None:
        if self.closed is not None:
            self.closed.write_text(str(self.value))


def start(value: int = 0, name: str = "counter") -> Worker:
    return Worker(partial(Counter, value), name)


def refuse(message: str) -> NoReturn:
    raise ValueError(message)


@pytest.fixture(autouse=True)
def no_process_stays():
    yield
    assert multiprocessing.active_children() == []


def test_a_worker_keeps_its_object_between_calls_and_closes_it(tmp_path: Path) -> None:
    with Worker(partial(Counter, 3, tmp_path / "closed"), "counter") as worker:
        assert [worker.call(Counter.add, number) for number in (1, 2)] == [4, 6]
        assert worker.call(operator.attrgetter("value")) == 6
        assert worker.call(Counter.process) != os.getpid()
    assert (tmp_path / "closed").read_text() == "6"


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (ValueError("joint 3"), ValueError, "^counter: joint 3$"),
        (UnicodeDecodeError("ascii", b"", 0, 1, "why"), ValueError, "^counter: 'ascii' codec"),
        (FileNotFoundError(2, "No such file", "x"), OSError, r"^counter: \[Errno 2\] No such file: 'x'$"),
        (ConnectionResetError("the robot is gone"), OSError, "^counter: the robot is gone$"),
        (KeyError("joint 3"), RuntimeError, r"(?s)^counter: Traceback.*in fail.*KeyError: 'joint 3'$"),
    ],
)
def test_errors_keep_their_class_where_it_is_the_callers_fault(
    error: Exception, kind: type[Exception], message: str
) -> None:
    worker = start()
    with pytest.raises(kind, match=message) as raised:
        worker.call(Counter.fail, error)
    assert type(raised.value) is kind


def test_an_object_that_cannot_be_made_answers_the_first_call_with_its_error() -> None:
    with pytest.raises(ValueError, match="no such policy"):
        Worker(partial(refuse, "no such policy"), "policy").call(Counter.add, 1)


def test_a_worker_that_was_killed_says_so() -> None:
    with pytest.raises(ChildProcessError, match=r"counter died: it was killed, perhaps because the memory ran out"):
        start().call(Counter.die)
    worker = start()
    os.kill(worker.call(Counter.process), signal.SIGKILL)
    time.sleep(0.1)
    with pytest.raises(ChildProcessError, match="counter died"):
        worker.call(Counter.add, 1)


def test_a_worker_that_ends_by_itself_says_how() -> None:
    with pytest.raises(ChildProcessError, match="counter died: it ended with exit code 3"):
        start().call(Counter.fail, SystemExit(3))


def test_the_first_worker_that_has_answered_is_found() -> None:
    workers = [start(value, f"counter {value}") for value in range(3)]
    for worker, seconds in zip(workers, (5.0, 0.0, 5.0), strict=True):
        worker.send(Counter.wait, seconds)
    assert wait_for_any(workers).receive() == 1
    close_all(workers, patience=0)


def test_a_worker_that_does_not_end_is_killed() -> None:
    worker = start()
    assert worker.call(Counter.add, 1) == 1
    worker.send(Counter.wait, 60.0)
    began = time.monotonic()
    worker.close(patience=0.2)
    assert time.monotonic() - began < 2


def test_a_worker_leaves_ctrl_c_to_its_parent() -> None:
    with start(5) as worker:
        process = worker.call(Counter.process)
        worker.send(Counter.wait, 0.3)
        os.kill(process, signal.SIGINT)
        assert worker.receive() == 5


def test_a_busy_worker_ends_when_its_parent_is_killed() -> None:
    lines = (
        "from tests.act.test_workers import Counter, start",
        "worker = start()",
        "print(worker.call(Counter.process), flush=True)",
        "worker.call(Counter.wait, 60.0)",
    )
    with subprocess.Popen([sys.executable, "-c", "\n".join(lines)], cwd=ROOT, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        process = int(parent.stdout.readline())
        parent.kill()
    deadline = time.monotonic() + 10
    while is_running(process) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not is_running(process)


def is_running(process: int) -> bool:
    """False also for a process that has ended and waits for somebody to read its exit code (state Z)."""
    status = Path(f"/proc/{process}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


# ---------------------------------------------------------------------------------------------------------- programs
SLEEP = "import pathlib, sys, time; pathlib.Path('began').touch(); time.sleep(60)"
DEAF = f"import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); {SLEEP}"


def test_a_program_gets_its_variables_and_appends_what_it_says_to_the_log(tmp_path: Path):
    program = "import os; print(os.environ['COLOUR']); raise SystemExit(3)"
    for _ in range(2):
        assert run_program([sys.executable, "-c", program], tmp_path / "log", {"COLOUR": "blue"}) == 3
    assert (tmp_path / "log").read_text() == "blue\nblue\n"


@pytest.mark.parametrize("program", [SLEEP, DEAF])
def test_a_program_has_ended_when_a_check_fails_even_one_that_ignores_interrupts(program: str, tmp_path: Path):
    ends: list[int] = []

    class Watched(subprocess.Popen):
        def wait(self, timeout: float | None = None) -> int:
            code = super().wait(timeout)
            ends.append(code)
            return code

    def check() -> None:
        if (tmp_path / "began").exists():
            raise RuntimeError("enough")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("act.workers.subprocess.Popen", Watched)
        with pytest.raises(RuntimeError, match="enough"):
            command = [sys.executable, "-c", program]
            run_program(command, tmp_path / "log", {}, check, patience=1.0, folder=tmp_path)
    assert ends == [-signal.SIGKILL if program == DEAF else -signal.SIGINT]
