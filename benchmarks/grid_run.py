"""Runs the cells of a grid with the ordinary programs, some side by side, and draws the page.

Every step is a process of its own (record_sim_episodes.py, act.pretrain, train.py, eval.py) and resumes by itself, so
a grid that was stopped, by Ctrl-C or by its budget, goes on in the middle of a cell when it is called again.
"""

import fcntl
import json
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import tyro
from tqdm import tqdm

from act import cluster, policies
from act.engine import fingerprint
from act.episodes import find_episodes
from act.files import whole_file
from act.metrics import read_metrics
from benchmarks.grid import (
    RESULTS,
    Cell,
    Method,
    Options,
    Results,
    Row,
    digest,
    missing,
    modes_of,
    plan,
    results_file,
    rollouts_done,
    row_of,
    seconds,
)
from benchmarks.grid_jobs import Job, OutOfBudget, Stage, run_jobs

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
    learn = [sys.executable, "-m", "act.pretrain", str(folder / "scenes.hdf5"), "--out", str(eyes)]
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
class Display:
    """One bar over all cells, what is running, and an estimate of the time that is left."""

    def __init__(self, todo: Sequence[Job], n_cells: int, options: Options, results: Results):
        self.todo, self.options, self.results = todo, options, results
        self.began, self.n_before = time.monotonic(), n_cells - len(todo)
        self.costs: list[float | None] = []
        self.known = -1  # rows that the costs follow from
        self.told, self.quiet = -math.inf, 1 if sys.stderr.isatty() else 60  # [s]; a log file needs fewer lines
        shape = "{desc} {percentage:3.0f} %|{bar}| {elapsed}{postfix}"
        self.bar = tqdm(total=n_cells, bar_format=shape, mininterval=0, dynamic_ncols=True)

    def tell(self, running: list[Job]) -> None:
        if time.monotonic() - self.told < self.quiet and running:
            return
        self.told = time.monotonic()
        ended = self.n_before + sum(job.ended for job in self.todo)
        doing = "; ".join(f"{job.name}: {job.stages[job.done].name}" for job in running)
        self.bar.set_description(f"cells {ended}/{self.bar.total}", refresh=False)
        self.bar.set_postfix_str(f"{self._left()}; {doing}", refresh=False)
        self.bar.n = ended + sum(job.fraction for job in running)
        self.bar.refresh()

    def _left(self) -> str:
        if self.known != len(self.results.rows):
            self.costs = [cost(job.cell, self.options, self.results) for job in self.todo if job.cell]
            self.known = len(self.results.rows)
        shares = [0.0 if job.ended else 1 - job.fraction for job in self.todo]
        if None not in self.costs:
            left = sum((seconds or 0.0) * share for seconds, share in zip(self.costs, shares, strict=True))
            return f"about {duration(left / self.options.jobs)} left"
        done, elapsed = len(shares) - sum(shares), time.monotonic() - self.began
        return f"about {duration(elapsed * sum(shares) / done)} left" if done > 0.1 else "time left not known yet"


def cost(cell: Cell, options: Options, results: Results) -> float | None:
    """Seconds a cell takes, going by the most similar rows, per step and per rollout; None without any."""
    rows = [row for row in results.rows.values() if row["track"] == cell.track]
    same = [row for row in rows if row["policy"] == cell.method.policy]
    rows = [row for row in same if row["chunk_size"] == cell.method.chunk_size] or same or rows
    if not rows:
        return None
    total = cell.steps * sum(row["train_s"] / row["steps"] for row in rows) / len(rows)
    for mode in modes_of(cell, options):
        alike = [row for row in rows if row["mode"] == mode] or rows
        total += options.rollouts * sum(row["eval_s"] / row["n"] for row in alike) / len(alike)
    return total


def duration(seconds: float) -> str:
    """A time as "3 h 20 min" or "4 min"."""
    minutes = math.ceil(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"


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
