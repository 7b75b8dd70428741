"""Grids: what is run in which order, stopping and continuing, and what is refused. The programs are toys."""

import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import h5py
import pytest

from act import policies
from act.data.episodes import read_episode, write_episode
from act.files import lock_folder
from act.training.config import parse
from benchmarks import ablations, lecture_table, programs, table1
from benchmarks.grid.cells import RUNS, TASKS, Method, Options, plan
from benchmarks.grid.run import RESULTS, Grid, Results, make_runner
from benchmarks.grid.statistics import Row, Rows
from benchmarks.programs import OutOfTime
from tests.fakes.toy_grid import ACT, OPTIONS, TOYS


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, source in TOYS.items():
        (tmp_path / name).write_text(f"open('calls.txt', 'a').write('{name}\\n')\n{source}")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(options: Options = OPTIONS, methods: tuple[Method, ...] = (ACT,)) -> int:
    return Grid(options, Results(Path("results.json")), make_runner(options)).run(plan(methods, options))


def rows() -> list[Row]:
    return list(Results(Path("results.json")).rows.values())


def calls() -> list[str]:
    return Path("calls.txt").read_text().split()


def steps_done() -> list[int]:
    """The number of steps of every training that has begun."""
    return [len(path.read_text().splitlines()) for path in Path("runs").rglob("metrics.jsonl")]


