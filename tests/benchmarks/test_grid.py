"""Grids: what is run in which order, stopping and going on, what is kept, and what the page says. Programs are toys."""

import json
import re
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from act import policies
from act.config import parse
from act.episodes import read_episode, write_episode
from act.paper import PAPER
from act.rates import wilson_interval
from benchmarks import ablations, doc_tables, grid, grid_figure, grid_jobs, grid_page, grid_run, table1
from benchmarks.grid import Cell, Method, Options, Results, Row, plan
from benchmarks.grid_page import Entry, Mean, Rows, Tally, differences

ACT = Method("ACT", "act", modes=("chunk", "ensemble"))
OPTIONS = Options(tasks=("transfer_cube",), styles=("scripted",), seeds=(0,), rollouts=6, steps=40, jobs=2)

# Each toy tells in calls.txt that it was called. Training takes 40 x 20 ms and resumes; seed 13 is a bad one.
TOYS = {
    "record_sim_episodes.py": """
import h5py, sys
folder = sys.argv[sys.argv.index("--dataset_dir") + 1]
for i in range(50):
    with h5py.File(f"{folder}/episode_{i}.hdf5", "w") as file:
        for name in ("observations/qpos", "observations/qvel", "action"):
            file[name] = [[float(i)] * 14]
""",
    "train.py": """
import json, pathlib, sys, time
value = lambda flag: sys.argv[sys.argv.index(flag) + 1]
if value("--seed") == "13":
    sys.exit("train: seed 13 brings no luck")
run = pathlib.Path(value("--run_dir"))
run.mkdir(parents=True, exist_ok=True)
log = run / "metrics.jsonl"
start = len(log.read_text().splitlines()) if log.exists() else 0
print("training from step", start, flush=True)
if start == int(value("--steps")):
    sys.exit(f"train: {run} was trained on other episodes")
try:
    for step in range(start + 1, int(value("--steps")) + 1):
        time.sleep(0.02)
        with log.open("a") as file:
            file.write(json.dumps({"step": step, "seconds_per_step": 0.02}) + "\\n")
except KeyboardInterrupt:
    sys.exit(130)
(run / "policy.safetensors").write_text("")
(run / "policy.json").write_text(json.dumps({"step": step}))
(run / "config.json").write_text(json.dumps({"steps": step}))
""",
    "eval.py": """
import json, pathlib, sys
value = lambda flag: sys.argv[sys.argv.index(flag) + 1]
mode, n = value("--modes"), int(value("--num_rollouts"))
every = "_every" + value("--n_action_steps") if "--n_action_steps" in sys.argv else ""
folder = pathlib.Path(sys.argv[1]) / "eval" / f"test_{mode}{every}"
folder.mkdir(parents=True, exist_ok=True)
settings = {"chunk_size": 60, "n_action_steps": int(every[6:] or 60), "ensemble_m": None, "seed_set": "test"}
settings |= {"backbone_weights": "none", "weights": "00", "train_commit": "c0ffee"}
episodes = [{"seed": 2000000 + i, "max_reward": 4.0 if i % 3 else 2.0, "strict_success": i % 3 == 1} for i in range(n)]
made = {"command": "eval.py", "git": "c0ffee", "hardware": {"cpu": "toy"}, "versions": {"python": "3"}, "time": "now"}
stages = [{"name": name} for name in ("touched", "lifted", "received", "transfer")]
results = {"n": n, "seeds": [e["seed"] for e in episodes], "episodes": episodes, "stages": stages, "wall_time_s": 3.0}
results |= {"settings": settings, "provenance": made, "single_query": None}
(folder / "results.json").write_text(json.dumps(results))
""",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, source in TOYS.items():
        (tmp_path / name).write_text(f"open('calls.txt', 'a').write('{name}\\n')\n{source}")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(options: Options = OPTIONS, methods: tuple[Method, ...] = (ACT,)) -> int:
    return grid_run.run_grid(plan(methods, options), options, Results(Path("results.json")))


def rows() -> list[Row]:
    return list(Results(Path("results.json")).rows.values())


def calls() -> list[str]:
    return Path("calls.txt").read_text().split()


def steps_done() -> list[int]:
    """Of every training that has begun."""
    return [len(path.read_text().splitlines()) for path in Path("runs").rglob("metrics.jsonl")]


class Clock:
    """Jumps ahead as soon as a training has begun, so that no test depends on how fast this machine is."""

    def __init__(self) -> None:
        self.sleep, self.now = time.sleep, 0.0

    def monotonic(self) -> float:
        self.now = 10.0 if any(steps_done()) else self.now
        return self.now


def row(method: Method, rewards: str, task: str = "transfer_cube", style: str = "scripted", **more) -> Row:
    """A row of results; `more`: seed, mode."""
    seed, mode = more.get("seed", 0), more.get("mode", "chunk")
    cell = Cell(method, task, style, "state", seed, Options().steps_of(method, task))
    made = {"method": method.name, "recipe": cell.recipe, "train_seed": seed, "mode": mode, "policy": method.policy}
    made |= {"task": task, "style": style}
    made |= {"n_action_steps": cell.every(mode), "chunk_size": method.chunk_size, "steps": cell.steps, "track": "state"}
    made |= {"n": len(rewards), "first_seed": 2_000_000, "rewards": rewards, "strict": "0" * len(rewards)}
    made |= {"stages": list("abcd"), "single_query": {"p50_ms": 5.0, "p99_ms": 30.0}, "commands": ["train", "eval"]}
    made |= {"train_s": 100.0, "eval_s": 50.0, "train_commit": "c"}
    return made | {"provenance": {"git": "c", "hardware": {"cpu": "toy"}, "versions": {}}}


# ------------------------------------------------------------------------------------------------------------ running
def test_a_cell_is_recorded_trained_and_evaluated_in_every_way_and_then_left_alone(folder: Path):
    assert run() == 0
    assert calls() == ["record_sim_episodes.py", "train.py", "eval.py", "eval.py"]
    first, second = rows()
    assert (first["mode"], first["n_action_steps"]) == ("chunk", 60)
    assert (second["mode"], second["n_action_steps"]) == ("ensemble", 1)
    assert (first["rewards"], first["strict"]) == ("244244", "010010")
    assert first["train_s"] == pytest.approx(0.8) and first["commands"][0].startswith("python train.py --preset state")
    assert run() == 0 and len(calls()) == 4
    Path("results.json").unlink()
    assert run() == 0 and len(calls()) == 4 and rows() == [first, second]  # from what the programs left
    assert run(replace(OPTIONS, rollouts=9)) == 0 and calls()[4:] == ["eval.py", "eval.py"]
    assert len(rows()) == 2 and rows()[0]["rewards"] == "244244244"


def test_a_run_of_other_demonstrations_is_not_evaluated_as_one_of_these(folder: Path, capsys):
    """Its folder tells its recipe; train.py, which is asked again, knows what it learned from."""
    assert run() == 0 and len(calls()) == 4
    with h5py.File(next(Path("data").rglob("episode_49.hdf5")), "r+") as file:
        file["action"][...] = 7.0  # type: ignore[index]
    Path("results.json").unlink()
    assert run() == 1 and calls()[4:] == ["train.py"] and not Path("results.json").exists()
    assert "was trained on other episodes" in capsys.readouterr().err


def test_compiled_trainings_are_the_same_cells_and_their_rows_say_so(folder: Path):
    compiled = replace(OPTIONS, compile=True)
    assert run(compiled) == 0 and all("--compile" in row["commands"][0] for row in rows())
    assert not any("--compile" in row["recipe"] for row in rows())
    assert run() == 0 and len(calls()) == 4


def test_a_spent_budget_stops_within_a_cell_and_the_next_call_goes_on_there(folder: Path, monkeypatch, capsys):
    for module in (grid_run, grid_jobs):
        monkeypatch.setattr(module, "time", Clock())
    assert run(replace(OPTIONS, steps=500, budget="1s")) == 0
    assert "the budget of 1s is spent" in capsys.readouterr().err
    (done,) = steps_done()
    assert 0 < done < 500 and rows() == []
    for module in (grid_run, grid_jobs):
        monkeypatch.setattr(module, "time", time)
    (folder / "train.py").write_text((folder / "train.py").read_text().replace("0.02)", "0)"))
    assert run(replace(OPTIONS, steps=500)) == 0
    assert f"training from step {done}" in next(Path("runs").rglob("grid.log")).read_text()
    assert len(rows()) == 2 and steps_done() == [500]


def test_ctrl_c_stops_all_programs(folder: Path):
    def press() -> None:
        while len(steps_done()) < 2:  # side by side
            time.sleep(0.01)
        signal.raise_signal(signal.SIGINT)

    threading.Thread(target=press, daemon=True).start()
    assert run(replace(OPTIONS, steps=5000, seeds=(0, 1))) == 130
    with grid_run.locked(OPTIONS.runs):
        pass  # nobody holds the lock: no program is left


def test_a_cell_that_fails_says_why_and_the_others_go_on(folder: Path, capsys):
    assert run(replace(OPTIONS, seeds=(13, 0))) == 1
    assert {row["train_seed"] for row in rows()} == {0}
    told = capsys.readouterr().err
    assert "seed 13: training ended with code 1: train: seed 13 brings no luck (all of it: runs" in told


def test_only_the_cells_whose_demonstrations_failed_are_left_out(folder: Path, capsys):
    toy = folder / "record_sim_episodes.py"
    source = toy.read_text().replace("for i", "if 'insertion' in str(folder):\n    sys.exit('no pegs today')\nfor i", 1)
    toy.write_text(source)
    assert run(replace(OPTIONS, tasks=("insertion", "transfer_cube"))) == 1
    assert {made["task"] for made in rows()} == {"transfer_cube"} and len(rows()) == 2
    assert "recording ended with code 1: no pegs today" in capsys.readouterr().err


def test_grids_that_share_a_file_keep_each_others_rows(tmp_path: Path):
    ours, theirs = Results(tmp_path / "table.json"), Results(tmp_path / "table.json")
    ours.add(row(ACT, "44"))
    theirs.add(row(ACT, "44", seed=1))
    ours.add(row(ACT, "44", seed=2))
    assert {made["train_seed"] for made in Results(tmp_path / "table.json").rows.values()} == {0, 1, 2}


def test_two_grids_never_work_in_one_folder(folder: Path):
    with grid_run.locked(OPTIONS.runs), pytest.raises(ValueError, match="another grid is at work in runs/grid"):
        run()


def test_every_method_comes_before_a_second_training_seed():
    methods = (ACT, replace(ACT, label="ACT, wide", flags=("--hidden_dim", "512")))
    cells = plan(methods, Options(seeds=(0, 1)))
    assert [cell.seed for cell in cells] == [0] * 8 + [1] * 8
    assert [cell.method for cell in cells[:2]] == list(methods) and cells[0].task == cells[1].task


def test_a_method_is_run_on_its_own_tasks_only():
    cells = plan((ACT, replace(ACT, label="ACT, elsewhere", tasks=("insertion",))), Options(seeds=(0,)))
    assert [(cell.task, cell.style) for cell in cells if cell.method.tasks != grid.TASKS] == [
        ("insertion", "scripted"),
        ("insertion", "human"),
    ]


def test_the_time_left_follows_from_similar_rows():
    results = Results(Path("nowhere.json"))
    cell = Cell(ACT, "transfer_cube", "scripted", "state", 1, 6000)
    options = Options(rollouts=300, modes=("chunk",))
    assert grid_run.cost(cell, options, results) is None
    results.rows = {("a",): row(ACT, "4" * 100)}  # 3000 steps in 100 s, 100 rollouts in 50 s
    assert grid_run.cost(cell, options, results) == pytest.approx(2 * 100 + 3 * 50)


def test_rows_of_other_demonstrations_are_never_joined(folder: Path):
    assert run() == 0
    before, last = rows(), Path("data/grid/state/transfer_cube_scripted/episode_49.hdf5")
    episode = read_episode(last)
    write_episode(last, images={}, qpos=episode.qpos, qvel=episode.qvel, action=-episode.action)
    with pytest.raises(ValueError, match="other demonstrations of transfer_cube scripted"):
        run(replace(OPTIONS, seeds=(0, 1)))
    assert rows() == before and run() == 0  # nothing to run, nothing to join
    other = Results(Path("other.json"))
    other.add({**before[0], "train_seed": 1, "demonstrations": "of somebody else"})
    with pytest.raises(ValueError, match=r"than other\.json \(of somebody else\)"):
        Results(Path("results.json")).take(Path("other.json"), plan((ACT,), replace(OPTIONS, seeds=(0, 1))))


# ------------------------------------------------------------------------------------------------ what the grids hold
@pytest.mark.parametrize("program", [table1, ablations])
def test_no_two_cells_share_a_folder(program):
    cells = plan(program.METHODS, Options())
    assert len({cell.folder(Path("runs")) for cell in cells}) == len(cells)


def test_the_grids_share_the_runs_they_have_in_common():
    folders = [{cell.folder(Path()) for cell in plan(p.METHODS, Options(seeds=(0,)))} for p in (table1, ablations)]
    assert len(folders[0] & folders[1]) >= 4  # ACT as Table I has it is one half of Fig. 8c


@pytest.mark.parametrize("track", ["state", "images"])
def test_train_py_takes_the_flags_of_every_cell(track):
    options = Options(tasks=("insertion",), styles=("human",), seeds=(0,), track=track)
    cells = plan((*table1.METHODS, *ablations.METHODS), options)
    assert {cell.method.policy for cell in cells} <= set(policies.available())
    for cell in {cell.recipe: cell for cell in cells}.values():
        config = parse(cell.flags)
        assert config.steps == options.steps_of(cell.method, "insertion")
        assert config.policy.chunk_size == cell.method.chunk_size
        assert config.policy_class.lower() == cell.method.policy


# ---------------------------------------------------------------------------------------------------------- the page
def test_every_method_of_the_paper_stands_beside_its_figures():
    methods = [method for method in table1.METHODS if method.label in PAPER["insertion"].methods]
    forms = [(method, mode) for method in methods for mode in method.modes]
    found = Rows([row(method, "44320", "insertion", mode=mode) for method, mode in forms], Options())
    table = table1.stages(found, "state", "insertion")
    heads = [(name.text, name.small) for name, _, _ in table.rows]
    after = heads.index(("ACT", "chunks of 60, ensembled"))
    assert heads[after + 1] == ("paper", "")
    assert [entry.text for entry in table.rows[after + 1][1]][:6] == ["93", "76", "90", "66", "32", "20"]
    assert [entry.text for entry in table.rows[after][1]][0::2] == ["80.0*", "60.0*", "40.0*", "0.0*"]
    assert heads.count(("paper", "")) == 5


def test_fewer_than_200_rollouts_are_starred_and_missing_cells_are_dashes():
    found = Rows([row(ACT, "4" * 200), row(ACT, "4" * 199, "insertion")], Options())
    entries = table1.overview(found, "state").rows[0][1]
    assert [entry.text for entry in entries] == ["100.0", "100.0*", "–", "–"]


def test_a_method_may_train_longer_than_the_others_but_not_than_it_is_told():
    (slow,) = [method for method in table1.METHODS if method.length > 1]
    assert Options().steps_of(slow, "insertion") > Options().steps_of(ACT, "insertion")
    assert Options(steps=10).steps_of(slow, "insertion") == 10


def test_rows_of_other_recipes_stay_out():
    assert not any(Rows([row(ACT, "44")], Options(steps=10)).settings(ACT, "state", "chunk").tallies)


def test_only_real_differences_are_called_real():
    won = {"a": 180, "b": 177, "c": 120}
    tallies = {Entry(name): Tally((row(ACT, "4" * n + "0" * (200 - n)),)) for name, n in won.items()}
    found = differences(tallies)
    assert not found[Entry("a"), Entry("b")].real
    assert found[Entry("a"), Entry("c")].real and found[Entry("a"), Entry("c")].points == pytest.approx(-30)


def test_rollouts_are_paired_within_a_training_seed_only():
    first, second = Tally((row(ACT, "4444"),)), Tally((row(ACT, "0000", seed=1),))
    assert grid_page.paired(first.won, second.won) is None
    both = Tally((row(ACT, "4444"), row(ACT, "4400", seed=1)))
    test = grid_page.paired(both.won, second.won)
    assert test is not None and (test.n, test.only_first) == (4, 2)


def test_what_is_shown_beside_a_paired_test_are_the_rollouts_it_compares():
    hundred, made = ablations.SIZED["ACT"][2], []
    for task, style in grid_page.SETTINGS:
        made += [row(hundred, "4" * 100 + "0" * 100, task, style), row(hundred, "4" * 200, task, style, seed=1)]
        made += [row(hundred, "4" * 150 + "0" * 50, task, style, mode="ensemble")]  # training seed 0 only
    (_, (off, on, test), _), *_ = ablations.ensembling(Rows(made, Options()), "state").rows
    assert (off.text, on.text) == ("50.0", "75.0") and test.style == "good-text"


def test_a_method_that_is_better_on_shared_rollouts_is_not_called_worse():
    pooled = Tally((row(ACT, "4" * 100 + "0" * 100), row(ACT, "4" * 200, seed=1)))
    better, worse = Tally((row(ACT, "4" * 140 + "0" * 60),)), Tally((row(ACT, "4" * 40 + "0" * 160),))
    found = {Entry("pooled"): pooled, Entry("better"): better, Entry("worse"): worse}
    assert table1.leading(found) == {Entry("pooled"), Entry("better")}


def test_what_was_never_compared_with_the_best_is_not_called_as_good():
    best, other = Tally((row(ACT, "4" * 200),)), Tally((row(ACT, "0" * 200, seed=1),))
    assert table1.leading({Entry("best"): best, Entry("other"): other}) == {Entry("best")}


def test_training_seeds_that_win_the_same_starts_count_once():
    apart = {Entry("a"): "4" * 24 + "0" * 176, Entry("b"): "0" * 12 + "4" * 24 + "0" * 164}
    for seeds in (1, 3):
        tallies = {n: Tally(tuple(row(ACT, d, seed=s) for s in range(seeds))) for n, d in apart.items()}
        better = {**tallies, Entry("c"): Tally(tuple(row(ACT, "4" * 31 + "0" * 169, seed=s) for s in range(seeds)))}
        gaps = differences(better)
        assert gaps[Entry("c"), Entry("a")].p == pytest.approx(3 * 2 / 2**7), "7 starts, whatever the number of seeds"
        interval = tallies[Entry("a")].success
        assert (interval.low, interval.high) == pytest.approx(wilson_interval(24, 200))


def test_rollouts_of_few_starts_are_preliminary_whatever_the_number_of_seeds():
    vinn = next(method for method in table1.METHODS if method.label == "VINN")
    rows = [row(vinn, "4" * 67, task, style, seed=seed) for task, style in grid_page.SETTINGS for seed in range(3)]
    entries = [entry for _, entries, _ in table1.overview(Rows(rows, Options()), "state").rows for entry in entries]
    assert {entry.text for entry in entries} == {"100.0*"}


def test_p_values_of_fig8_are_corrected_within_their_table():
    hundred, made = {name: methods[2] for name, methods in ablations.SIZED.items()}, []
    for method in hundred.values():
        for task, style in grid_page.SETTINGS:
            made += [
                row(method, "4" * 100 + "0" * 100, task, style),
                row(method, "4" * 102 + "0" * 98, task, style, mode="ensemble"),
            ]
    found = [test.text for _, (*_, test), _ in ablations.ensembling(Rows(made, Options()), "state").rows[::2]]
    assert found == [f"{min(1, 3 * 2 / 2**4):.1g}"] * 3


def test_a_mean_needs_all_settings_and_counts_them_alike():
    cube = Tally((row(ACT, "4" * 100),))
    insertion = Tally((row(ACT, "0" * 10, "insertion"), row(ACT, "4" * 10, "insertion", seed=1)))
    assert Mean((cube, None)).success is None
    success = Mean((cube, insertion)).success  # training seed 0 and 10 rollouts is what both have
    assert success is not None and (success.rate, success.n) == (0.5, 20)


@pytest.mark.parametrize("path", doc_tables.PAGES, ids=lambda path: path.name)
def test_the_tables_of_the_documentation_are_what_the_results_say(path: Path):
    text = path.read_text(encoding="utf-8")
    assert doc_tables.MARK.search(text)
    assert doc_tables.fill(text) == text, "python -m benchmarks.doc_tables"


def test_tables_of_the_documentation_are_drawn_anew_under_their_marks(monkeypatch: pytest.MonkeyPatch):
    flow = next(method for method in table1.METHODS if method.label == "Flow matching")
    single = next(method for method in table1.METHODS if method.label == "BeT" and method.chunk_size == 1)
    tens, hundreds = (ablations.SIZED["ACT"][i] for i in (1, 2))
    found = [row(flow, "4" * 9 + "0", seed=seed) for seed in (0, 1)] + [row(single, "40")]
    found += [row(tens, "4000"), row(hundreds, "4400", mode="ensemble"), row(ablations.CVAE[1], "4440")]
    monkeypatch.setattr(doc_tables, "results", lambda name: Rows(found, Options()))
    marks = [f"<!-- {name}: state transfer_cube scripted -->\n\n" for name in ("setting", "sizes")]
    marks += [f"<!-- {name}: state -->\n\n" for name in ("overview", "cvae")]
    text = doc_tables.fill("| old | table |\n\n".join(marks) + "the end\n")
    assert "old" not in text and doc_tables.fill(text) == text and text.endswith("|\n\nthe end\n")
    last = doc_tables.fill("the end\n\n<!-- cvae: state -->\n")
    assert "| Cube transfer, scripted |" in last and last.endswith("|\n") and doc_tables.fill(last) == last
    setting, sizes, overview, cvae = (
        [line for line in part.split("\n") if "|" in line] for part in text.split("<!")[1:]
    )
    assert setting[2].startswith("| BeT | **50.0*** (9.5–90.5), 0.0 |  |  | 27 |")
    assert setting[3].startswith("| Flow matching |  | **90.0*** (59.6–98.2), 0.0; 90 90 |  |")
    assert sizes[0] == "|  | 1 | 10 | 100 | 200 | 400 | 100, ensembled |"
    assert sizes[2] == "| ACT |  | 25.0* (4.6–69.9) |  |  |  | 50.0* (15.0–85.0) |"
    assert overview[2] == "| BeT, single step | **50.0*** (9.5–90.5) |  |  |  | 27 / 3 / 1 / 0 |"
    assert cvae[2] == "| Cube transfer, scripted |  | 75.0* (30.1–95.4), 0.0 |  |  |"


def test_act_on_all_demonstrations_is_compared_with_table_1s_on_the_training_seeds_of_both():
    usual = [row(table1.METHODS[0], "40" * 100, "insertion", seed=seed) for seed in (0, 1)]
    every = row(ablations.NONE_HELD_OUT, "4" * 200, "insertion", seed=1)
    assert ablations.held_out(Rows(usual, Options()), "state") is None
    table = ablations.held_out(Rows([*usual, every], Options()), "state")
    assert table and table.lines().splitlines()[2:] == [
        "| scripted (chunks of 60) | 50.0 (43.1–56.9) | 100.0 (98.1–100.0) | 2e-30 |"
    ]


def test_the_figure_of_table_1_shows_every_form_with_its_interval_beside_the_papers(tmp_path: Path):
    bet = next(method for method in table1.METHODS if method.label == "BeT" and method.chunk_size == 1)
    act = table1.METHODS[0]
    found = [row(act, "4" * 150 + "0" * 50, mode="ensemble"), row(bet, "40"), row(bet, "44", seed=1)]
    figure = grid_figure.dots(Rows(found, Options()), "state")
    panel, empty = figure.axes
    assert (panel.get_title(), empty.axison) == ("Cube transfer, scripted", False)
    assert [label.get_text() for label in panel.get_yticklabels()] == ["ACT", "BeT"]
    lines = [np.asarray(line.get_xdata()) for line in panel.lines]
    drawn = [tuple(xs.tolist()) for xs in lines if xs.size]  # the legend's have no data
    low, high = (100 * getattr(Tally((found[0],)).success, end) for end in ("low", "high"))
    assert drawn[:3] == [(low, high), (75.0,), (86.0,)]  # ours, and the paper's
    assert drawn[4:] == [(75.0,), (50.0, 100.0), (27.0,)]  # of two training seeds each one's, too
    grid_figure.save(figure, tmp_path / "table.png")
    assert (tmp_path / "table.png").read_bytes().startswith(b"\x89PNG")


def test_the_figure_of_fig_8_leaves_out_means_that_lack_a_setting():
    single, tens = (ablations.SIZED["VINN"][i] for i in (0, 1))
    found = [row(tens, "4400", task, style) for task, style in grid_page.SETTINGS] + [row(single, "44")]
    sizes = grid_figure.fig8(Rows(found, Options()), "state").axes[0]
    ours, theirs = [line for line in sizes.lines if line.get_color() == grid_figure.COLOURS["VINN"]][:2]
    nothing = np.nan
    np.testing.assert_array_equal(ours.get_ydata(), [nothing, 50.0, nothing, nothing, nothing])
    assert tuple(np.asarray(theirs.get_ydata())) == ablations.PAPER_SIZES["VINN"]


@pytest.mark.parametrize(
    "mark", ["grades: state", "setting: smells insertion human", "setting: state insertion dog", "sizes: state"]
)
def test_a_mark_that_names_no_table_is_named(mark: str):
    with pytest.raises(ValueError, match=f"<!-- {mark} --> names no table; there is overview, setting"):
        doc_tables.fill(f"<!-- {mark} -->\n")


@pytest.mark.parametrize("program", [table1, ablations])
def test_pages_are_whole_and_need_no_network(program, tmp_path: Path):
    made = [
        row(method, "4440" * 5, task, style, mode=mode)
        for method in program.METHODS
        for mode in method.modes
        for task in PAPER
        for style in ("scripted", "human")
    ]
    for some in (made, made[:1], []):
        html, text = program.draw(some, Options())
        assert "nan" not in html and not re.search(r"""(src|href)=["']?(https?:)?//""", html)
        for tag in ("section", "table", "tr", "td", "th", "span", "svg"):
            assert len(re.findall(rf"<{tag}[ >]", html)) == html.count(f"</{tag}>")
        assert len({line.count("|") for line in text.split("###")[-1].splitlines() if line.startswith("|")}) <= 1
    assert "75.0" in program.draw(made, Options())[1]


# ------------------------------------------------------------------------------------------------------- wrong input
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--budget", "soon"], "--budget soon: give hours, minutes, seconds, such as 90m"),
        (["--tasks", "juggling"], "--tasks juggling: there is transfer_cube, insertion"),
        (["--policies", "oracle"], "--policies oracle: this grid has act"),
        (["--only_page", "--page", "."], "--page . is a folder; give a file"),
        (["--only_page", "--page", "train.py/page.html"], "File exists: 'train.py'"),
        (["--rollouts", "0"], "--rollouts 0: must be at least 1"),
        (["--seeds", "0", "0"], "--seeds 0 0: name each once"),
        (["--styles", "human", "human"], "--styles human human: name each once"),
    ],
)
def test_wrong_input_is_answered_with_one_sentence(arguments: list[str], told: str, folder: Path, capsys):
    assert table1.program(arguments) == 2
    message = capsys.readouterr().err
    assert told in message and message.count("\n") == 1


