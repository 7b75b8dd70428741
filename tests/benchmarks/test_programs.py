"""The runner of programs: budgets, interruptions and failures. The programs are toys."""

import math
import os
import signal
import threading
import time
from functools import partial
from pathlib import Path

import pytest

from benchmarks.programs import OutOfTime, Runner, seconds

SLEEP = "import time; print('sleeping', flush=True); time.sleep(60)"


def python(program: str) -> list[str]:
    return ["-c", program]


def wait_for(path: Path, text: str) -> None:
    while not (path.exists() and text in path.read_text()):
        time.sleep(0.01)


def test_a_failing_program_is_named_with_its_last_line(tmp_path: Path):
    with pytest.raises(RuntimeError, match=r"ended with code 1: no such run \(the whole output is in .*log\)"):
        Runner().run(python("print('first'); raise SystemExit('no such run')"), tmp_path / "log")
    assert "first" in (tmp_path / "log").read_text()


def test_a_program_has_ended_when_the_budget_is_spent(tmp_path: Path):
    runner = Runner()

    def spend() -> None:
        wait_for(tmp_path / "log", "\nsleeping")
        runner.deadline = 0.0

    threading.Thread(target=spend, daemon=True).start()
    with pytest.raises(OutOfTime):
        runner.run(python(SLEEP), tmp_path / "log")
    assert "KeyboardInterrupt" in (tmp_path / "log").read_text()


def test_no_program_starts_after_the_budget_is_spent(tmp_path: Path):
    with pytest.raises(OutOfTime):
        Runner("0s").run(python("print()"), tmp_path / "log")
    assert not (tmp_path / "log").exists()


def test_jobs_run_side_by_side_and_a_failure_leaves_the_others_alone(capsys: pytest.CaptureFixture[str]):
    meet = threading.Barrier(2, timeout=30)

    def fail() -> None:
        meet.wait()
        raise RuntimeError("no luck")

    failures = Runner().side_by_side({"first": fail, "second": meet.wait}, 2, "job")
    assert failures == ["first"] and "first: no luck" in capsys.readouterr().err


def test_ctrl_c_ends_the_programs_of_all_threads(tmp_path: Path):
    logs = [tmp_path / "a.log", tmp_path / "b.log"]
    runner = Runner()

    def press() -> None:
        for log in logs:
            wait_for(log, "\nsleeping")
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press, daemon=True).start()
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        runner.side_by_side({log.name: partial(runner.run, python(SLEEP), log) for log in logs}, 2, "job")
    assert time.monotonic() - begun < 50 and all("KeyboardInterrupt" in log.read_text() for log in logs)


def test_budgets_are_hours_minutes_and_seconds():
    assert [seconds(text) for text in ("90m", "1h30m", "45s")] == [5400, 5400, 45]
    assert seconds("") == math.inf
