"""Provenance: commit, machine and versions, also where there is no git."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from act import provenance
from act.workers import available_cores


def test_the_machine_and_the_versions_are_named():
    found = provenance.provenance()
    assert found["hardware"]["cores"] == available_cores() >= 1
    assert found["versions"]["numpy"].count(".") == 2 and found["time"].endswith("Z")


def test_the_gpu_is_named_also_where_torch_is_not_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """By a program whose parts are measured in processes of their own."""
    (tmp_path / "0000:00:01.0").mkdir()
    (tmp_path / "0000:00:01.0" / "information").write_text("Model: \t\t NVIDIA H200\nIRQ: 5\n")
    monkeypatch.setattr(provenance, "NVIDIA", tmp_path)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert provenance.hardware()["gpu"] == "NVIDIA H200"
    monkeypatch.setattr(provenance, "NVIDIA", tmp_path / "nothing")
    assert provenance.hardware()["gpu"] is None


def test_a_command_can_be_repeated(tmp_path: Path):
    (tmp_path / "probe.py").write_text("from act.provenance import provenance\nprint(provenance()['command'])")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}

    def recorded(*words: str) -> str:
        command = [sys.executable, *words, "--out", "a b"]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
        return done.stdout.strip().split(" ", 1)[1]

    assert recorded("-m", "probe") == "-m probe --out 'a b'"
    assert recorded("probe.py") == "probe.py --out 'a b'"


def test_without_git_the_commit_is_unknown(monkeypatch: pytest.MonkeyPatch):
    def missing(*_, **__):
        raise FileNotFoundError("git")

    monkeypatch.setattr(subprocess, "run", missing)
    assert provenance.git_commit() is None


def test_the_commit_says_whether_files_have_changed(monkeypatch: pytest.MonkeyPatch):
    answers = {"rev-parse": "abc123", "status": " M train.py"}
    monkeypatch.setattr(provenance, "_git", lambda *words: answers[words[0]])
    assert provenance.git_commit() == "abc123+changes"


def test_results_of_benchmarks_do_not_count_as_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def git(*words: str) -> None:
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *words], cwd=tmp_path, check=True)

    names = ("act/provenance.py", "benchmarks/results/table1.json", "README.md")
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1")
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "all")
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / names[0]))
    for name in names[1:]:
        (tmp_path / name).write_text("2")
    assert len(str(provenance.git_commit())) == 40
    (tmp_path / names[0]).write_text("2")
    assert str(provenance.git_commit()).endswith("+changes")
