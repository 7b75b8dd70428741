"""The evaluation program, in a toy environment with a policy that knows the goal: files, resuming, flags, errors."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import eval as program
import sim_envs
from act.evaluation.execution import Execution
from act.files import lock_folder
from act.run_folder import RunFolder
from act.serving import loading
from act.types import ACTION_DIM, PolicySpec
from tests.fakes.toy_env import ToyEnv


class Policy:
    """Jumps to the goal, so that it always succeeds."""

    chunk_size, n_obs_steps, needs_images = 5, 1, True
    spec = PolicySpec(("cam_high",), image_size=(12, 16), recorded_size=(24, 32))
    queries = 0

    def predict_chunk(self, histories: Any) -> np.ndarray:
        Policy.queries += 1
        chunks = np.zeros((len(histories), self.chunk_size, ACTION_DIM), np.float32)
        chunks[:, :, 0] = [[history[-1]["env_state"][0]] for history in histories]
        assert all("images" in history[-1] for history in histories)
        return chunks


def make_toy(task: str, cameras: tuple[str, ...], image_size: tuple[int, int]) -> ToyEnv:
    if task != "toy":
        raise ValueError(f"task {task!r} is unknown; choose one of toy")
    return ToyEnv(cameras, image_size, episode_len=10)


def make_foreign(cameras: tuple[str, ...], image_size: tuple[int, int]) -> ToyEnv:
    return make_toy("toy", cameras, image_size)


def make_any(task: str, cameras: tuple[str, ...], image_size: tuple[int, int]) -> ToyEnv:
    return make_toy("toy", cameras, image_size)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sim_envs, "make", make_toy)
    train = {"task_name": "sim_toy_scripted", "preset": "fast"}
    about = {"policy": "act", "train": train, "step": 7, "seed": 0, "git": None, "backbone_weights": "sim"}
    monkeypatch.setattr(loading, "open_policy", lambda run, engine, device: Policy())
    (tmp_path / "policy.json").write_text(json.dumps(about))
    (tmp_path / "policy.safetensors").write_bytes(b"weights")
    return tmp_path


def read(run: Path, mode: str = "test_chunk") -> dict[str, Any]:
    return json.loads((run / "eval" / mode / "results.json").read_text())


def test_one_call_evaluates_both_modes_and_writes_everything(run: Path, capsys: pytest.CaptureFixture[str]):
    flags = ["--num_rollouts", "3", "--num_workers", "1", "--videos", "1"]
    assert program.main([str(run), *flags]) == 0
    chunk, ensemble = read(run), read(run, "test_ensemble")
    assert chunk["success"]["rate"] == ensemble["success"]["rate"] == 1.0
    assert (chunk["settings"]["n_action_steps"], ensemble["settings"]["n_action_steps"]) == (5, 1)
    assert chunk["settings"]["ensemble_m"] is None and ensemble["settings"]["ensemble_m"] == 0.01
    assert chunk["settings"]["backbone_weights"] == "sim" and chunk["seeds"] == [2_000_000, 2_000_001, 2_000_002]
    assert [file.name for file in (run / "eval" / "test_chunk" / "videos").iterdir()] == ["toy_seed_2000000.mp4"]
    assert "data:video/mp4" in (run / "report.html").read_text()
    assert "chunk, test seeds" in (run / "README.md").read_text()
    printed = capsys.readouterr().out
    assert printed.count("recording videos of 1 rollouts") == 2, "once per mode"
    assert "chunk: success 100.0 %" in printed and "ensemble: success 100.0 %" in printed
    table = printed.split("execution")[-1].splitlines()
    assert [line.split()[:2] for line in table[1:3]] == [["chunk", "100.0"], ["ensemble", "100.0"]]


def test_n_action_steps_apply_to_both_modes(run: Path):
    flags = ["--num_rollouts", "1", "--num_workers", "1", "--videos", "0", "--n_action_steps", "2"]
    assert program.main([str(run), *flags]) == 0
    for mode in ("test_chunk_every2", "test_ensemble_every2"):
        assert read(run, mode)["settings"]["n_action_steps"] == 2


def test_validation_is_on_validation_seeds(run: Path):
    flags = ["--num_rollouts", "2", "--num_workers", "1", "--videos", "0", "--seed_set", "validation"]
    assert program.main([str(run), *flags]) == 0
    results = read(run, "validation_chunk")
    assert results["seeds"] == [1_000_000, 1_000_001] and results["settings"]["seed_set"] == "validation"


def test_the_weights_of_the_ensemble_are_part_of_results_and_folder(run: Path):
    flags = ["--num_rollouts", "1", "--num_workers", "1", "--videos", "0", "--modes", "ensemble", "--ensemble_m", "0.3"]
    assert program.main([str(run), *flags]) == 0
    assert read(run, "test_ensemble_m0.3")["settings"]["ensemble_m"] == 0.3


def test_finished_rollouts_are_not_repeated_and_more_can_be_added(run: Path):
    flags = [str(run), "--num_workers", "1", "--num_envs", "2", "--videos", "0"]
    assert program.main([*flags, "--num_rollouts", "2"]) == 0
    log = run / "eval" / "test_chunk" / "episodes.jsonl"
    before = log.read_text()
    assert program.main([*flags, "--num_rollouts", "3"]) == 0
    assert log.read_text().startswith(before) and read(run)["n"] == 3
    assert program.main([*flags, "--num_rollouts", "1"]) == 0
    assert read(run)["n"] == 3, "all finished rollouts count"
    for weights in ("trained further", "and further"):
        (run / "policy.safetensors").write_bytes(weights.encode())
        assert program.main([*flags, "--num_rollouts", "2"]) == 0
        assert not log.read_text().startswith(before) and read(run)["n"] == 2
    assert log.with_name("episodes.before.jsonl").read_text().startswith(before)
    assert log.with_name("episodes.before2.jsonl").exists()


def test_finished_rollouts_are_recorded_as_video_when_videos_are_wanted_later(run: Path):
    flags = [str(run), "--num_workers", "1", "--num_envs", "2", "--num_rollouts", "2"]
    assert program.main([*flags, "--videos", "0"]) == 0
    before = (run / "eval" / "test_chunk" / "episodes.jsonl").read_text()
    assert program.main([*flags, "--videos", "1"]) == 0
    assert [file.name for file in (run / "eval" / "test_chunk" / "videos").iterdir()] == ["toy_seed_2000000.mp4"]
    assert (run / "eval" / "test_chunk" / "episodes.jsonl").read_text() == before


def test_a_video_that_shows_another_outcome_than_the_log_is_deleted(run: Path, capsys):
    flags = [str(run), "--num_workers", "1", "--num_envs", "2", "--num_rollouts", "2"]
    assert program.main([*flags, "--videos", "0"]) == 0
    log = run / "eval" / "test_chunk" / "episodes.jsonl"
    log.write_text(log.read_text().replace('"max_reward": 2.0', '"max_reward": 1.0', 1))
    assert program.main([*flags, "--videos", "2"]) == 0
    assert [file.name for file in (run / "eval" / "test_chunk" / "videos").iterdir()] == ["toy_seed_2000001.mp4"]
    assert (
        "no video of seed 2000000: recorded beside other rollouts it reached reward 2, not 1" in capsys.readouterr().out
    )


def test_results_name_the_weights_that_acted_even_when_a_training_saves_meanwhile(
    run: Path, monkeypatch: pytest.MonkeyPatch
):
    opened: list[bytes] = []

    def slowly(folder: Path, engine: str, device: str | None) -> Policy:
        opened.append((folder / "policy.safetensors").read_bytes())
        if len(opened) == 1:
            (folder / "policy.safetensors").write_bytes(b"saved meanwhile")
        return Policy()

    monkeypatch.setattr(loading, "open_policy", slowly)
    assert program.main([str(run), "--num_workers", "1", "--num_rollouts", "1", "--videos", "0"]) == 0
    assert opened == [b"weights", b"saved meanwhile"]
    assert read(run)["settings"]["weights"] == RunFolder(run).digest()


def test_two_evaluations_do_not_write_into_one_folder(run: Path, capsys: pytest.CaptureFixture[str]):
    with lock_folder(run / "eval" / "test_chunk", "evaluated into", "--out"):
        assert program.main([str(run), "--num_workers", "1", "--num_rollouts", "1", "--videos", "0"]) == 2
    assert "test_chunk is being evaluated into by another process" in capsys.readouterr().err


def test_the_same_run_by_another_path_is_the_same_run(run: Path, monkeypatch: pytest.MonkeyPatch):
    flags = ["--num_workers", "1", "--num_envs", "2", "--num_rollouts", "2"]
    assert program.main([str(run), *flags, "--videos", "0"]) == 0
    before = (run / "eval" / "test_chunk" / "episodes.jsonl").read_text()
    monkeypatch.chdir(run)
    assert program.main([".", *flags]) == 0
    assert (run / "eval" / "test_chunk" / "episodes.jsonl").read_text() == before
    commits = {json.loads(line)["git"] for line in before.splitlines()[1:]}
    assert read(run)["rollout_commits"] == sorted(commits)


def test_another_task_has_a_folder_of_its_own(run: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sim_envs, "make", make_any)
    flags = ["--num_workers", "1", "--num_envs", "2", "--num_rollouts", "2", "--videos", "0"]
    assert program.main([str(run), *flags]) == 0
    assert program.main([str(run), *flags, "--task_name", "sim_other_scripted"]) == 0
    assert read(run)["settings"]["task"] == "toy" and read(run, "test_chunk_other")["settings"]["task"] == "other"


def test_somebody_elses_environment_is_evaluated_beside_the_task(run: Path, capsys: pytest.CaptureFixture[str]):
    flags = [str(run), "--num_workers", "1", "--num_rollouts", "2", "--modes", "chunk", "--video_every", "10"]
    assert program.main([*flags, "--env", "tests.test_eval:make_foreign"]) == 0
    results = read(run, "test_chunk_tests.test_eval_make_foreign")
    assert results["settings"]["env"] == "tests.test_eval:make_foreign" and results["task"] == "toy"
    assert results["success"]["rate"] == 1.0 and results["mean_length"] == 10
    videos = run / "eval" / "test_chunk_tests.test_eval_make_foreign" / "videos"
    assert len(list(videos.iterdir())) == 2
    assert "2 of 2" in capsys.readouterr().out


def test_an_environment_that_does_not_fit_ends_with_one_sentence(run: Path, capsys: pytest.CaptureFixture[str]):
    flags = [str(run), "--num_workers", "1", "--num_rollouts", "1", "--videos", "0"]
    for name, message in (
        ("tests.fakes.foreign_envs:AgentPosEnv", "the policy looks through camera 'cam_high', but tests.fakes.fo"),
        ("nobodys_robot:make", "there is no module nobodys_robot"),
        ("my_robot.py:make", "give the module, not the file: my_robot:make"),
    ):
        assert program.main([*flags, "--env", name]) == 2
        error = capsys.readouterr().err
        assert message in error.splitlines()[-1] and "Traceback" not in error, error


def test_an_environment_without_images_has_no_videos(run: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    class Blind(Policy):
        needs_images = False
        spec = PolicySpec(env_state_dim=7)

        def predict_chunk(self, histories: Any) -> np.ndarray:
            return np.zeros((len(histories), self.chunk_size, ACTION_DIM), np.float32)

    monkeypatch.setattr(loading, "open_policy", lambda run, engine, device: Blind())
    flags = [str(run), "--num_workers", "1", "--num_rollouts", "1", "--modes", "chunk"]
    assert program.main([*flags, "--env", "tests.fakes.foreign_envs:WithoutPictures"]) == 0
    assert "no videos: tests.fakes.foreign_envs_WithoutPictures has no images" in capsys.readouterr().out
    assert read(run, "test_chunk_tests.fakes.foreign_envs_WithoutPictures")["success"]["successes"] == 0


def test_the_originals_flags_are_understood():
    line = "--eval --task_name sim_toy_scripted --ckpt_dir runs/x --policy_class ACT --kl_weight 10 --chunk_size 100"
    line += " --hidden_dim 512 --batch_size 8 --dim_feedforward 3200 --num_epochs 2000 --lr 1e-5 --seed 0"
    line += " --temporal_agg"
    options = program.parse(line.split())
    assert options.folder == Path("runs/x") and options.rollouts.num_rollouts == 50
    assert options.execution.executions() == [Execution("ensemble")]


def test_a_folder_without_a_policy_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert program.main([str(tmp_path)]) == 2
    assert f"{tmp_path} holds no trained policy" in capsys.readouterr().err


def test_an_error_about_the_task_ends_with_code_2(run: Path, capsys: pytest.CaptureFixture[str]):
    assert program.main([str(run), "--task_name", "juggling"]) == 2
    assert "choose one of toy" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "no run is given; give its folder"),
        ("runs/x --ckpt_dir runs/y", "two runs are given, runs/x and --ckpt_dir runs/y; leave one of them out"),
        ("runs/x --env a:b --task_name c", "two environments are given, --env a:b and --task_name c; leave one of"),
        ("runs/x --temporal_agg --modes chunk", "--modes chunk is given; leave one of them out"),
        ("runs/x --temporal_agg --modes chunk ensemble", "--modes chunk ensemble is given; leave one of them out"),
        ("runs/x --modes chunk chunk", "--modes chunk chunk: give chunk once"),
        ("runs/x --modes chunk --ensemble_m 5", "--ensemble_m 5.0 has an effect only with --modes ensemble"),
        ("runs/x --ensemble_m inf", "ensemble_m inf: give a finite number"),
        ("runs/x --n_action_steps 0", "n_action_steps 0: give at least 1"),
        ("runs/x --num_rollouts 0", "--num_rollouts 0: must be at least 1"),
        ("runs/x --num_envs 0", "--num_envs 0: must be at least 1"),
        ("runs/x --num_workers 0", "--num_workers 0: must be at least 1"),
        ("runs/x --videos -1", "--videos -1: must be at least 0"),
        ("runs/x --videos 0 --video_every 5", "--video_every 5 has an effect only with --videos 1 or more"),
        ("runs/x --engine ws://a:1 --ray auto", "--engine ws://a:1 has no effect on machines of --ray auto"),
        ("runs/x --engine onnx --device cuda", "--device cuda has an effect only with --engine torch"),
    ],
)
def test_flags_that_mean_nothing_are_refused_with_what_would_work(line: str, message: str, capsys):
    assert program.main(line.split()) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("line", ["runs/x --modes best", "runs/x --num_rollouts many", "runs/x --rollouts 3"])
def test_a_wrong_flag_ends_with_code_2(line: str):
    with pytest.raises(SystemExit, match="2"):
        program.parse(line.split())


def save_small_policy(run: Path) -> None:
    """An untrained policy of the task transfer_cube that sees object poses."""
    import torch  # here: workers import this module for the toy, and need no torch

    from act.data.normalize import Normalizer
    from act.policies import act
    from act.policies.base.storage import save_policy

    config = act.Config(6, 16, 32, 2, 1, 2, use_cvae=False, use_images=False, use_env_state=True)
    spec = PolicySpec(env_state_dim=7)
    torch.manual_seed(0)
    about = {"train": {"task_name": "sim_transfer_cube_scripted"}, "step": 1, "seed": 0, "git": None}
    save_policy(run, act.Policy(config, spec, Normalizer.of(spec)), about)


def test_the_evaluating_process_never_loads_the_simulator(tmp_path: Path):
    save_small_policy(tmp_path)
    flags = ["--num_rollouts", "1", "--num_workers", "1", "--modes", "chunk", "--device", "cpu", "--videos", "1"]
    code = f"import sys, eval; print(eval.main({[str(tmp_path), *flags]}))\n"
    code += "print([name for name in ('mujoco', 'dm_control', 'mink') if name in sys.modules], 'torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(program.__file__).parent
    )
    assert done.stdout.splitlines()[-2:] == ["0", "[] True"], done.stdout + done.stderr
    assert read(tmp_path)["n"] == 1
