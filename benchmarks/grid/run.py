"""Runs the cells of a grid with the ordinary programs, keeps a row of results for each, and prints its tables.

Every step is a process of its own: record_sim_episodes.py, act pretrain, train.py, eval.py. Each of them continues
where it stopped, so a grid that was stopped by Ctrl-C or by its budget continues in the middle of a cell.
"""

import hashlib
import json
import shlex
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

from act import cluster
from act.data.episodes import find_episodes, read_episode
from act.files import lock_file, lock_folder, whole_file
from act.provenance import provenance
from act.run_folder import RunFolder
from act.workers import available_cores
from benchmarks import programs
from benchmarks.grid.cells import DATA, RUNS, Cell, Method, Mode, Options, plan
from benchmarks.grid.statistics import Row, Rows

RESULTS = Path(__file__).parents[1] / "results"
DEMOS = 50  # for each task and style, as in the paper
SCENES = {  # task -> random scenes, and steps of pretraining; the battery needs the sharpest view, in millimetres
    "transfer_cube": (3000, 500),
    "insertion": (4000, 1000),
    **dict.fromkeys(("slide_ziploc", "slot_battery", "open_cup"), (6000, 1500)),
}
VIEWS: dict[str, list[object]] = {"state": ["--cameras"], "images": ["--image_size", 240, 320]}
KEPT = ("chunk_size", "n_action_steps", "ensemble_m", "seed_set", "backbone_weights", "weights", "train_commit")


class Results:
    """Rows by key, in a JSON file with one row per line. Several grids may add rows to the same file."""

    def __init__(self, path: Path):
        self.path = path
        self.rows: dict[tuple[Any, ...], Row] = {}
        self._join()

    def _join(self, *rows: Row) -> None:
        """Joins the rows of the file and others; of two with the same key the one with more rollouts stays."""
        try:
            known = json.loads(self.path.read_text())["rows"] if self.path.exists() else []
            for row in (*known, *rows):
                key = row["recipe"], row["train_seed"], row["mode"], row["n_action_steps"]
                if row["n"] > self.rows.get(key, {"n": 0})["n"]:
                    self.rows[key] = row
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{self.path} holds no results of a grid ({error!r}); give another file") from None

    def add(self, *rows: Row) -> None:
        """Adds rows, and those that another program has written meanwhile."""
        with lock_file(self.path):
            self._join(*rows)
            lines = ",\n".join(json.dumps(row, allow_nan=False) for row in self.rows.values())
            with whole_file(self.path) as temporary:
                temporary.write_text(f'{{"provenance": {json.dumps(provenance())},\n"rows": [\n{lines}\n]}}\n')

    def missing(self, cell: Cell, rollouts: int) -> list[Mode]:
        """Returns the modes in which the cell is still to be evaluated."""
        return [mode for mode in cell.method.modes if self.rows.get(cell.key(mode), {"n": 0})["n"] < rollouts]


@dataclass
class Grid:
    """Runs cells, --jobs of them side by side; those of one task make their demonstrations one after another."""

    options: Options
    results: Results
    runner: programs.Runner
    preparing: dict[str, Lock] = field(default_factory=lambda: defaultdict(Lock))

    def run(self, cells: Sequence[Cell]) -> int:
        """Runs what is missing. Returns 0 when all is done, 1 when a program failed; raises OutOfTime."""
        todo = [cell for cell in cells if self.results.missing(cell, self.options.rollouts)]
        jobs = {str(cell.run): partial(self.run_cell, cell) for cell in todo}
        with lock_folder(RUNS, "filled", "working directory"):
            return 1 if self.runner.side_by_side(jobs, self.options.jobs, "cell") else 0

    def run_cell(self, cell: Cell) -> None:
        """Trains and evaluates a cell. Programs that are already done notice it by themselves."""
        with self.preparing[cell.task]:
            place = self.prepare(cell)
        train = ["train.py", *cell.flags, "--seed", cell.seed, *place, "--run_dir", cell.run]
        self.runner.run(train, cell.run / "grid.log")
        for mode in self.results.missing(cell, self.options.rollouts):
            every = cell.execution(mode).n_action_steps
            how = ["--modes", mode, "--num_rollouts", self.options.rollouts, "--videos", 0]
            how += ["--n_action_steps", every] if every else []
            evaluate = ["eval.py", cell.run, *how, "--num_workers", self.runner.threads]
            self.runner.run(evaluate, cell.run / "grid.log")
            self.results.add(row_of(cell, mode, [train, evaluate]))

    def prepare(self, cell: Cell) -> list[object]:
        """Makes the demonstrations and the backbone, where they are missing; returns the flags that name them."""
        demos, backbone = DATA / cell.where, RUNS / cell.track / f"{cell.task}_trunk"
        record = ["record_sim_episodes.py", "--task_name", f"sim_{cell.task}_{cell.style}", *VIEWS[cell.track]]
        record += ["--workers", self.runner.threads, "--dataset_dir"]
        if not demos.is_dir() or len(find_episodes(demos)) < DEMOS:
            self.runner.run([*record, demos, "--num_episodes", DEMOS], demos.with_suffix(".log"))
        if cell.track == "state":
            return ["--dataset_dir", demos]
        if not (backbone / "trunk.json").exists():
            scenes, (number, steps) = DATA / "scenes" / cell.task, SCENES[cell.task]
            self.runner.run([*record, scenes, "--random_scenes", number], backbone.with_suffix(".log"))
            pretrain = ["-m", "act", "pretrain", scenes / "scenes.hdf5", "--out", backbone, "--steps", steps]
            self.runner.run(pretrain, backbone.with_suffix(".log"))
        return ["--dataset_dir", demos, "--trunk", backbone]


