"""Results are read whole, and evaluations that differ have different names."""

import os
from pathlib import Path

import pytest

from act.evaluation import results
from tests.act.evaluation.test_report import write_run


def test_evaluations_that_differ_in_execution_have_different_names(tmp_path: Path):
    ways = {
        "demo · chunk": {"mode": "chunk", "n_action_steps": 60},
        "demo · chunk · int8": {"mode": "chunk", "n_action_steps": 60, "engine": "int8"},
        "demo · chunk · validation seeds": {"mode": "chunk", "n_action_steps": 60, "seed_set": "validation"},
        "demo · chunk, every 20 steps": {"mode": "chunk", "n_action_steps": 20},
        "demo · ensemble": {"mode": "ensemble", "n_action_steps": 1, "ensemble_m": 0.01},
        "demo · ensemble, every 4 steps, m 0.1": {"mode": "ensemble", "n_action_steps": 4, "ensemble_m": 0.1},
    }
    for name, execution in ways.items():
        run = write_run(tmp_path / name / "demo", n=1, chunk_size=60, **execution)
        assert results.load(run)[0].name == name


@pytest.mark.parametrize(
    ("text", "message"),
    [('{"task": "tr', "is not whole JSON"), ("5", "is not whole JSON"), ('{"settings": []}', "lacks .*, settings")],
)
def test_a_broken_results_file_is_named(text: str, message: str, tmp_path: Path):
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(ValueError, match=rf"results\.json {message}"):
        results.load(tmp_path)


def test_a_fifo_in_place_of_a_results_file_is_refused_at_once(tmp_path: Path):
    os.mkfifo(tmp_path / "results.json")
    with pytest.raises(ValueError, match="no regular file"):
        results.load(tmp_path)
