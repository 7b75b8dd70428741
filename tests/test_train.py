"""The training program: which rollouts may choose its weights."""

import contextlib
from types import SimpleNamespace

import pytest

import train
from act.training.fit import load_data
from tests.act.training.test_fit import make


def test_rollouts_that_choose_weights_are_on_validation_seeds(tmp_path, monkeypatch: pytest.MonkeyPatch):
    asked: list[int] = []

    def evaluate(envs, agent, seeds, progress):
        asked.extend(seeds)
        return SimpleNamespace(success=SimpleNamespace(rate=0.5))

    monkeypatch.setattr(train, "ParallelEnvs", lambda *_: contextlib.nullcontext())
    monkeypatch.setattr(train, "PolicyAgent", lambda policy: None)
    monkeypatch.setattr(train, "evaluate", evaluate)
    config = make(tmp_path, eval_every=2, eval_rollouts=3)
    with train.rollouts(config, load_data(config)[2]) as judge:
        assert judge is not None and judge(None) == 0.5  # type: ignore[arg-type]
    assert asked == [1_000_000, 1_000_001, 1_000_002]
