"""Provenance: commit, machine and versions, also where there is no git."""

import subprocess

import pytest

from act import provenance


def test_the_machine_and_the_versions_are_named():
    found = provenance.provenance()
    assert found["hardware"]["cores"] == provenance.available_cores() >= 1
    assert found["versions"]["numpy"].count(".") == 2 and found["time"].endswith("Z")


def test_without_git_the_commit_is_unknown(monkeypatch: pytest.MonkeyPatch):
    def missing(*_, **__):
        raise FileNotFoundError("git")

    monkeypatch.setattr(subprocess, "run", missing)
    assert provenance.git_commit() is None


def test_changes_to_the_tree_are_told(monkeypatch: pytest.MonkeyPatch):
    answers = {"rev-parse": "abc123", "status": " M train.py"}
    monkeypatch.setattr(provenance, "_git", lambda *words: answers[words[0]])
    assert provenance.git_commit() == "abc123+changes"
