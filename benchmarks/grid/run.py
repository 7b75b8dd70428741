"""Runs the cells of a grid with the ordinary programs, some side by side, and draws the page.

Every step is a process of its own (record_sim_episodes.py, act pretrain, train.py, eval.py) and resumes by itself, so
a grid that was stopped, by Ctrl-C or by its budget, goes on in the middle of a cell when it is called again.
"""

import fcntl
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import tyro

from act import cluster, policies
from act.data.episodes import find_episodes
from act.files import whole_file
from act.run_folder import fingerprint, read_metrics
from benchmarks.grid.cells import Cell, Method, Options, plan, seconds
from benchmarks.grid.display import Display
from benchmarks.grid.jobs import Job, OutOfBudget, Stage, run_jobs
from benchmarks.grid.results import RESULTS, Results, Row, digest, missing, results_file, rollouts_done, row_of

DEMOS = 50  # per task and style, as in the paper
SCENES = {"transfer_cube": (3000, 500), "insertion": (4000, 1000)}  # random scenes, steps of learning to see


def preparations(cells: Sequence[Cell], options: Options) -> list[Job]:
    """Demonstrations and trunks that the cells need and that are not there, each once."""
    jobs: dict[Path, Job] = {}
    for cell in cells:
        demos = dataset(cell, options)
        if demos not in jobs and (not demos.is_dir() or len(find_episodes(demos)) < DEMOS):
            record = [sys.executable, "record_sim_episodes.py", "--task_name", cell.task_name, "--dataset_dir"]
            record += [str(demos), "--num_episodes", str(DEMOS), "--workers", str(options.threads)]
            record += ["--cameras"] if cell.track == "state" else ["--image_size", "240", "320"]
            jobs[demos] = Job(f"recording {demos.name}", [Stage("recording", record)], demos / "grid.log")
        eyes = trunk(cell, options)
        if cell.track == "images" and eyes not in jobs and not (eyes / "trunk.json").exists():
            jobs[eyes] = _learning_to_see(cell, eyes, options)
    return list(jobs.values())


def _learning_to_see(cell: Cell, eyes: Path, options: Options) -> Job:
    folder = options.data / "scenes" / cell.task
    scenes, steps = SCENES[cell.task]
    draw = [sys.executable, "record_sim_episodes.py", "--task_name", cell.task_name, "--dataset_dir", str(folder)]
    draw += ["--random_scenes", str(scenes), "--image_size", "240", "320", "--workers", str(options.threads)]
    learn = [sys.executable, "-m", "act", "pretrain", str(folder / "scenes.hdf5"), "--out", str(eyes)]
    learn += ["--steps", str(steps)]
    stages = [Stage("scenes", draw), Stage("learning to see", learn)]
    return Job(f"learning to see, {cell.task}", stages, eyes.with_suffix(".log"))


def prepared(cell: Cell, options: Options) -> bool:
    """Whether its demonstrations and its trunk are there."""
    return not preparations([cell], options)


def dataset(cell: Cell, options: Options) -> Path:
    return options.data / cell.track / f"{cell.task}_{cell.style}"


def trunk(cell: Cell, options: Options) -> Path:
    return options.runs / cell.track / f"{cell.task}_trunk"


def job_of(cell: Cell, options: Options, results: Results) -> Job:
    """Training and evaluation of a cell, as far as its rows are missing."""
    run = cell.folder(options.runs)
    train = [sys.executable, "train.py", *cell.flags, "--seed", str(cell.seed)]
    train += ["--dataset_dir", str(dataset(cell, options)), "--run_dir", str(run)]
    train += ["--trunk", str(trunk(cell, options))] if cell.track == "images" else []
    train += ["--compile"] if options.compile else []
    learned = partial(_learned_from, cell, options)
    note = run / "learned_from.json"
    stages = [
        Stage(
            "training",
            train,
            lambda: _trained(run) / cell.steps,
            finish=lambda: _write(note, learned()),
            done=lambda: _is_trained(run) and note.exists() and note.read_text() == learned(),
        )
    ]
    for mode in missing(cell, options, results):
        evaluate = [sys.executable, "eval.py", str(run), "--modes", mode, "--num_rollouts", str(options.rollouts)]
        evaluate += ["--n_action_steps", str(cell.every(mode))] if mode == "ensemble" else []
        evaluate += ["--videos", "0", "--num_workers", str(options.threads)]
        log = results_file(cell, mode, run).with_name("episodes.jsonl")

        def finish(mode: str = mode, evaluate: list[str] = evaluate) -> None:
            results.add(row_of(cell, mode, run, dataset(cell, options), [train, evaluate]))

        def progress(log: Path = log) -> float:
            return min(1.0, max(0, _lines(log) - 1) / options.rollouts)  # the first line holds settings

        def done(mode: str = mode) -> bool:
            return rollouts_done(cell, mode, run) >= options.rollouts

        stages.append(Stage(f"rollouts, {mode}", evaluate, progress, finish, done))
    return Job(cell.name, stages, run / "grid.log", cell)


