"""Runs the cells of a grid with the ordinary programs, and prints its tables.

Every step is a process of its own: record_sim_episodes.py, act pretrain, train.py, eval.py. Each of them continues
where it stopped, so a grid that was stopped by Ctrl-C or by its budget continues in the middle of a cell.
"""

import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from act import cluster, command_line, policies
from act.data.episodes import find_episodes
from act.files import lock_folder
from benchmarks.grid.cells import Cell, Method, Options, plan
from benchmarks.grid.results import RESULTS, Results, demonstrations_digest, execution, row_of
from benchmarks.grid.statistics import Rows
from benchmarks.programs import PATIENCE, OutOfTime, Runner, catch_signals, seconds

DEMOS = 50  # for each task and style, as in the paper
SCENES = {"transfer_cube": (3000, 500), "insertion": (4000, 1000)}  # random scenes, and steps of pretraining


def demonstrations(cell: Cell, options: Options) -> Path:
    return options.data / cell.track / f"{cell.task}_{cell.style}"


def backbone(cell: Cell, options: Options) -> Path:
    return options.runs / cell.track / f"{cell.task}_trunk"


def preparations(cells: Sequence[Cell], options: Options) -> dict[Path, list[list[str]]]:
    """Returns the commands that make the missing demonstrations and pretrained backbones, by what they make."""
    missing: dict[Path, list[list[str]]] = {}
    for cell in cells:
        demos, pretrained = demonstrations(cell, options), backbone(cell, options)
        if not demos.is_dir() or len(find_episodes(demos)) < DEMOS:
            view = ["--cameras"] if cell.track == "state" else ["--image_size", "240", "320"]
            missing[demos] = [_record(cell, demos, options, "--num_episodes", DEMOS, *view)]
        if cell.track == "images" and not (pretrained / "trunk.json").exists():
            folder, (scenes, steps) = options.data / "scenes" / cell.task, SCENES[cell.task]
            pretrain = [sys.executable, "-m", "act", "pretrain", str(folder / "scenes.hdf5"), "--out", str(pretrained)]
            missing[pretrained] = [
                _record(cell, folder, options, "--random_scenes", scenes, "--image_size", 240, 320),
                [*pretrain, "--steps", str(steps)],
            ]
    return missing


def _record(cell: Cell, folder: Path, options: Options, *flags: object) -> list[str]:
    command = [sys.executable, "record_sim_episodes.py", "--task_name", cell.task_name, "--dataset_dir", str(folder)]
    return [*command, *map(str, flags), "--workers", str(options.threads)]


def run_cell(cell: Cell, options: Options, results: Results, runner: Runner) -> None:
    """Trains and evaluates a cell. Finished programs notice that they have nothing to do."""
    run, demos = cell.folder(options.runs), demonstrations(cell, options)
    train = [sys.executable, "train.py", *cell.flags, "--seed", str(cell.seed)]
    train += ["--dataset_dir", str(demos), "--run_dir", str(run)]
    train += ["--trunk", str(backbone(cell, options))] if cell.track == "images" else []
    runner.run(train, run / "grid.log")
    for mode in results.missing(cell, options):
        every = execution(cell, mode).n_action_steps
        evaluate = [sys.executable, "eval.py", str(run), "--modes", mode, "--num_rollouts", str(options.rollouts)]
        evaluate += ["--n_action_steps", str(every)] if every else []
        evaluate += ["--videos", "0", "--num_workers", str(options.threads)]
        runner.run(evaluate, run / "grid.log")
        results.add(row_of(cell, mode, run, demos, [train, evaluate]))


def run_grid(cells: Sequence[Cell], options: Options, results: Results) -> int:
    """Runs what is missing. Returns 0 when all is done or the budget is spent, 1 when a program failed."""
    todo = [cell for cell in cells if results.missing(cell, options)]
    runner = make_runner(options)
    with lock_folder(options.runs, "filled", "--runs"):
        try:
            makes = {
                f"preparing {made}": partial(_run_all, runner, commands, made.with_suffix(".log"))
                for made, commands in preparations(todo, options).items()
            }
            failures = runner.side_by_side(makes, options.jobs, "preparation")
            ready = [cell for cell in todo if not preparations([cell], options)]
            for demos, cell in {demonstrations(cell, options): cell for cell in ready}.items():
                results.refuse_other_demonstrations(cell.task, cell.style, demonstrations_digest(demos), demos)
            jobs = {cell.name: partial(run_cell, cell, options, results, runner) for cell in ready}
            failures |= runner.side_by_side(jobs, options.jobs, "cell")
        except OutOfTime:
            print(f"the budget of {options.budget} is spent; the same command continues from here", file=sys.stderr)
            return 0
    return 1 if failures else 0


def _run_all(runner: Runner, commands: Sequence[Sequence[str]], log: Path) -> None:
    for command in commands:
        runner.run(command, log)


def make_runner(options: Options) -> Runner:
    """Returns what runs programs on this machine, or with --ray on the cluster."""
    runner = Runner(time.monotonic() + seconds(options.budget), options.threads)
    if options.ray:
        num_gpus = cluster.gpu_share(options.jobs)
        runner.start = partial(cluster.RemoteProgram, patience=PATIENCE, num_cpus=options.threads, num_gpus=num_gpus)
    return runner


def main(
    name: str,
    methods: Sequence[Method],
    tables: Callable[[Rows], str],
    description: str,
    argv: Sequence[str] | None = None,
) -> int:
    """The program of the grid `name`; `tables` returns its tables in Markdown."""
    example = f"python -m benchmarks.{name} --policies act --seeds 0 --budget 90m"
    program = f"python -m benchmarks.{name}"
    options = command_line.parse(
        Options, argv, program=program, description=description, example=example, page="docs/results.md"
    )
    catch_signals()

    def work() -> int:
        options.check()
        cells, results = plan(methods, options), Results(options.results or RESULTS / f"{name}.json")
        for path in options.take:
            results.take(path, cells)
        code = 0
        if not options.only_tables:
            with cluster.connected(options.ray):
                code = run_grid(cells, options, results)
        if absent := sorted({method.policy for method in methods} - set(policies.available())):
            print(f"left out, because act/policies has no such file: {', '.join(absent)}", file=sys.stderr)
        print(f"{tables(Rows([*results.rows.values()], options))}\nThe rows are in {results.path}.")
        return code

    return command_line.run(program, work, stopped="the same command continues from here")
