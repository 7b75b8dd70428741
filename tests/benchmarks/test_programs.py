"""The runner of programs: budgets, interruptions and failures. The programs are toys."""

import signal
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest

from benchmarks import programs
from benchmarks.programs import OutOfTime, Runner, seconds

SLEEP = "import time; print('sleeping', flush=True); time.sleep(60)"
DEAF = f"import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); {SLEEP}"


def python(program: str) -> list[str]:
    return [sys.executable, "-c", program]


def wait_for(path: Path, text: str) -> None:
    while not (path.exists() and text in path.read_text()):
        time.sleep(0.01)


def test_a_failing_program_is_named_with_its_last_line(tmp_path: Path):
    with pytest.raises(RuntimeError, match=r"ended with code 1: no such run \(the whole output is in .*log\)"):
        Runner().run(python("print('first'); raise SystemExit('no such run')"), tmp_path / "log")
    assert "first" in (tmp_path / "log").read_text()


@pytest.mark.parametrize("program", [SLEEP, DEAF])
def test_a_program_has_ended_when_the_budget_is_spent_even_one_that_ignores_interrupts(
    program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(programs, "PATIENCE", 0.2)
    started: list[programs.LocalProgram] = []

    def start(*arguments) -> programs.LocalProgram:
        started.append(programs.LocalProgram(*arguments))
        wait_for(tmp_path / "log", "\nsleeping")
        runner.deadline = 0.0
        return started[0]

    runner = Runner(start=start)
    with pytest.raises(OutOfTime):
        runner.run(python(program), tmp_path / "log")
    assert started[0].poll() == (-signal.SIGKILL if program == DEAF else 1) or started[0].poll() == -signal.SIGINT


def test_no_program_starts_after_the_budget_is_spent(tmp_path: Path):
    with pytest.raises(OutOfTime):
        Runner(deadline=0.0).run(python("print()"), tmp_path / "log")
    assert not (tmp_path / "log").exists()


def test_jobs_run_side_by_side_and_a_failure_leaves_the_others_alone(tmp_path: Path):
    meet = threading.Barrier(2, timeout=30)

    def fail() -> None:
        meet.wait()
        raise RuntimeError("no luck")

    failures = Runner().side_by_side({"first": fail, "second": meet.wait}, 2, "job")
    assert failures == {"first": "no luck"}


def test_ctrl_c_ends_the_programs_of_all_threads(tmp_path: Path):
    logs = [tmp_path / "a.log", tmp_path / "b.log"]
    runner = Runner()

    def press() -> None:
        for log in logs:
            wait_for(log, "\nsleeping")
        signal.raise_signal(signal.SIGINT)

    threading.Thread(target=press, daemon=True).start()
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        runner.side_by_side({log.name: partial(runner.run, python(SLEEP), log) for log in logs}, 2, "job")
    assert time.monotonic() - begun < 50 and all("KeyboardInterrupt" in log.read_text() for log in logs)


def test_budgets_are_hours_minutes_and_seconds():
    assert [seconds(text) for text in ("90m", "1h30m", "45s")] == [5400, 5400, 45]
    assert seconds("") == float("inf")
