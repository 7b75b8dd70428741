"""An exported graph answers as the policy does, works without torch, and describes itself."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import eval as program
import sim_envs
from act.data.episodes import find_episodes
from act.data.normalize import Normalizer
from act.interop.export import main as export_program
from act.policies import act
from act.policies.base.policy import Policy
from act.policies.base.storage import load_policy, save_policy
from act.run_folder import RunFolder
from act.runtime.agents import PolicyAgent
from act.serving import export
from act.serving.graph import plain_arithmetic
from act.serving.loading import open_policy
from act.serving.onnx_policy import OnnxPolicy
from act.serving.parity import random_histories, recorded_histories
from act.types import PolicySpec
from tests.act.data.test_dataset import write
from tests.test_eval import make_toy

SIZE = (32, 48)


def make_policy() -> Policy:
    """Makes a tiny policy with all kinds of inputs, and statistics far from the identity."""
    torch.manual_seed(0)
    config = act.Config(
        6, 16, 32, 2, 1, 1, n_cvae_layers=1, backbone="keypoints", backbone_weights="none", use_env_state=True
    )
    spec = PolicySpec(("cam0", "cam1"), SIZE, env_state_dim=7)
    normalizer = Normalizer.of(spec)
    for key, dim in (("qpos", 14), ("action", 14), ("env_state", 7)):
        normalizer.fit(key, torch.randn(50, dim) * 0.3 + 0.5)
    return act.Policy(config, spec, normalizer)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with demonstrations and an exported graph."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "data").mkdir()
    write(folder / "data", lengths=(9, 12))
    train = {"dataset_dir": str(folder / "data"), "task_name": "sim_toy_scripted"}
    save_policy(folder, make_policy(), {"train": train, "step": 3, "seed": 0, "git": None})
    assert export_program([str(folder)]) == 0
    return folder


def histories(n: int):
    return random_histories(make_policy(), n)


def test_the_graph_answers_as_torch_does_in_physical_units(run: Path):
    engine, policy = OnnxPolicy.load(run, threads=1), load_policy(run)
    with plain_arithmetic():
        expected = policy.predict_chunk(histories(3))
    answers = engine.predict_chunk(histories(3))
    assert answers.shape == (3, 6, 14) and answers.dtype == np.float32
    np.testing.assert_allclose(answers, expected, atol=1e-5)
    assert np.abs(answers).max() > 0.1 and np.ptp(answers, axis=0).max() > 1e-3  # depends on images
    about = json.loads((run / "policy.onnx.json").read_text())
    assert about["error"]["max"] < 1e-5
    assert about["inputs"]["images"] == {"shape": [1, 1, 2, *SIZE, 3], "dtype": "uint8", "unit": "RGB, 0 to 255"}


@pytest.mark.parametrize("error", [0.1, float("nan")])
def test_a_graph_with_other_answers_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: float):
    save_policy(
        tmp_path, make_policy(), {"train": {"task_name": "sim_toy_scripted"}, "step": 1, "seed": 0, "git": None}
    )
    monkeypatch.setattr(export, "differences", lambda *_: {"mean": error, "max": error})
    with pytest.raises(ValueError, match="not written"):
        export.export(tmp_path)
    assert not (tmp_path / "policy.onnx").exists()


def test_the_graph_runs_in_an_agent_and_in_a_process_without_torch(run: Path):
    agent = PolicyAgent(OnnxPolicy.load(run, threads=1), ensemble_m=0.01)
    agent.reset(2)
    big = [{**obs, "images": {c: np.kron(i, np.ones((2, 2, 1), np.uint8)) for c, i in obs["images"].items()}}
           for (obs,) in histories(2)]  # fmt: skip
    np.testing.assert_allclose(
        agent.select_action(big), OnnxPolicy.load(run, threads=1).predict_chunk(histories(2))[:, 0], atol=1e-5
    )
    program = "import sys; from act.serving.onnx_policy import OnnxPolicy"
    program += f"; OnnxPolicy.load({str(run)!r}); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "onnxruntime" in done.stdout.split() and "torch" not in done.stdout.split(), done.stderr


def test_the_evaluation_program_runs_the_graph(run: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sim_envs, "make", make_toy)
    monkeypatch.setattr(act.Policy, "predict", None)  # torch must not be used
    flags = ["--num_rollouts", "1", "--num_workers", "1", "--videos", "0", "--modes", "chunk", "--engine", "onnx"]
    assert program.main([str(run), *flags]) == 0
    results = json.loads((run / "eval" / "test_chunk_onnx" / "results.json").read_text())
    assert results["settings"]["engine"] == "onnx" and results["latency"]["queries"] > 0


def test_eight_bits_are_scaled_by_demonstrations_and_differ_slightly(run: Path, capsys: pytest.CaptureFixture[str]):
    assert export_program([str(run), "--int8"]) == 0
    assert "differ from torch's by" in capsys.readouterr().out
    exact, rough = (OnnxPolicy.load(run, engine, threads=1) for engine in ("onnx", "int8"))
    (history,) = recorded_histories(load_policy(run), find_episodes(run / "data"), 1)
    error = np.abs(exact.predict_chunk([history]) - rough.predict_chunk([history]))
    assert 0 < error.max() < 0.5
    assert (run / "policy.int8.onnx").read_bytes().count(b"QuantizeLinear") > 0


def test_errors_name_what_is_missing_stale_or_unknown(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    with pytest.raises(ValueError, match=r"has no policy.onnx .*; run python -m act export "):
        OnnxPolicy.load(tmp_path)
    with pytest.raises(ValueError, match="unknown engine 'tensorrt'; available: onnx, int8"):
        OnnxPolicy.load(run, "tensorrt")
    with pytest.raises(ValueError, match="needs camera 'cam0', but the observation has no images"):
        OnnxPolicy.load(run).predict_chunk([[{"qpos": np.zeros(14), "env_state": np.zeros(7)}]])
    for name in ("policy.onnx", "policy.onnx.json"):
        (tmp_path / name).write_bytes((run / name).read_bytes())
    (tmp_path / "policy.safetensors").write_bytes(b"trained further")
    with pytest.raises(ValueError, match=r"was made from other weights .*; run python -m act export "):
        OnnxPolicy.load(tmp_path)
    assert export_program([str(tmp_path / "nothing")]) == 2
    assert "holds no trained policy" in capsys.readouterr().err
    monkeypatch.setattr(export, "find_spec", lambda name: None if name == "onnxscript" else name)
    assert export_program([str(run)]) == 2
    assert "exporting needs onnxscript: pip install 'act-aloha[onnx]'" in capsys.readouterr().err


@pytest.mark.parametrize("content", [None, b"half a graph"])
def test_a_graph_that_cannot_be_opened_is_refused(run: Path, tmp_path: Path, content: bytes | None):
    export.export(run)
    (tmp_path / "policy.onnx.json").write_bytes((run / "policy.onnx.json").read_bytes())
    if content is not None:
        (tmp_path / "policy.onnx").write_bytes(content)
    wrong = "cannot be opened" if content is None else "was changed or damaged"
    with pytest.raises(ValueError, match=rf"policy\.onnx {wrong}.*; run python -m act export "):
        OnnxPolicy.load(tmp_path)


def test_a_flag_without_effect_and_a_run_without_demonstrations_are_refused(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert export_program([str(run), "--dataset_dir", "data"]) == 2
    assert "export: --dataset_dir data has an effect only with --int8; leave it out" in capsys.readouterr().err
    save_policy(tmp_path, make_policy(), {"train": {}, "step": 1, "seed": 0, "git": None})
    with pytest.raises(ValueError, match="does not name the demonstrations of the run; give --dataset_dir"):
        export.demonstrations_of(tmp_path)


@pytest.mark.parametrize("command", ["export", "serve", "import_checkpoint"])
def test_help_needs_no_torch(command: str):
    program = "import sys; from contextlib import suppress; from act.__main__ import main\n"
    program += f"with suppress(SystemExit): main(['{command}', '--help'])\nprint('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert f"Example: python -m act {command} " in done.stdout, done.stderr
    assert done.stdout.splitlines()[-1] == "False"


def test_a_graph_is_opened_without_torch(run: Path) -> None:
    export.export(run)
    program = "import sys; sys.modules['torch'] = None; from pathlib import Path\n"
    program += "from act.serving.loading import open_run\n"
    program += f"policy, about, weights = open_run(Path({str(run)!r}), 'onnx'); print(about['policy'], weights)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.split() == ["act", RunFolder(run).digest()], done.stderr


def test_a_device_that_this_machine_lacks_is_refused(run: Path) -> None:
    with pytest.raises(ValueError, match="unknown --device warp"):
        open_policy(run, device="warp")