def _learned_from(cell: Cell, options: Options) -> str:
    """What the demonstrations and the trunk there are now teach: a run of others is train.py's to refuse."""
    eyes = trunk(cell, options) / "trunk.safetensors"
    seen = fingerprint(eyes) if cell.track == "images" and eyes.exists() else None
    return json.dumps({"demonstrations": digest(dataset(cell, options)), "trunk": seen})


def _write(path: Path, text: str) -> None:
    with whole_file(path) as temporary:
        temporary.write_text(text)


def _trained(run: Path) -> int:
    metrics = read_metrics(run)
    return metrics[-1]["step"] if metrics else 0


def _is_trained(run: Path) -> bool:
    """Whether the policy of a run is that of its last step."""
    about, config = run / "policy.json", run / "config.json"
    if not (about.exists() and config.exists()):
        return False
    return json.loads(about.read_text())["step"] == json.loads(config.read_text())["steps"]


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


# ----------------------------------------------------------------------------------------------------- how it is run
@contextmanager
def locked(runs: Path) -> Iterator[None]:
    """Alone with a folder of runs; the lock lives as long as the last program that was started under it."""
    runs.mkdir(parents=True, exist_ok=True)
    with (runs / ".lock").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"another grid is at work in {runs}; wait for it, or give another --runs") from None
        yield


def run_grid(cells: Sequence[Cell], options: Options, results: Results) -> int:
    """Runs what is missing; 0: all there or out of budget, 1: some failed, 130: stopped with Ctrl-C."""
    deadline = time.monotonic() + seconds(options.budget)
    todo = [job_of(cell, options, results) for cell in cells if missing(cell, options, results)]
    first, display = preparations([job.cell for job in todo if job.cell], options), None
    try:
        with locked(options.runs):
            for job in first:
                print(job.name, file=sys.stderr)
            run_jobs(first, options, deadline, lambda running: None)
            ready = [job for job in todo if job.cell and prepared(job.cell, options)]
            for demos, cell in {dataset(job.cell, options): job.cell for job in ready if job.cell}.items():
                results.refuse_others(cell.task, cell.style, digest(demos), demos)
            if ready:
                display = Display(ready, len(cells) - len(todo) + len(ready), options, results)
                run_jobs(ready, options, deadline, display.tell)
    except OutOfBudget:
        print(f"\nthe budget of {options.budget} is spent; the same command goes on from here", file=sys.stderr)
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on from here", file=sys.stderr)
        return 130
    finally:
        if display:
            display.bar.close()
    failed = [job for job in [*first, *todo] if job.failure]
    for job in failed:
        print(f"failed: {job.name}: {job.failure}", file=sys.stderr)
    return 1 if failed else 0


Draw = Callable[[Sequence[Row], Options], tuple[str, str]]


def main(name: str, methods: Sequence[Method], draw: Draw, description: str, argv: Sequence[str] | None = None) -> int:
    """The program of the grid `name`; `draw` turns rows into the page (HTML) and the text (markdown) of the tables."""
    options = tyro.cli(Options, args=argv, prog=f"benchmarks.{name}", description=description, use_underscores=True)
    # A grid in the background of a shell script is born deaf to SIGINT, and its programs with it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        options.check()
        cells = plan(methods, options)
        results = Results(options.results or RESULTS / f"{name}.json")
        for path in options.take:
            results.take(path, cells)
        with cluster.connected("" if options.only_page else options.ray):
            code = 0 if options.only_page else run_grid(cells, options, results)
        absent = sorted({method.policy for method in methods} - set(policies.available()))
        if absent:
            print(f"left out, because act/policies has no such file: {', '.join(absent)}", file=sys.stderr)
        page = options.page or Path("runs") / f"{name}.html"
        html, text = draw(list(results.rows.values()), options)
        with whole_file(page) as temporary:
            temporary.write_text(html, encoding="utf-8")
    except (ValueError, OSError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2
    print(f"{text}\nwrote {page}; the numbers are in {results.path}")
    return code