class Clock:
    """Jumps ahead as soon as a training has begun, so that no test depends on the speed of this machine."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        self.now = 10.0 if any(steps_done()) else self.now
        return self.now


# ------------------------------------------------------------------------------------------------------------ running
def test_a_cell_is_recorded_trained_and_evaluated_in_every_mode_and_then_left_alone(folder: Path):
    assert run() == 0
    assert calls() == ["record_sim_episodes.py", "train.py", "eval.py", "eval.py"]
    first, second = rows()
    assert (first["mode"], first["n_action_steps"]) == ("chunk", 60)
    assert (second["mode"], second["n_action_steps"]) == ("ensemble", 1)
    assert (first["rewards"], first["strict"]) == ("244244", "010010")
    assert first["train_s"] == pytest.approx(0.8) and first["commands"][0].startswith("python train.py --preset state")
    assert run() == 0 and len(calls()) == 4
    assert run(replace(OPTIONS, rollouts=9)) == 0 and calls()[4:] == ["train.py", "eval.py", "eval.py"]
    assert len(rows()) == 2 and rows()[0]["rewards"] == "244244244" and steps_done() == [40]


def test_only_the_missing_mode_is_evaluated(folder: Path):
    chunks_only = replace(ACT, modes=("chunk",))
    assert run(methods=(chunks_only,)) == 0 and len(rows()) == 1
    assert run() == 0 and calls()[3:] == ["train.py", "eval.py"] and len(rows()) == 2


def test_a_run_of_other_demonstrations_is_not_evaluated_as_one_of_these(folder: Path, capsys):
    """The folder follows from the recipe; train.py notices that the run was trained on other demonstrations."""
    assert run() == 0 and len(calls()) == 4
    with h5py.File(next(Path("data").rglob("episode_49.hdf5")), "r+") as file:
        file["action"][...] = 7.0  # type: ignore[index]
    Path("results.json").unlink()
    assert run() == 1 and calls()[4:] == ["train.py"] and not Path("results.json").exists()
    assert "was trained on other episodes" in capsys.readouterr().err


def test_a_spent_budget_stops_within_a_cell_and_the_next_call_continues_there(folder: Path, monkeypatch):
    monkeypatch.setattr(programs, "time", Clock())
    with pytest.raises(OutOfTime, match="the budget of 1s is spent; the same command continues from here"):
        run(replace(OPTIONS, steps=500, budget="1s"))
    (done,) = steps_done()
    assert 0 < done < 500 and rows() == []
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    (folder / "train.py").write_text((folder / "train.py").read_text().replace("0.02)", "0)"))
    assert run(replace(OPTIONS, steps=500)) == 0
    assert f"training from step {done}" in next(Path("runs").rglob("grid.log")).read_text()
    assert len(rows()) == 2 and steps_done() == [500]


def test_ctrl_c_stops_all_programs(folder: Path):
    def press() -> None:
        while len(steps_done()) < 2:  # side by side
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        run(replace(OPTIONS, steps=5000, seeds=(0, 1)))
    assert len(list(Path("runs").rglob("stopped"))) == 2, "both trainings were interrupted and have ended"


def test_a_cell_that_fails_says_why_and_the_others_are_run(folder: Path, capsys):
    assert run(replace(OPTIONS, seeds=(13, 0))) == 1
    assert {row["train_seed"] for row in rows()} == {0}
    message = capsys.readouterr().err
    assert "seed13: train.py --preset ended with code 1: train: seed 13 brings no luck (the whole output" in message


def test_only_the_cells_whose_demonstrations_failed_are_left_out(folder: Path, capsys):
    toy = folder / "record_sim_episodes.py"
    source = toy.read_text().replace("for i", "if 'insertion' in str(folder):\n    sys.exit('no pegs today')\nfor i", 1)
    toy.write_text(source)
    assert run(replace(OPTIONS, tasks=("insertion", "transfer_cube"))) == 1
    assert {made["task"] for made in rows()} == {"transfer_cube"} and len(rows()) == 2
    assert "ended with code 1: no pegs today" in capsys.readouterr().err


def test_two_grids_never_work_in_one_folder(folder: Path):
    with lock_folder(RUNS, "filled", ""), pytest.raises(ValueError, match="runs/grid is being filled"):
        run()


def test_every_method_comes_before_a_second_training_seed():
    methods = (ACT, replace(ACT, label="ACT, wide", flags=("--hidden_dim", "512")))
    cells = plan(methods, Options(seeds=(0, 1)))
    assert [cell.seed for cell in cells] == [0] * 8 + [1] * 8
    assert [cell.method for cell in cells[:2]] == list(methods) and cells[0].task == cells[1].task


def test_a_method_is_run_on_its_own_tasks_only():
    cells = plan((ACT, replace(ACT, label="ACT, elsewhere", tasks=("insertion",))), Options(seeds=(0,)))
    assert [(cell.task, cell.style) for cell in cells if cell.method.tasks != TASKS] == [
        ("insertion", "scripted"),
        ("insertion", "human"),
    ]


def test_a_task_of_another_grid_is_refused():
    with pytest.raises(ValueError, match="--tasks open_cup: this grid has transfer_cube, insertion"):
        plan(table1.METHODS, Options(tasks=("open_cup",)))


def test_rows_of_other_demonstrations_are_never_joined(folder: Path):
    assert run() == 0
    before, last = rows(), Path("data/grid/state/transfer_cube_scripted/episode_49.hdf5")
    episode = read_episode(last)
    write_episode(last, images={}, qpos=episode.qpos, qvel=episode.qvel, action=-episode.action)
    assert run(replace(OPTIONS, seeds=(0, 1))) == 0
    with pytest.raises(ValueError, match="the rows of transfer_cube scripted are of two sets of demonstrations"):
        Rows(rows(), OPTIONS)
    assert Rows(before, OPTIONS).tracks() == ["state"]


# -------------------------------------------------------------------------------------------- the cells of both grids
@pytest.mark.parametrize("program", [table1, ablations, lecture_table])
def test_no_two_cells_share_a_folder(program):
    cells = plan(program.METHODS, getattr(program, "Options", Options)())
    assert len({cell.run for cell in cells}) == len(cells)


def test_the_grids_share_the_runs_they_have_in_common():
    folders = [{cell.run for cell in plan(p.METHODS, Options(seeds=(0,)))} for p in (table1, ablations)]
    assert len(folders[0] & folders[1]) >= 4  # ACT as in Table I is one half of Fig. 8c


@pytest.mark.parametrize("program", [table1, ablations])
def test_every_committed_row_belongs_to_a_cell_of_the_grid(program):
    results = Results(RESULTS / f"{program.__name__.split('.')[-1]}.json")
    cells = [*plan(program.METHODS, Options(track="state")), *plan(program.METHODS, Options(track="images"))]
    assert set(results.rows) <= {cell.key(mode) for cell in cells for mode in cell.method.modes}
    done = [cell for cell in cells if cell.track == "state" and not results.missing(cell, Options().rollouts)]
    assert len(done) >= 100  # those of the paper's methods


@pytest.mark.parametrize("track", ["state", "images"])
def test_train_py_accepts_the_flags_of_every_cell(track):
    options = Options(tasks=("insertion",), styles=("human",), seeds=(0,), track=track)
    cells = plan((*table1.METHODS, *ablations.METHODS), options)
    assert {cell.method.policy for cell in cells} <= set(policies.available())
    for cell in {cell.flags: cell for cell in cells}.values():
        config = parse(cell.flags)
        assert config.steps == options.steps_of(cell.method, "insertion")
        assert config.policy.chunk_size == cell.method.chunk_size
        assert config.policy_class.lower() == cell.method.policy


def test_a_method_may_train_longer_than_the_others_unless_the_steps_are_given():
    slow = next(method for method in table1.METHODS if method.length > 1)
    assert Options().steps_of(slow, "insertion") > Options().steps_of(ACT, "insertion")
    assert Options(steps=10).steps_of(slow, "insertion") == 10


# ------------------------------------------------------------------------------------------------------- wrong input
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--budget", "soon"], "--budget soon: give hours, minutes, seconds, such as 90m"),
        (["--policies", "oracle"], "--policies oracle: choose from act"),
        (["--results", "."], ". holds no results of a grid (IsADirectoryError"),
        (["--rollouts", "0"], "--rollouts 0: give at least 1"),
        (["--seeds", "0", "0"], "--seeds 0 0: name one or more, and each once"),
        (["--seeds"], "--seeds : name one or more"),
        (["--styles", "human", "human"], "--styles human human: name one or more, and each once"),
    ],
)
def test_wrong_input_is_answered_with_one_sentence(arguments: list[str], message: str, folder: Path, capsys):
    assert table1.program(arguments) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1
