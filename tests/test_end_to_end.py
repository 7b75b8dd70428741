"""The whole path, small: record -> pretrain -> train, interrupted and resumed -> evaluate -> report."""

import itertools
import json

import pytest

import eval as eval_program
import record_sim_episodes
import train
from act.__main__ import main as act_command
from act.run_folder import RunFolder

CAMERAS = ("cam_high", "cam_right_wrist")
FLAGS = ("--preset", "fast", "--task_name", "sim_transfer_cube_scripted", "--cameras", *CAMERAS)
FLAGS += ("--image_size", "48", "64", "--steps", "6", "--save_every", "2", "--log_every", "1", "--batch_size", "4")
FLAGS += ("--hidden_dim", "32", "--dim_feedforward", "32", "--device", "cpu")

pytestmark = pytest.mark.slow


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return tmp_path


def test_from_an_empty_folder_to_a_report(folder, monkeypatch, capsys):
    data, trunk, run = folder / "data", folder / "trunk", folder / "run"
    record = ["--dataset_dir", str(data), "--image_size", "48", "64", "--cameras", *CAMERAS, "--workers", "1"]
    record += ["--task_name", "sim_transfer_cube_scripted"]
    assert record_sim_episodes.main([*record, "--num_episodes", "2"]) == 0
    assert record_sim_episodes.main([*record, "--random_scenes", "24"]) == 0
    assert act_command(["episodes", "validate", str(data)]) == 0
    pretraining = ["pretrain", str(data / "scenes.hdf5"), "--out", str(trunk), "--steps", "10", "--device", "cpu"]
    assert act_command(pretraining) == 0

    training = [*FLAGS, "--dataset_dir", str(data), "--trunk", str(trunk), "--run_dir", str(run)]
    whole_fit = train.fit
    monkeypatch.setattr(train, "fit", lambda *args: itertools.islice(whole_fit(*args), 3))  # cut off after step 3
    train.main(training)
    monkeypatch.setattr(train, "fit", whole_fit)
    assert train.main(training) == 0
    assert "from step 2" in capsys.readouterr().out
    assert [metrics["step"] for metrics in RunFolder(run).metrics()][-1] == 6

    assert eval_program.main([str(run), "--num_rollouts", "2", "--num_workers", "1", "--videos", "1"]) == 0
    for execution in ("test_chunk", "test_ensemble"):  # both by default
        results = json.loads((run / "eval" / execution / "results.json").read_text())
        assert results["success"]["n"] == 2
        assert len(list((run / "eval" / execution / "videos").glob("*.mp4"))) == 1
    assert "<html" in (run / "report.html").read_text()
