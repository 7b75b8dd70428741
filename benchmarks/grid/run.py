"""Runs the cells of a grid with the ordinary programs, and prints its tables.

Every step is a process of its own: record_sim_episodes.py, act pretrain, train.py, eval.py. Each of them continues
where it stopped, so a grid that was stopped by Ctrl-C or by its budget continues in the middle of a cell.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from act import cluster
from act.data.episodes import find_episodes
from act.files import lock_folder
from act.workers import available_cores
from benchmarks import programs
from benchmarks.grid.cells import DATA, RUNS, Cell, Method, Options, plan
from benchmarks.grid.results import RESULTS, Results, demonstrations_of, row_of
from benchmarks.grid.statistics import SETTINGS, Rows
from benchmarks.programs import OutOfTime, Runner

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
        n, budget = self.options.jobs, self.options.budget
        todo = [cell for cell in cells if self.results.missing(cell, self.options.rollouts)]
        with lock_folder(RUNS, "filled", "working directory"):
            try:
                makes = {f"{made}": partial(self._make, made, how) for made, how in self.preparations(todo).items()}
                failed = self.runner.side_by_side(makes, n, "preparation")
                ready = [cell for cell in todo if not self.preparations([cell])]
                for demos, cell in {cell.demonstrations: cell for cell in ready}.items():
                    self.results.refuse_other_demonstrations(demonstrations_of(cell), demos)
                jobs = {cell.name: partial(self.run_cell, cell) for cell in ready}
                failed += self.runner.side_by_side(jobs, n, "cell")
            except OutOfTime:
                print(f"the budget of {budget} is spent; the same command continues from here", file=sys.stderr)
                return 0
        return 1 if failed else 0

    def preparations(self, cells: Sequence[Cell]) -> dict[Path, list[list[object]]]:
        """Returns the commands that make the missing demonstrations and pretrained backbones, by what they make."""
        missing: dict[Path, list[list[object]]] = {}
        for cell in cells:
            demos, backbone = cell.demonstrations, cell.backbone
            if not demos.is_dir() or len(find_episodes(demos)) < DEMOS:
                view = ["--cameras"] if cell.track == "state" else ["--image_size", 240, 320]
                missing[demos] = [self._record(cell, demos, "--num_episodes", DEMOS, *view)]
            if cell.track == "images" and not (backbone / "trunk.json").exists():
                scenes, (number, steps) = DATA / "scenes" / cell.task, SCENES[cell.task]
                record = self._record(cell, scenes, "--random_scenes", number, "--image_size", 240, 320)
                how = ["pretrain", scenes / "scenes.hdf5", "--out", backbone, "--steps", steps]
                missing[backbone] = [record, ["-m", "act", *how]]
        return missing

    def _record(self, cell: Cell, folder: Path, *flags: object) -> list[object]:
        place = ["--task_name", f"sim_{cell.task}_{cell.style}", "--dataset_dir", folder]
        return ["record_sim_episodes.py", *place, *flags, "--workers", self.runner.threads]

    def _make(self, made: Path, commands: Sequence[Sequence[object]]) -> None:
        for words in commands:
            self.runner.run(words, made.with_suffix(".log"))

    def run_cell(self, cell: Cell) -> None:
        """Trains and evaluates a cell. Programs that are already done notice it by themselves."""
        place: list[object] = ["--dataset_dir", cell.demonstrations, "--run_dir", cell.run]
        place += ["--trunk", cell.backbone] if cell.track == "images" else []
        train = ["train.py", *cell.flags, "--seed", cell.seed, *place]
        self.runner.run(train, cell.run / "grid.log")
        for mode in self.results.missing(cell, self.options.rollouts):
            every = cell.execution(mode).n_action_steps
            how: list[object] = ["--modes", mode, "--num_rollouts", self.options.rollouts]
            how += ["--n_action_steps", every] if every else []
            evaluate = ["eval.py", cell.run, *how, "--videos", 0, "--num_workers", self.runner.threads]
            self.runner.run(evaluate, cell.run / "grid.log")
            self.results.add(row_of(cell, mode, [train, evaluate]))


def make_runner(options: Options) -> Runner:
    """Returns what runs programs on this machine, or with --ray on the cluster."""
    if not options.ray:
        return Runner(options.budget, max(1, available_cores() // options.jobs))
    threads, num_gpus = cluster.share(options.jobs), cluster.gpu_share(options.jobs)
    return Runner(options.budget, threads, partial(cluster.run_program_remotely, num_cpus=threads, num_gpus=num_gpus))


def all_tables(rows: Rows, tables: Mapping[str, Table], setting_tables: Mapping[str, Table]) -> str:
    """Returns all tables of a grid; the documentation of their functions are the headings."""
    parts = []
    for track in rows.tracks():
        parts += [(table.__doc__, track, table(rows, track)) for table in tables.values()]
        for where in ((track, *setting) for setting in SETTINGS if (track, *setting) in rows.where):
            parts += [(table.__doc__, ", ".join(where), table(rows, *where)) for table in setting_tables.values()]
    return "\n".join(f"**{title}** ({where})\n\n{text}" for title, where, text in parts)


def main(
    name: str,
    methods: Sequence[Method],
    tables: tuple[Mapping[str, Table], Mapping[str, Table]],
    description: str | None,
    argv: Sequence[str] | None = None,
) -> int:
    """The program of the grid `name`; `tables` are those of a track, and those of a track and a setting."""

    def work(options: Options) -> int:
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
