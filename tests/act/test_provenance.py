"""Provenance: commit, machine and versions, also where there is no git."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from act import provenance


def test_the_machine_and_the_versions_are_named():
    found = provenance.provenance()
    assert found["hardware"]["cores"] == provenance.available_cores() >= 1
    assert found["versions"]["numpy"].count(".") == 2 and found["time"].endswith("Z")


def test_a_command_can_be_repeated(tmp_path: Path):
    (tmp_path / "probe.py").write_text("from act.provenance import provenance\nprint(provenance()['command'])")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}

    def told(*words: str) -> str:
        command = [sys.executable, *words, "--out", "a b"]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
        return done.stdout.strip().split(" ", 1)[1]

    assert told("-m", "probe") == "-m probe --out 'a b'"
    assert told("probe.py") == "probe.py --out 'a b'"


def test_without_git_the_commit_is_unknown(monkeypatch: pytest.MonkeyPatch):
    def missing(*_, **__):
        raise FileNotFoundError("git")

    monkeypatch.setattr(subprocess, "run", missing)
    assert provenance.git_commit() is None


def test_changes_to_the_tree_are_told(monkeypatch: pytest.MonkeyPatch):
    answers = {"rev-parse": "abc123", "status": " M train.py"}
    monkeypatch.setattr(provenance, "_git", lambda *words: answers[words[0]])
    assert provenance.git_commit() == "abc123+changes"