def row_of(cell: Cell, mode: Mode, commands: Sequence[Sequence[object]]) -> Row:
    """Returns the row of one evaluation. "rewards" and "strict" hold one digit for each rollout."""
    run, actions = RunFolder(cell.run), hashlib.sha256()  # of all demonstrations, whatever the cameras
    for path in find_episodes(DATA / cell.where):
        actions.update(read_episode(path).action.tobytes())
    results = json.loads((run.evaluation(cell.execution(mode).folder()) / "results.json").read_text())
    row = dict(zip(("recipe", "train_seed", "mode"), cell.key(mode), strict=False))
    row |= {"method": f"{cell.method.label}, {cell.method.form()}", "policy": cell.method.policy}
    row |= {"task": cell.task, "style": cell.style, "track": cell.track, "steps": cell.steps}
    row |= {"demonstrations": actions.hexdigest()[:16], **{key: results["settings"][key] for key in KEPT}}
    row |= {"n": results["n"], "first_seed": results["seeds"][0], "stages": [s["name"] for s in results["stages"]]}
    row["rewards"] = "".join(str(int(episode["max_reward"])) for episode in results["episodes"])
    row["strict"] = "".join(str(int(episode["strict_success"])) for episode in results["episodes"])
    last, train_s = 0, 0.0  # of all optimizer steps that were kept, whatever the number of interruptions
    for line in run.metrics():
        train_s, last = train_s + line["seconds_per_step"] * (line["step"] - last), line["step"]
    row |= {"single_query": results["single_query"], "train_s": round(train_s, 1), "eval_s": results["wall_time_s"]}
    row["commands"] = [shlex.join(["python", *map(str, words)]) for words in commands]
    return row | {"provenance": {key: value for key, value in results["provenance"].items() if key != "command"}}


def make_runner(options: Options) -> programs.Runner:
    """Returns what runs programs on this machine, or with --ray on the cluster."""
    if not options.ray:
        return programs.Runner(options.budget, max(1, available_cores() // options.jobs))
    threads, num_gpus = cluster.share(options.jobs), cluster.gpu_share(options.jobs)
    remotely = partial(cluster.run_program_remotely, num_cpus=threads, num_gpus=num_gpus)
    return programs.Runner(options.budget, threads, remotely)


Tables = Mapping[str, Callable[[Rows, str], str]]  # the documentation of the functions are the headings


def main(
    name: str,
    methods: Sequence[Method],
    tables: Tables,
    doc: str | None,
    argv: Sequence[str] | None = None,
    *,
    kind: type[Options] = Options,
    page: str = "docs/results.md",
) -> int:
    """The program of the grid `name`, with options of this kind, whose tables stand on this page."""

    def work(options: Options) -> int:
        cells, results = plan(methods, options), Results(options.results or RESULTS / f"{name}.json")
        try:
            with cluster.connected(options.ray):
                return Grid(options, results, make_runner(options)).run(cells)
        finally:
            rows = Rows([*results.rows.values()], options)
            for track in rows.tracks():
                for table in tables.values():
                    print(f"**{table.__doc__}** ({track})\n\n{table(rows, track)}")

    return programs.main(name, kind, work, doc, page, argv)
