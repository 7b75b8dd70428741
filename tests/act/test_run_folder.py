"""The folder of a training run: its files by name, what they say, and errors that name the folder."""

import hashlib
import json
from pathlib import Path

import pytest

from act.run_folder import RunFolder, file_digest


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    (tmp_path / "policy.json").write_text(json.dumps({"policy": "act", "train": {"task_name": "sim_toy_scripted"}}))
    (tmp_path / "policy.safetensors").write_bytes(b"weights")
    (tmp_path / "config.json").write_text('{"steps": 10}')
    return RunFolder(str(tmp_path))


def test_files_have_their_names(tmp_path: Path):
    run = RunFolder(tmp_path)
    assert run.weights == tmp_path / "policy.safetensors"
    assert run.last_state == tmp_path / "last" / "state.safetensors"
    assert run.evaluation("test_chunk") == tmp_path / "eval" / "test_chunk"
    assert run.report == tmp_path / "report.html" and run == RunFolder(str(tmp_path))


def test_files_say_what_was_trained(run: RunFolder):
    assert run.about()["policy"] == "act" and run.task_name() == "sim_toy_scripted" and run.config() == {"steps": 10}
    assert run.digest() == file_digest(run.weights) == hashlib.sha256(b"weights").hexdigest()[:16]


def test_metrics_leave_out_a_line_that_was_cut_off(run: RunFolder):
    assert run.metrics() == []
    run.metrics_file.write_text('{"step": 1}\n{"step": 2}\n{"step":')
    assert run.metrics() == [{"step": 1}, {"step": 2}]


def test_what_is_read_is_what_the_file_holds_now(run: RunFolder):
    before = run.digest()
    run.weights.write_bytes(b"trained further")
    assert run.digest() != before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, r"holds no trained policy \(no policy\.json\); train one with train\.py"),
        ("{", r"policy\.json cannot be read"),
        ("[]", r"policy\.json cannot be read: it holds a list, not an object"),
        ('{"train": 3}', r"does not say which task it was trained on"),
        ('{"train": {}}', r"does not say which task it was trained on"),
    ],
)
def test_a_folder_that_holds_no_run_is_named(text: str | None, message: str, tmp_path: Path):
    if text is not None:
        (tmp_path / "policy.json").write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        RunFolder(tmp_path).task_name()
    assert str(tmp_path) in str(caught.value)


def test_a_missing_or_broken_config_is_named(tmp_path: Path):
    with pytest.raises(ValueError, match=r"holds no config\.json; train\.py writes it"):
        RunFolder(tmp_path).config()
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config\.json cannot be read"):
        RunFolder(tmp_path).config()
