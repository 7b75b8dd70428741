"""The file of a grid's rows: shared by grids, joined with those of other machines, distinguished from other files."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import table1
from benchmarks.grid.cells import Cell
from benchmarks.grid.run import RUNS, Results
from tests.fakes.toy_grid import ACT, row


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_grids_that_share_a_file_keep_each_others_rows():
    first, second = Results(Path("table.json")), Results(Path("table.json"))
    first.add(row(ACT, "44"))
    second.add(row(ACT, "44", seed=1))
    first.add(row(ACT, "44", seed=2))
    assert {made["train_seed"] for made in Results(Path("table.json")).rows.values()} == {0, 1, 2}


def test_of_two_rows_of_the_same_run_the_one_with_more_rollouts_stays():
    results = Results(Path("table.json"))
    results.add(row(ACT, "44"), row(ACT, "4400", seed=1))
    results.add(row(ACT, "0000"), row(ACT, "00", seed=1), row(ACT, "4444", seed=2))
    found = {line["train_seed"]: line["rewards"] for line in Results(Path("table.json")).rows.values()}
    assert found == {0: "0000", 1: "4400", 2: "4444"}


def test_a_budget_of_no_time_runs_nothing_and_prints_the_tables(capsys):
    Results(Path("here.json")).add(row(ACT, "4444"))
    assert table1.program(["--budget", "0s", "--results", "here.json"]) == 0
    said = capsys.readouterr()
    assert "the budget of 0s is spent" in said.err and not list(RUNS.rglob("*.log"))
    assert "| ACT, chunks of 60 | **100.0*** (" in said.out


def test_a_row_is_read_from_the_folder_that_eval_py_writes():
    folders = {"chunk": "test_chunk", "ensemble": "test_ensemble_every1"}
    cell = Cell(ACT, "transfer_cube", "scripted", "state", 0, 3000)
    assert {mode: cell.execution(mode).folder() for mode in ACT.modes} == folders
    assert replace(cell, track="images").execution("ensemble").folder() == "test_ensemble_every4"


def test_a_file_that_holds_something_else_is_named():
    Path("results.json").write_text(json.dumps({"provenance": {}}))
    with pytest.raises(ValueError, match=r"results\.json holds no results of a grid"):
        Results(Path("results.json"))
    half = row(ACT, "44")
    del half["n"]
    Path("results.json").write_text(json.dumps({"rows": [row(ACT, "40", seed=1), half]}))
    with pytest.raises(ValueError, match=r"results\.json holds no results of a grid .*'n'"):
        Results(Path("results.json"))
