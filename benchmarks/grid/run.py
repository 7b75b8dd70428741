"""Runs the cells of a grid with the ordinary programs, and prints its tables.

Every step is a process of its own: record_sim_episodes.py, act pretrain, train.py, eval.py. Each of them continues
where it stopped, so a grid that was stopped by Ctrl-C or by its budget continues in the middle of a cell.
"""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from act import cluster
from act.data.episodes import find_episodes
from act.files import lock_folder
from act.workers import available_cores
from benchmarks import programs
from benchmarks.grid.cells import Cell, Method, Options, plan
from benchmarks.grid.results import RESULTS, Results, demonstrations_of, execution, row_of
from benchmarks.grid.statistics import SETTINGS, Rows
from benchmarks.programs import PATIENCE, OutOfTime, Runner, seconds

DEMOS = 50  # for each task and style, as in the paper
SCENES = {"transfer_cube": (3000, 500), "insertion": (4000, 1000)}  # random scenes, and steps of pretraining
Table = Callable[..., str]  # of rows, a track and perhaps a task and a style


@dataclass(frozen=True)
class Grid:
    """Runs cells; --jobs of them side by side."""

    options: Options
    results: Results
    runner: Runner

    def run(self, cells: Sequence[Cell]) -> int:
        """Runs what is missing. Returns 0 when all is done or the budget is spent, 1 when a program failed."""
        options, results, run = self.options, self.results, self.runner.side_by_side
        todo = [cell for cell in cells if results.missing(cell, options)]
        with lock_folder(options.runs, "filled", "--runs"):
            try:
                makes = {f"{made}": partial(self._make, made, how) for made, how in self.preparations(todo).items()}
                failures = run(makes, options.jobs, "preparation")
                ready = [cell for cell in todo if not self.preparations([cell])]
                for demos, cell in {self.demonstrations(cell): cell for cell in ready}.items():
                    results.refuse_other_demonstrations(demonstrations_of(cell, demos), demos)
                failures |= run({cell.name: partial(self.run_cell, cell) for cell in ready}, options.jobs, "cell")
            except OutOfTime:
                print(f"the budget of {options.budget} is spent; the same command continues from here", file=sys.stderr)
                return 0
        return 1 if failures else 0

    def demonstrations(self, cell: Cell) -> Path:
        return self.options.data / cell.track / f"{cell.task}_{cell.style}"

    def backbone(self, cell: Cell) -> Path:
        return self.options.runs / cell.track / f"{cell.task}_trunk"

    def preparations(self, cells: Sequence[Cell]) -> dict[Path, list[list[str]]]:
        """Returns the commands that make the missing demonstrations and pretrained backbones, by what they make."""
        missing: dict[Path, list[list[str]]] = {}
        for cell in cells:
            demos, backbone = self.demonstrations(cell), self.backbone(cell)
            if not demos.is_dir() or len(find_episodes(demos)) < DEMOS:
                view = ["--cameras"] if cell.track == "state" else ["--image_size", "240", "320"]
                missing[demos] = [self._record(cell, demos, "--num_episodes", DEMOS, *view)]
            if cell.track == "images" and not (backbone / "trunk.json").exists():
                folder, (scenes, steps) = self.options.data / "scenes" / cell.task, SCENES[cell.task]
                record = self._record(cell, folder, "--random_scenes", scenes, "--image_size", 240, 320)
                pretrain = [sys.executable, "-m", "act", "pretrain", str(folder / "scenes.hdf5"), "--out"]
                missing[backbone] = [record, [*pretrain, str(backbone), "--steps", str(steps)]]
        return missing

    def _record(self, cell: Cell, folder: Path, *flags: object) -> list[str]:
        place = ["--task_name", f"sim_{cell.task}_{cell.style}", "--dataset_dir", str(folder)]
        how = [*map(str, flags), "--workers", str(self.runner.threads)]
        return [sys.executable, "record_sim_episodes.py", *place, *how]

    def _make(self, made: Path, commands: Sequence[Sequence[str]]) -> None:
        for command in commands:
            self.runner.run(command, made.with_suffix(".log"))

    def run_cell(self, cell: Cell) -> None:
        """Trains and evaluates a cell. Programs that are already done notice it by themselves."""
        run, demos = cell.folder(self.options.runs), self.demonstrations(cell)
        train = [sys.executable, "train.py", *cell.flags, "--seed", str(cell.seed)]
        train += ["--dataset_dir", str(demos), "--run_dir", str(run)]
        train += ["--trunk", str(self.backbone(cell))] if cell.track == "images" else []
        self.runner.run(train, run / "grid.log")
        for mode in self.results.missing(cell, self.options):
            every, n = execution(cell, mode).n_action_steps, self.options.rollouts
            evaluate = [sys.executable, "eval.py", str(run), "--modes", mode, "--num_rollouts", str(n)]
            evaluate += ["--n_action_steps", str(every)] if every else []
            evaluate += ["--videos", "0", "--num_workers", str(self.runner.threads)]
            self.runner.run(evaluate, run / "grid.log")
            self.results.add(row_of(cell, mode, run, demos, [train, evaluate]))


def make_runner(options: Options) -> Runner:
    """Returns what runs programs on this machine, or with --ray on the cluster."""
    deadline = time.monotonic() + seconds(options.budget)
    if not options.ray:
        return Runner(deadline, max(1, available_cores() // options.jobs))
    threads, num_gpus = cluster.share(options.jobs), cluster.gpu_share(options.jobs)
    start = partial(cluster.RemoteProgram, patience=PATIENCE, num_cpus=threads, num_gpus=num_gpus)
    return Runner(deadline, threads, start)


def all_tables(rows: Rows, tables: Mapping[str, Table], setting_tables: Mapping[str, Table]) -> str:
    """Returns all tables of a grid; the documentation of their functions are the headings."""
    parts = []
    for track in rows.tracks():
        parts += [(table.__doc__, track, table(rows, track)) for table in tables.values()]
        known = {(row["task"], row["style"]) for row in rows.rows if row["track"] == track}
        for where in ((track, *setting) for setting in SETTINGS if setting in known):
            parts += [(table.__doc__, ", ".join(where), table(rows, *where)) for table in setting_tables.values()]
    return "\n".join(f"**{title}** ({where})\n\n{text}" for title, where, text in parts)


def main(
    name: str,
    methods: Sequence[Method],
    tables: tuple[Mapping[str, Table], Mapping[str, Table]],
    description: str | None,
    argv: Sequence[str] | None,
) -> int:
    """The program of the grid `name`; `tables` are those of a track, and those of a track and a setting."""

    def work(options: Options) -> int:
        options.check()
        cells, results = plan(methods, options), Results(options.results or RESULTS / f"{name}.json")
        for path in options.take:
            results.take(path, cells)
        code = 0
        if not options.only_tables:
            with cluster.connected(options.ray):
                code = Grid(options, results, make_runner(options)).run(cells)
        print(f"{all_tables(Rows([*results.rows.values()], options), *tables)}\nThe rows are in {results.path}.")
        return code

    return programs.main(name, Options, work, description, "docs/results.md", argv)
