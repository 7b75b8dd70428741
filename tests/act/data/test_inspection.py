"""One bad file costs one sentence: files are read in a process with limits, which is started again."""

import ctypes
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from act.data.episodes import episode_path, write_episode
from act.data.inspection import Finding, Inspector, describe, examine
from tests.act.data.test_episodes import content


def spin(path: Path) -> Finding:
    while True:
        pass


def crash(path: Path) -> Finding:
    ctypes.string_at(0)
    return Finding(path)


def sleep(path: Path) -> Finding:
    time.sleep(60)
    return Finding(path)


def allocate(path: Path) -> Finding:
    return Finding(path, line=str(np.ones(1 << 28).sum()))  # 2 GB


def fail(path: Path) -> Finding:
    raise KeyError(f"{path} surprises")


def be_killed(path: Path) -> Finding:
    os.kill(os.getpid(), signal.SIGKILL)
    return Finding(path)


@pytest.mark.slow
def test_a_file_that_stops_its_reader_costs_one_sentence_and_the_next_one_is_read(tmp_path: Path) -> None:
    path = write_episode(episode_path(tmp_path, 0), **content())
    expected = {
        spin: ("damaged: HDF5 did not finish reading it within", True),
        crash: ("damaged: reading it crashes HDF5 (exit code -11)", True),
        sleep: ("reading it took longer than", False),
        allocate: ("reading it takes more memory than it may", False),
        fail: ("cannot be read (KeyError: ", False),
        be_killed: ("the system stopped reading it", False),
    }
    for function, (words, damaged) in expected.items():
        wall_seconds = 4.0 if function is sleep else 120.0  # computing for half a second takes long on a busy machine
        with Inspector(memory=1 << 30, cpu_seconds=0.5, wall_seconds=wall_seconds) as inspector:
            finding = inspector.inspect(function, path)
            assert finding.problem is not None and finding.problem.startswith(f"{path}: {words}"), finding
            assert finding.damaged == damaged and "\n" not in finding.problem
            assert inspector.inspect(examine, path).problem is None


def test_a_sound_file_is_described_and_a_missing_one_is_a_problem(tmp_path: Path) -> None:
    path = write_episode(episode_path(tmp_path, 0), **content())
    assert examine(path, decode_all=True).sealed and "6 steps  14-D  JPEG 32x48" in describe(path).line
    assert "No such file" in (describe(tmp_path / "episode_7.hdf5").problem or "")
