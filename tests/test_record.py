"""record_sim_episodes.py from the command line: exit codes, interruptions, and who loads which library."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import pytest

import record_sim_episodes
from act.data.episodes import episode_path, find_episodes, read_episode
from act.files import lock_folder
from tests.fakes import toy_world
from tests.fakes.constant_policy import CHUNK_SIZE, ConstantPolicy
from tests.fakes.in_process import InProcess
from tests.fakes.toy_scenes import CAMERAS

ROOT = Path(__file__).parents[1]
SMALL = ("--image_size", "24", "32", "--cameras", "top", "angle")


@pytest.fixture(autouse=True)
def in_the_toy_world(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_sim_episodes, "sim_envs", toy_world)
    monkeypatch.setattr(record_sim_episodes, "WorkerPool", InProcess)


def record(directory: Path, number: int = 1, *flags: str, style: str = "scripted") -> int:
    words = ["--task_name", f"sim_toy_{style}", "--dataset_dir", str(directory), "--num_episodes", str(number)]
    return record_sim_episodes.main([*words, *SMALL, *flags])


# ------------------------------------------------------------------------------------------------------------- experts
def test_demonstrations_of_the_expert_are_recorded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert record(tmp_path, 2, "--dart_noise", "0.01", "--onscreen_render") == 0
    said = capsys.readouterr()
    assert f"2 episodes in {tmp_path}; the expert succeeded in 2 of 3 attempts" in said.out
    assert "--onscreen_render is ignored" in said.err
    attrs = read_episode(episode_path(tmp_path, 0)).attrs
    assert attrs["source"] == "scripted" and attrs["recording"]["dart_noise"] == 0.01


def test_two_programs_do_not_record_into_the_same_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with lock_folder(tmp_path, "recorded into", "--dataset_dir"):
        assert record(tmp_path) == 2
    assert f"record: {tmp_path} is being recorded into by another process" in capsys.readouterr().err
    assert record(tmp_path) == 0


def test_wrong_input_ends_with_code_2_and_a_failure_on_the_way_with_1(tmp_path: Path, capsys) -> None:
    assert record(tmp_path, 2, style="human") == 1
    assert "record: the expert failed in all of the first 50 attempts" in capsys.readouterr().err
    assert record_sim_episodes.main(["--task_name", "sim_chess_scripted"]) == 2
    unknown = "record: unknown task 'sim_chess_scripted'; available: sim_toy_scripted, sim_toy_human, sim_broken_"
    assert unknown in capsys.readouterr().err
    assert record(tmp_path, 1, "--dataset_dir", str(tmp_path), "--task_name", "sim_broken_scripted") == 2
    assert "record: the toy is broken" in capsys.readouterr().err
    assert record(tmp_path, 1, "--take_over", "0.2") == 2
    assert "record: --take_over 0.2 has an effect only with --agent hg_dagger" in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        record(tmp_path, 1, "--tako_over", "0.2")
    assert ended.value.code == 2


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL])
def test_stopped_at_any_moment_it_leaves_only_whole_episodes(tmp_path: Path, ending: signal.Signals) -> None:
    words = ["--task_name", "sim_toy_scripted", "--dataset_dir", str(tmp_path), "--num_episodes", "10000"]
    with start([*words, "--workers", "2", *SMALL]) as process:
        deadline = time.monotonic() + 60
        while len(list(tmp_path.glob("*.hdf5"))) < 5 and time.monotonic() < deadline:
            time.sleep(0.02)
        os.kill(process.pid, ending)
        said = process.communicate(timeout=30)[1]
    paths = find_episodes(tmp_path)
    assert len(paths) >= 5
    for path in paths:
        read_episode(path)
    if ending == signal.SIGINT:
        assert process.returncode == 130
        assert f"record: stopped; whole episodes are kept in {tmp_path}; the same command continues" in said
    time.sleep(0.3)  # workers whose parent was killed notice it
    assert record(tmp_path, len(paths)) == 0 and len(find_episodes(tmp_path)) == len(paths)
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".hdf5"] == ["README.md"]
    assert f"{len(paths)} episodes of two robot arms, task `toy`" in (tmp_path / "README.md").read_text()


def start(words: list[str]) -> subprocess.Popen:
    """The program in a process of its own, in the toy world."""
    toy = "import sys, record_sim_episodes as program; from tests.fakes import toy_world; program.sim_envs = toy_world"
    code = f"{toy}; sys.exit(program.main({json.dumps(words)}))"
    return subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.PIPE, text=True)


# -------------------------------------------------------------------------------------------------------------- scenes
def test_random_scenes_are_recorded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--dataset_dir", str(tmp_path), "--task_name", "sim_toy_scripted", "--cameras", *CAMERAS]
    assert record_sim_episodes.main([*words, "--random_scenes", "3", "--workers", "1"]) == 0
    assert f"3 labelled scenes of toy in {tmp_path}/scenes.hdf5" in capsys.readouterr().out
    with h5py.File(tmp_path / "scenes.hdf5") as file:
        assert file.attrs["task_name"] == "toy" and len(file["qpos"]) == 3  # type: ignore[arg-type]


# -------------------------------------------------------------------------------------------------------------- DAgger
@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("act.policies.base.storage.load_policy", lambda run: ConstantPolicy(0.1))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "policy.safetensors").write_bytes(b"weights")
    (tmp_path / "run" / "policy.json").write_text(json.dumps({"train": {"task_name": "sim_toy_human"}}))
    return tmp_path / "run"


def record_round(run: Path, *flags: str, folder: str = "data") -> int:
    words = ["--task_name", "sim_toy_scripted", "--policy", str(run), "--dataset_dir", str(run / folder)]
    return record_sim_episodes.main([*words, "--num_episodes", "3", "--workers", "1", *flags])


def test_a_round_of_dagger_is_recorded(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert record_round(run, "--agent", "dagger", "--round", "2", "--label_every", "3") == 0
    summary = f"3 episodes in {run / 'data'}, 0 successful; the expert gave {3 * 14 * CHUNK_SIZE} actions"
    assert summary in capsys.readouterr().out
    episodes = [read_episode(path) for path in find_episodes(run / "data")]
    assert [episode.attrs["seed"] for episode in episodes] == [20_000, 20_001, 20_002]
    assert all(episode.attrs["source"] == "dagger" and episode.action_chunk is not None for episode in episodes)


def test_every_round_tosses_coins_of_its_own_also_when_it_was_continued(run: Path) -> None:
    def turns(folder: str, *flags: str) -> list[bytes]:
        assert record_round(run, "--agent", "dagger", "--beta_schedule", "constant:0.5", *flags, folder=folder) == 0
        interventions = [read_episode(path).intervention for path in find_episodes(run / folder)]
        return [drives.tobytes() for drives in interventions if drives is not None]

    second = turns("second", "--round", "2")
    assert len({*second, *turns("third", "--round", "3")}) == 6
    turns("stopped", "--round", "2", "--num_episodes", "1")
    assert turns("stopped", "--round", "2") == second


def test_a_round_does_not_go_on_with_another_policy(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert record_round(run, "--agent", "dagger", "--num_episodes", "1") == 0
    (run / "policy.safetensors").write_bytes(b"trained further")
    assert record_round(run, "--agent", "dagger") == 2
    assert "recorded with" in capsys.readouterr().err


def test_a_round_that_was_renumbered_is_not_continued(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert record_round(run, "--agent", "dagger") == 0
    (run / "data" / "episode_1.hdf5").unlink()
    (run / "data" / "episode_2.hdf5").rename(run / "data" / "episode_1.hdf5")
    assert record_round(run, "--agent", "dagger") == 2
    assert "seed 10002, not 10001: it was renumbered" in capsys.readouterr().err


def test_corrections_of_a_simulated_operator_are_recorded(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert record_round(run, "--agent", "hg_dagger", "--take_over", "0.2", "--hand_back", "0.1") == 0
    assert "3 successful" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--agent dagger --beta_schedule soon", "give first, linear:N"),
        ("--agent dagger --ensemble_m 0.01", "ensemble_m 0.01 with a beta of 1: the ensemble would average"),
        ("--agent dagger --n_action_steps 5", "n_action_steps=5: must be 1 to the policy's chunk_size, 4"),
        ("--agent hg_dagger --gate ensemble", "at least two"),
        ("--agent hg_dagger --hand_back 0.5", "hand_back 0.5"),
        ("--agent dagger --task_name sim_broken_scripted", "run was trained on sim_toy_human, not on broken"),
        ("--agent dagger --task_name sim_toy", "unknown task 'sim_toy'; available: sim_toy_scripted"),
        ("--agent expert", "has an effect only with --agent human"),
    ],
)
def test_a_round_that_cannot_be_is_refused(run: Path, flags: str, message: str, capsys) -> None:
    assert record_round(run, *flags.split()) == 2
    assert message in (said := capsys.readouterr().err) and said.startswith("record: ") and said.count("\n") == 1


# ----------------------------------------------------------------------------------------------------------- processes
def test_the_program_starts_without_torch_and_mujoco() -> None:
    modules = "act.data.episodes, act.runtime.rollout, act.evaluation.video, record_sim_episodes"
    code = f"import sys, {modules}; sys.exit(any(m in sys.modules for m in ('torch', 'mujoco')))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_the_program_simulates_in_other_processes_only(tmp_path: Path) -> None:
    """An episode and a scene of a real task: MuJoCo, which must not load before torch, stays in the workers."""
    flags = ["--task_name", "sim_transfer_cube_scripted", "--dataset_dir", str(tmp_path), "--image_size", "24", "32"]
    flags += ["--cameras", "top"]
    recordings = [[*flags, *more] for more in (["--num_episodes", "1"], ["--random_scenes", "1", "--workers", "1"])]
    code = "import sys, record_sim_episodes as program\n"
    code += f"assert [program.main(words) for words in {recordings!r}] == [0, 0]\n"
    code += "print([name for name in ('mujoco', 'dm_control', 'torch') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1:] == ["[]"], done.stderr
    assert {path.name for path in tmp_path.glob("*.hdf5")} == {"episode_0.hdf5", "scenes.hdf5"}