def test_a_file_that_holds_something_else_is_named(folder: Path):
    Path("results.json").write_text(json.dumps({"provenance": {}}))
    with pytest.raises(ValueError, match=r"results\.json holds no results of a grid"):
        Results(Path("results.json"))
    half = row(ACT, "44")
    del half["n"], half["single_query"]
    Path("results.json").write_text(json.dumps({"rows": [row(ACT, "40", seed=1), half]}))
    with pytest.raises(ValueError, match=r"results\.json holds no results of a grid .*n, single_query"):
        Results(Path("results.json"))


def test_the_program_draws_what_there_is(folder: Path, capsys):
    assert table1.program(["--only_page", "--results", "results.json", "--page", "page.html"]) == 0
    assert "<html" in Path("page.html").read_text() and "wrote page.html" in capsys.readouterr().out


def test_results_of_another_machine_are_taken_over_where_they_say_more(folder: Path, capsys):
    ours, theirs = Results(Path("ours.json")), Results(Path("theirs.json"))
    ours.add(row(ACT, "44"), row(ACT, "4400", seed=1))
    theirs.add(row(ACT, "0000"), row(ACT, "00", seed=1), row(ACT, "4444", seed=2))
    flags = ["--only_page", "--results", "ours.json", "--page", "page.html", "--take"]
    assert table1.program([*flags, "theirs.json"]) == 0
    found = {line["train_seed"]: line["rewards"] for line in Results(Path("ours.json")).rows.values()}
    assert found == {0: "0000", 1: "4400", 2: "4444"}
    theirs.add(row(ablations.SIZED["ACT"][2], "4444"))  # of the other grid
    assert ablations.program([*flags, "theirs.json", "--results", "fig8.json"]) == 0
    found = [line["method"] for line in Results(Path("fig8.json")).rows.values()]
    assert sorted(found) == ["ACT, chunks of 100"] + ["ACT, chunks of 60"] * 3
    assert ablations.program([*flags, "theirs.json", "--results", "some.json", "--seeds", "1"]) == 0
    assert [line["train_seed"] for line in Results(Path("some.json")).rows.values()] == [1]
    assert table1.program([*flags, "nobodys.json"]) == 2
    assert "--take nobodys.json: there is no such file" in capsys.readouterr().err


def test_budgets_are_hours_minutes_and_seconds():
    assert [grid.seconds(text) for text in ("90m", "1h30m", "45s")] == [5400, 5400, 45]
    assert grid.seconds("") == float("inf")
