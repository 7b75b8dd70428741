"""The recorder: only successes, the same bytes whatever the workers, and a dataset that can be continued."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import record_sim_episodes
from act.data.episodes import episode_path, find_episodes, read_episode
from act.files import lock_folder
from act.recording.attempts import DartNoise
from tests.fakes.toy_env import ToyEnv

ROOT = Path(__file__).parents[3]
WORLD = "tests.fakes.toy_world"
SMALL = ("--image_size", "24", "32", "--cameras", "top", "angle")


def record(directory: Path, number: int = 4, *flags: str, workers: int = 1, style: str = "scripted") -> int:
    argv = ["--task_name", f"sim_toy_{style}", "--dataset_dir", str(directory), "--num_episodes", str(number)]
    return record_sim_episodes.main([*argv, "--workers", str(workers), *SMALL, *flags], world=WORLD)


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("dataset")
    assert record(directory, 4) == 0
    return directory


def test_two_recorders_do_not_share_a_directory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with lock_folder(tmp_path, "recorded into", "--dataset_dir"):
        assert record(tmp_path, 1) == 2
    assert f"{tmp_path} is being recorded into by another process" in capsys.readouterr().err
    assert record(tmp_path, 1) == 0


def test_only_successes_are_kept_and_numbered_in_the_order_of_attempts(dataset: Path) -> None:
    episodes = [read_episode(path) for path in find_episodes(dataset)]
    assert [episode.attrs["seed"] for episode in episodes] == [0, 2, 3, 5]  # the toy expert fails at 1, 4, 7, ...
    assert all(episode.attrs["strict_success"] and episode.attrs["source"] == "scripted" for episode in episodes)
    assert episodes[0].cameras == ("top", "angle") and episodes[0].image_size == (24, 32)
    assert len(list(dataset.iterdir())) == 4


def test_a_success_that_does_not_last_is_not_kept(tmp_path: Path, monkeypatch, capsys) -> None:
    step = ToyEnv.step

    def slip(self: ToyEnv, action: np.ndarray):
        *seen, info = step(self, action)
        return *seen, {**info, "success": True, "strict_success": False}

    monkeypatch.setattr(ToyEnv, "step", slip)
    assert record(tmp_path, 1) == 1 and find_episodes(tmp_path) == []
    assert "failed in all of the first 50 attempts" in capsys.readouterr().err


def test_the_success_rate_of_the_expert_is_told(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    record(tmp_path, 2)
    assert "succeeded in 2 of 3 attempts (66.7 %)" in capsys.readouterr().out


def test_the_files_are_the_same_bytes_whatever_the_number_of_workers(dataset: Path, tmp_path: Path) -> None:
    assert record(tmp_path, 4, workers=2) == 0
    assert contents(tmp_path) == contents(dataset)


def test_a_dataset_can_be_continued_and_gaps_are_filled(dataset: Path, tmp_path: Path) -> None:
    assert record(tmp_path, 2) == 0
    assert record(tmp_path, 4) == 0
    assert contents(tmp_path) == contents(dataset)
    episode_path(tmp_path, 1).unlink()
    partial = tmp_path / ".partial"
    partial.mkdir()
    episode_path(tmp_path, 3).rename(partial / "attempt_5.hdf5")  # finished by a worker, not yet numbered
    (partial / "attempt_3.hdf5").write_text("half")
    assert record(tmp_path, 4) == 0
    assert contents(tmp_path) == contents(dataset)
    assert record(tmp_path, 3) == 0 and contents(tmp_path) == contents(dataset)


def test_a_dataset_recorded_otherwise_is_not_touched(dataset: Path, capsys: pytest.CaptureFixture) -> None:
    before = contents(dataset)
    assert record(dataset, 6, "--jpeg_quality", "50") == 2
    assert "jpeg_quality 85 (now 50)" in capsys.readouterr().err
    assert contents(dataset) == before


def test_what_was_not_numbered_yet_is_not_lost_to_other_flags(dataset: Path, tmp_path: Path) -> None:
    finished = tmp_path / ".partial" / "attempt_0.hdf5"
    finished.parent.mkdir()
    finished.write_bytes(episode_path(dataset, 0).read_bytes())
    assert record(tmp_path, 1, "--jpeg_quality", "50") == 2 and finished.exists()
    assert record(tmp_path, 1) == 0
    assert contents(tmp_path) == {"episode_0.hdf5": contents(dataset)["episode_0.hdf5"]}


def test_a_broken_episode_is_named_with_the_way_out(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    episode_path(tmp_path, 0).write_text("half a file")
    assert record(tmp_path, 1) == 2
    assert "episode_0.hdf5: not a readable HDF5 file" in (told := capsys.readouterr().err) and "repair" in told


def test_failures_are_kept_when_asked(tmp_path: Path) -> None:
    assert record(tmp_path, 3, "--keep_failures", "--raw") == 0
    episodes = [read_episode(path) for path in find_episodes(tmp_path)]
    assert [e.attrs["seed"] for e in episodes] == [0, 1, 2]
    assert [e.attrs["strict_success"] for e in episodes] == [True, False, True] and not episodes[0].compressed


def test_an_expert_that_never_succeeds_ends_the_recording(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert record(tmp_path, 2, style="human") == 1
    assert "failed in all of the first 50 attempts" in capsys.readouterr().err and find_episodes(tmp_path) == []


def test_attempts_end_where_the_seeds_of_others_begin(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert record(tmp_path, 3, "--seed", "999997") == 2  # the toy expert fails at 999997
    assert "the 3 seeds from --seed on are used up" in capsys.readouterr().err
    assert [read_episode(path).attrs["seed"] for path in find_episodes(tmp_path)] == [999998, 999999]


def test_wrong_flags_are_answered_with_what_would_have_worked(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    def refusal(*argv: str) -> str:
        assert record_sim_episodes.main(["--dataset_dir", str(tmp_path / "d"), *argv], world=WORLD) == 2
        return capsys.readouterr().err

    assert "there are sim_toy_scripted, sim_toy_human" in refusal("--task_name", "sim_chess_scripted")
    assert "--seed 1000000" in refusal("--task_name", "sim_toy_scripted", "--seed", "1000000")
    assert "attempts have seeds" in refusal(
        "--task_name", "sim_toy_scripted", "--seed", "999999", "--num_episodes", "2"
    )
    assert "--port 99999" in refusal("--task_name", "sim_toy_human", "--agent", "human", "--port", "99999")
    (tmp_path / "file").write_text("")
    assert "is a file" in refusal("--task_name", "sim_toy_scripted", "--dataset_dir", str(tmp_path / "file"))
    assert "--num_episodes 0" in refusal("--task_name", "sim_toy_scripted", "--num_episodes", "0")
    assert "the toy is broken" in refusal("--task_name", "sim_broken_scripted", "--workers", "1")
    assert "the toy is broken" in refusal("--task_name", "sim_broken_scripted", "--workers", "2")


def test_dart_noise_is_executed_but_not_recorded(tmp_path: Path) -> None:
    assert record(tmp_path / "clean", 1) == 0
    assert record(tmp_path / "noisy", 1, "--dart_noise", "0.01", "--onscreen_render") == 0
    clean, noisy = (read_episode(episode_path(tmp_path / name, 0)) for name in ("clean", "noisy"))
    np.testing.assert_array_equal(noisy.action[:, 1:], clean.action[:, 1:])
    deviation = noisy.qpos[1:] - noisy.action[:-1]  # toy joints jump to what was executed
    arms = np.delete(deviation, [6, 13], axis=1)
    assert 0.007 < arms.std() < 0.013 and not deviation[:, [6, 13]].any()


def test_dart_noise_repeats_under_a_seed() -> None:
    env = DartNoise(ToyEnv(), 0.1)
    actions = []
    for _ in range(2):
        env.reset(seed=3)
        actions.append([env.action(np.zeros(14)) for _ in range(3)])
    np.testing.assert_array_equal(actions[0], actions[1])
    assert np.abs(actions[0][0] - actions[0][1]).max() > 0


def start(directory: Path, number: int, workers: int) -> subprocess.Popen:
    argv = ["--task_name", "sim_toy_scripted", "--dataset_dir", str(directory), "--num_episodes", str(number)]
    argv += ["--workers", str(workers), *SMALL]
    code = f"import sys, record_sim_episodes as r; sys.exit(r.main({json.dumps(argv)}, world={WORLD!r}))"
    return subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL])
def test_stopped_at_any_moment_it_leaves_only_whole_episodes(tmp_path: Path, ending: signal.Signals) -> None:
    with start(tmp_path, 10_000, workers=2) as process:
        deadline = time.monotonic() + 30
        while len(list(tmp_path.glob("*.hdf5"))) < 5 and time.monotonic() < deadline:
            time.sleep(0.02)
        os.kill(process.pid, ending)
        told = process.communicate(timeout=30)[1]
    paths = find_episodes(tmp_path)
    assert len(paths) >= 5
    for path in paths:
        read_episode(path)
    if ending == signal.SIGINT:
        assert process.returncode == 130 and f"{len(paths)} whole episodes" in told and "continues" in told
    number = len(paths)
    time.sleep(0.3)  # orphans notice
    assert record(tmp_path, number) == 0 and len(find_episodes(tmp_path)) == number
    assert [p for p in tmp_path.iterdir() if p.suffix != ".hdf5"] == []


def test_recording_starts_without_torch_and_mujoco() -> None:
    modules = "act.data.episodes, act.runtime.rollout, act.evaluation.video, record_sim_episodes"
    code = f"import sys, {modules}; sys.exit(any(m in sys.modules for m in ('torch', 'mujoco', 'sim_envs')))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
