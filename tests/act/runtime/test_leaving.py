"""A policy that never answers can be left: the end of a rollout and Ctrl-C end the program within two seconds."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from act.runtime.query_thread import QueryThread
from act.runtime.realtime import AsyncAgent
from tests.fakes.constant_policy import ConstantPolicy

ROOT = Path(__file__).parents[3]
SOON = 2.0  # [s] on an idle machine
BUSY = 8.0  # [s] more that tests allow a machine on which others compute, too; the policies hang for 1000 s
PROGRAM = """
import sys, time
from tests.act.runtime.hanging import Hanging, drive

if __name__ == "__main__":
    drive(sys.argv[1], int(sys.argv[2]))
"""


class Slow(ConstantPolicy):
    """Answers when `go` is set."""

    def __init__(self) -> None:
        super().__init__(0.0)
        self.go = threading.Event()

    def predict_chunk(self, histories):
        assert self.go.wait(10)
        return super().predict_chunk(histories)


def test_calls_run_one_after_another_and_errors_are_raised_where_results_are_awaited() -> None:
    ran: list[str] = []
    executor = QueryThread(lambda: ran.append(threading.current_thread().name))
    futures = [executor.submit(lambda n=n: ran.append(str(n)) or n) for n in range(3)]
    assert [future.result(5) for future in futures] == [0, 1, 2] and ran == ["policy", "0", "1", "2"]
    with pytest.raises(ZeroDivisionError):
        executor.submit(lambda: 1 / 0).result(5)
    assert executor.submit(pow, 2, exp=3).result(5) == 8


def test_the_thread_ends_with_its_executor() -> None:
    before = set(threading.enumerate())
    executor = QueryThread()
    executor.submit(int).result(5)
    (thread,) = set(threading.enumerate()) - before
    del executor
    thread.join(5)
    assert not thread.is_alive()


def test_warming_up_waits_no_longer_than_it_should() -> None:
    policy = Slow()
    agent = AsyncAgent(policy)
    began = time.monotonic()
    with pytest.raises(TimeoutError, match=r"the policy has not answered its first query within 0.2 s"):
        agent.warm_up([{"qpos": np.zeros(14)}], timeout=0.2)
    assert time.monotonic() - began < SOON
    policy.go.set()
    agent.warm_up([{"qpos": np.zeros(14)}], timeout=5)
    assert agent.latencies == []
    with pytest.raises(ValueError, match=r"qpos\[0\] is nan"):
        agent.warm_up([{"qpos": np.full(14, np.nan)}])
    with pytest.raises(ValueError, match="the policy answered nan"):
        AsyncAgent(ConstantPolicy(np.nan)).warm_up([{"qpos": np.zeros(14)}])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "stop"), [("thread", "end"), ("thread", "ctrl-c"), ("process", "ctrl-c"), ("server", "ctrl-c")]
)
def test_a_program_ends_soon_although_its_policy_never_answers(kind: str, stop: str, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    steps = 25 if stop == "end" else 100_000
    arguments = [sys.executable, str(program), kind, str(steps)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env) as running:
        assert running.stdout is not None
        while "asked" not in (line := running.stdout.readline()):
            assert line, running.communicate()[1]
        if stop == "ctrl-c":
            running.send_signal(signal.SIGINT)
        else:
            while "rollout ended" not in (line := running.stdout.readline()):
                assert line, running.communicate()[1]
        began = time.monotonic()
        _, errors = running.communicate(timeout=30)
        took = time.monotonic() - began
    assert running.returncode == (0 if stop == "end" else 130), errors
    assert took < SOON + BUSY and "Traceback" not in errors, (took, errors)
