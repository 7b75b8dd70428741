"""The file of a grid's rows: shared by grids, joined with those of other machines, distinguished from other files."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import ablations, table1
from benchmarks.grid.cells import Cell
from benchmarks.grid.results import Results
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


def test_results_of_another_machine_are_taken_over_where_they_have_more_rollouts(capsys):
    here, other = Results(Path("here.json")), Results(Path("other.json"))
    here.add(row(ACT, "44"), row(ACT, "4400", seed=1))
    other.add(row(ACT, "0000"), row(ACT, "00", seed=1), row(ACT, "4444", seed=2))
    flags = ["--only_tables", "--results", "here.json", "--take"]
    assert table1.program([*flags, "other.json"]) == 0
    found = {line["train_seed"]: line["rewards"] for line in Results(Path("here.json")).rows.values()}
    assert found == {0: "0000", 1: "4400", 2: "4444"}
    other.add(row(ablations.SIZED["ACT"][2], "4444"))  # of the other grid
    assert ablations.program([*flags, "other.json", "--results", "fig8.json"]) == 0
    found = [line["method"] for line in Results(Path("fig8.json")).rows.values()]
    assert sorted(found) == ["ACT, chunks of 100"] + ["ACT, chunks of 60"] * 3
    assert ablations.program([*flags, "other.json", "--results", "some.json", "--seeds", "1"]) == 0
    assert [line["train_seed"] for line in Results(Path("some.json")).rows.values()] == [1]
    assert table1.program([*flags, "absent.json"]) == 2
    assert "--take absent.json: this file does not exist" in capsys.readouterr().err


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
