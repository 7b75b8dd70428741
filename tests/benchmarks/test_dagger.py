"""The benchmark of DAgger, with toys in place of the programs: budgets, resuming, results."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from act.data.episodes import episode_path, find_episodes, write_episode
from benchmarks import dagger
from benchmarks.dagger import curves, draw
from benchmarks.programs import OutOfTime, Runner

T = 10  # control steps of every episode; the operator drives 4 of them


class Programs:
    """In place of Runner.run: records, trains and evaluates in no time; after `n` calls the budget is spent."""

    def __init__(self, n: int = 10_000):
        self.n, self.calls = n, []

    def __call__(self, runner: Runner, command: list[object], log: Path) -> None:
        if len(self.calls) == self.n:
            raise OutOfTime
        words = [str(word) for word in command]
        self.calls.append(words)
        flags = dict(pairwise(words))
        if words[0] == "eval.py":
            folder = Path(words[1]) / "eval" / f"test_chunk_every{flags['--n_action_steps']}"
            folder.mkdir(parents=True)
            rate = {"successes": 3}
            results = {"n": 4, "success": rate, "strict_success": rate, "provenance": {"git": "abc"}}
            (folder / "results.json").write_text(json.dumps(results))
        if words[0] == "record_sim_episodes.py":
            for index in range(int(flags["--num_episodes"])):
                write(episode_path(flags["--dataset_dir"], index), "--policy" in flags)


def write(path: Path, gated: bool) -> None:
    rows = np.zeros((T, 14), np.float32)
    labels: dict[str, Any] = {"executed_action": rows, "intervention": np.arange(T) < 4} if gated else {}
    write_episode(path, qpos=rows, qvel=rows, action=rows, images={}, **labels)


def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, programs: Programs, *seeds: str) -> list[dict[str, Any]]:
    monkeypatch.setattr(Runner, "run", lambda runner, command, log: programs(runner, command, log))
    monkeypatch.setattr(dagger, "draw", lambda found, path: None)
    flags = ["--methods", "bc", "hg_dagger", "--rounds", "2", "--labels", "20", "--seeds", *seeds]
    out = tmp_path / "dagger.json"
    assert dagger.program([*flags, "--work", str(tmp_path / "work"), "--out", str(out)]) == 0
    return json.loads(out.read_text())["cells"] if out.exists() else []


def test_every_round_spends_the_same_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    programs = Programs()
    cells = run(tmp_path, monkeypatch, programs, "0", "1")
    assert [(c["method"], c["round"]) for c in cells if c["seed"] == 1] == [
        *[("weak", 0), ("bc", 1), ("hg_dagger", 1), ("bc", 2), ("hg_dagger", 2)]
    ]
    assert {cell["git"] for cell in cells} == {"abc"}
    driving = [call for call in programs.calls if call[0] == "eval.py" or "--policy" in call]
    assert all(("--n_action_steps", "30") in pairwise(call) for call in driving)  # rounds as evaluations
    assert {(c["round"], c["labels"]) for c in cells} == {(0, 60), (1, 80), (2, 100)}
    assert len(find_episodes(tmp_path / "work" / "hg_dagger_seed0" / "round1" / "data")) == 5  # of 4 labels each
    seeds = {call[call.index("--seed") + 1] for call in programs.calls if call[0] == "record_sim_episodes.py"}
    assert seeds == {"100000", "101000", "102000", "200000", "201000", "202000"}


def test_a_spent_budget_stops_it_and_the_same_command_continues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    whole = Programs()
    expected = run(tmp_path / "whole", monkeypatch, whole, "0")
    first, second = Programs(9), Programs()
    before = run(tmp_path / "cut", monkeypatch, first, "0")
    assert 0 < len(before) < len(expected)
    assert run(tmp_path / "cut", monkeypatch, second, "0") == expected
    done = [call[0] for call in first.calls + second.calls]
    for program in ("record_sim_episodes.py", "eval.py"):  # train.py finds out by itself that it is done
        assert done.count(program) == [call[0] for call in whole.calls].count(program)


def test_cells_of_other_settings_are_not_mixed_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    run(tmp_path, monkeypatch, Programs(), "0")
    flags = ["--work", str(tmp_path / "work"), "--out", str(tmp_path / "new.json"), "--labels", "20"]
    assert dagger.program([*flags, "--seeds", "0", "7", "--rounds", "3"]) == 0
    assert dagger.program([*flags, "--rollouts", "20", "--out", str(tmp_path / "third.json")]) == 2
    assert "give another --work or --out" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["dagger.json", "dagger_fine.json", "dagger_images.json"])
def test_the_committed_results_are_those_of_the_fixed_settings(name: str):
    known = json.loads((dagger.Options.out.parent / name).read_text())
    assert dagger.FIXED.items() <= known["settings"].items()
    assert json.loads(json.dumps(curves(known["cells"]))) == known["curves"]


def test_earlier_cells_stay_in_the_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    cells = run(tmp_path, monkeypatch, Programs(), "0", "1")
    assert run(tmp_path, monkeypatch, Programs(), "1") == cells
    settings = json.loads((tmp_path / "dagger.json").read_text())["settings"]
    assert (settings["seeds"], settings["methods"], settings["rounds"]) == ([0, 1], ["bc", "hg_dagger"], 2)
    assert dagger.program(["--steps", "7", "--work", str(tmp_path / "w"), "--out", str(tmp_path / "dagger.json")]) == 2
    assert "give another --work or --out" in capsys.readouterr().err


def test_curves_begin_at_the_weak_policy_and_pool_the_seeds():
    cell = {"labels": 100, "rollouts": 10, "success": 5, "strict_success": 2, "round": 0, "method": "weak"}
    cells = [{**cell, "seed": seed} for seed in (0, 1)]
    cells += [{**cell, "seed": seed, "method": "bc", "round": 1, "labels": 200, "success": 9} for seed in (0, 1)]
    points = curves(cells)["bc"]
    assert [(p["labels"], p["success"], p["rollouts"]) for p in points] == [(100, 0.5, 20), (200, 0.9, 20)]
    assert points[1]["low"] < 0.9 < points[1]["high"] and points[0]["strict_success"] == 0.2
    assert points[1]["each"] == [(200, 0.9), (200, 0.9)]


def test_a_round_that_other_seeds_are_still_to_come_to_takes_no_seed_away():
    cell = {"labels": 100, "rollouts": 10, "success": 5, "strict_success": 2}
    cells = [{**cell, "seed": seed, "round": 0, "method": "weak"} for seed in (0, 1, 2)]
    cells += [{**cell, "seed": seed, "round": 1, "method": "bc"} for seed in (0, 1, 2)]
    longer = curves([*cells, {**cell, "seed": 0, "round": 2, "method": "bc"}])["bc"]
    assert [(point["round"], point["seeds"]) for point in longer] == [(0, 3), (1, 3)]
    assert [(point["round"], point["seeds"]) for point in curves(cells[:1] + cells[3:4])["bc"]] == [(0, 1), (1, 1)]


def test_the_figure_is_a_png(tmp_path: Path):
    point = {"labels": 100.0, "success": 0.5, "low": 0.4, "high": 0.6, "each": [(90, 0.4), (110, 0.6)]}
    draw({"bc": [point, {**point, "labels": 200.0}]}, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_wrong_flags_end_with_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert dagger.program(["--budget", "later", "--work", str(tmp_path)]) == 2
    assert dagger.program(["--seeds", "9", "--work", str(tmp_path)]) == 2
    assert "--seeds 9: give 0 to 8" in capsys.readouterr().err
    assert dagger.program(["--methods", "bc", "bc", "--work", str(tmp_path)]) == 2
    assert "--methods bc bc: name one or more, and each once" in capsys.readouterr().err
    assert dagger.program(["--rounds", "9", "--work", str(tmp_path)]) == 2
    assert "--rounds 9: give at most 8" in capsys.readouterr().err
    (tmp_path / "foreign.json").write_text("{")
    assert dagger.program(["--work", str(tmp_path / "w"), "--out", str(tmp_path / "foreign.json")]) == 2
    assert "foreign.json holds no results" in capsys.readouterr().err
    (tmp_path / "foreign.json").write_text("{}")
    assert dagger.program(["--work", str(tmp_path / "w"), "--out", str(tmp_path / "foreign.json")]) == 2
    assert "foreign.json holds no results" in capsys.readouterr().err
    assert dagger.program(["--work", str(tmp_path / "foreign.json"), "--out", str(tmp_path / "new.json")]) == 2


def test_a_program_that_fails_ends_the_benchmark_with_code_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    for name in ("record_sim_episodes.py", "train.py", "eval.py"):
        (tmp_path / name).write_text("raise SystemExit('no luck today')")
    monkeypatch.chdir(tmp_path)
    assert dagger.program(["--work", str(tmp_path / "work"), "--out", str(tmp_path / "out.json")]) == 1
    message = capsys.readouterr().err
    assert "record_sim_episodes.py --task_name ended with code 1: no luck today" in message
    assert (tmp_path / "work" / "demos_seed0.log").exists() and not (tmp_path / "out.json").exists()
