"""Several processes that train together, begun by Accelerate."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import train
from act.data.dataset import EpisodeDataset, Sampling
from act.data.loading import find, load_episodes
from act.distributed import ALONE, averaged, joined
from act.policies.base.storage import load_policy
from act.run_folder import RunFolder
from act.training.checkpoint import load_state
from act.training.config import TrainConfig
from act.types import Observation
from tests.act.data.test_dataset import write

ROOT = Path(__file__).parents[2]
FLAGS = "--preset state --task_name sim_toy_scripted --chunk_size 6 --hidden_dim 16 --dim_feedforward 32 --n_heads 2"
FLAGS += " --actions_per_query 1 --input_noise 0 --steps 8 --warmup_steps 0 --log_every 2 --validate_every 4"
FLAGS += " --save_every 4 --precision fp32 --device cpu"


def launch(program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Two processes on this machine, gloo between them."""
    how = [
        "--multi_gpu",
        "--num_processes",
        "2",
        "--num_machines",
        "1",
        "--mixed_precision",
        "no",
        "--dynamo_backend",
        "no",
    ]
    command = [sys.executable, "-m", "accelerate.commands.launch", *how, "--main_process_port", "0", program]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*command, *map(str, arguments)], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240
    )


def test_two_processes_learn_what_one_learns_from_twice_the_batch_and_resume(tmp_path):
    pytest.importorskip("accelerate")
    data, alone, together = (tmp_path / name for name in ("data", "alone", "together"))
    data.mkdir()
    write(data, lengths=(12, 9, 11, 10, 12))  # short ones: halves of a batch hold different numbers of real actions
    flags = [*FLAGS.split(), "--dataset_dir", str(data)]
    assert train.main([*flags, "--run_dir", str(alone), "--batch_size", "8"]) == 0

    halves = [*flags, "--run_dir", together, "--batch_size", "4"]
    stopped = launch("tests/fakes/train_until.py", 4, *halves)
    assert "stopped; the same command continues" in stopped.stderr, stopped.stderr
    config = TrainConfig.from_json(json.loads((together / "config.json").read_text()))
    state = load_state(together, config)
    assert state is not None and state.step == 4 and config.processes == 2

    finished = launch("train.py", *halves)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.count("policy.safetensors: 8 steps, ") == 1  # only the first process prints
    assert "8 steps, batch size 2 x 4, from step 4" in finished.stdout
    lines, expected = RunFolder(together).metrics(), RunFolder(alone).metrics()
    assert [line["step"] for line in lines] == [2, 4, 6, 8]
    for key in ("loss", "l1", "val_loss"):
        values = [(line["step"], line[key]) for line in expected if key in line]
        assert [(line["step"], pytest.approx(line[key], rel=1e-4)) for line in lines if key in line] == values
    policies = [load_policy(run) for run in (together, alone)]
    spec = policies[0].spec
    seen: Observation = {
        "qpos": np.zeros(spec.qpos_dim, np.float32),
        "env_state": np.ones(spec.env_state_dim, np.float32),
    }
    answer, expected = (policy.predict_chunk([[seen]]) for policy in policies)
    np.testing.assert_allclose(answer, expected, rtol=1e-4)
    with pytest.raises(ValueError, match="processes 2, not 1"):
        load_state(together, dataclasses.replace(config, processes=1))


def test_rollouts_that_one_process_does_leave_the_others_in_step(tmp_path):
    pytest.importorskip("accelerate")
    write(tmp_path, lengths=(12, 9, 11))
    flags = [*FLAGS.split(), "--dataset_dir", tmp_path, "--run_dir", tmp_path / "run", "--eval_every", 3]
    done = launch("tests/fakes/train_judged.py", *flags)
    assert done.returncode == 0, done.stderr
    lines = RunFolder(tmp_path / "run").metrics()
    assert [(line["step"], line["success"]) for line in lines if line["success"] is not None] == [
        (3, 0.5),
        (6, 0.5),
        (8, 0.5),
    ]


def test_parts_of_a_batch_are_the_batch(tmp_path):
    write(tmp_path, lengths=(12, 9))
    data = EpisodeDataset(load_episodes(find(tmp_path), ()), Sampling(6))
    whole = data.draw(0, 3, 6)
    parts = [data.draw(0, 3, 2, rank, 3) for rank in range(3)]
    assert torch.equal(torch.cat([part.qpos for part in parts]), whole.qpos)
    (streamed,) = data.batches(0, 3, 4, 2, rank=1, size=3)
    assert torch.equal(streamed.qpos, parts[1].qpos)


def test_one_process_is_left_alone(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with joined("cpu") as (processes, device):
        assert processes == ALONE and processes.is_main and device == "cpu"
    assert float(averaged(torch.tensor(3))) == 3


def test_without_accelerate_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(ValueError, match=r"pip install -e '\.\[accelerate\]'"), joined("cpu"):
        pass
