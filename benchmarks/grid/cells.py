"""A grid of cells: which methods on what, and their recipes.

A cell is a method on a task, a demonstration style, a track and a training seed. Its recipe, the flags of train.py, is
its identity: the same recipe is the same folder under RUNS, so grids share what they have in common.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from act import cluster, policies
from act.workers import available_cores

TASKS, STYLES, MODES = ("transfer_cube", "insertion"), ("scripted", "human"), ("chunk", "ensemble")
STEPS = {"transfer_cube": 3000, "insertion": 6000}  # of training, as in benchmarks/fast.sh
PRESETS = {"state": "state", "images": "fast"}
ENSEMBLE_EVERY = {"state": 1, "images": 4}  # control steps between queries: images cost time to render and to see


@dataclass(frozen=True)
class Method:
    """A policy in one form, a row of a table."""

    label: str  # as the paper calls it
    policy: str  # a file of act/policies
    chunk_size: int = 60
    flags: tuple[str, ...] = ()  # of train.py
    human: tuple[str, ...] = ()  # the same, for human demonstrations only
    modes: tuple[str, ...] = ("chunk",)
    length: int = 1  # of training, in those of the other methods
    tasks: tuple[str, ...] = TASKS  # it is tried on

    @property
    def name(self) -> str:
        return f"{self.label}, {self.form('chunk')}"

    def form(self, mode: str) -> str:
        """How it acts: "single step", "chunks of 60" or "chunks of 60, ensembled"."""
        form = "single step" if self.chunk_size == 1 else f"chunks of {self.chunk_size}"
        return form + (", ensembled" if mode == "ensemble" else "")

    @property
    def names(self) -> set[str]:
        """What --policies may call it."""
        return {self.policy, self.label.lower()}


@dataclass(frozen=True)
class Cell:
    """One training run, and how it is evaluated."""

    method: Method
    task: str
    style: str
    track: str
    seed: int
    steps: int

    @property
    def task_name(self) -> str:
        return f"sim_{self.task}_{self.style}"

    @property
    def name(self) -> str:
        return f"{self.method.name}, {self.task} {self.style}, {self.track}, seed {self.seed}"

    @property
    def flags(self) -> tuple[str, ...]:
        """Of train.py: all that decides the policy but the seed and the demonstrations' folder."""
        method = self.method
        flags = ("--preset", PRESETS[self.track], "--task_name", self.task_name, "--policy_class", method.policy)
        flags += ("--chunk_size", str(method.chunk_size), *method.flags)
        return (*flags, *(method.human if self.style == "human" else ()), "--steps", str(self.steps))

    @property
    def recipe(self) -> str:
        return " ".join(self.flags)

    def folder(self, runs: Path) -> Path:
        """Of the training run."""
        words = re.sub(r"[^\w.]+", "_", " ".join(self.flags[6:])).strip("_")
        return runs / self.track / f"{self.task}_{self.style}" / f"{self.method.policy}_{words}_seed{self.seed}"

    def every(self, mode: str) -> int:
        """Control steps between two queries."""
        return self.method.chunk_size if mode == "chunk" else ENSEMBLE_EVERY[self.track]

    def key(self, mode: str) -> tuple[Any, ...]:
        """What a row of results is found by."""
        return self.recipe, self.seed, mode, self.every(mode)


@dataclass(frozen=True)
class Options:
    """Parts of the grid and how to run them; the same command goes on where it stopped."""

    policies: tuple[str, ...] = ()
    """Names of policies (act, bet, ...) or of methods ("flow matching"); all if not given."""
    tasks: tuple[str, ...] = TASKS
    styles: tuple[str, ...] = STYLES
    """Of the demonstrations."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Of training; all cells of the first come before any of the second."""
    rollouts: int = 200
    """Per cell and way of execution, on test seeds; fewer than 200 are called preliminary."""
    track: Literal["state", "images"] = "state"
    """Object poses, or four cameras through the keypoint trunk (preset fast)."""
    modes: tuple[str, ...] = MODES
    """Ways of executing chunks, where the grid asks for them."""
    steps: int | None = None
    """Of training, for every method; if not given 3000 for the transfer, 6000 for the insertion, 4 x that for RT-1."""
    compile: bool = False
    """torch.compile the trainings: ACT's take a fifth less time, BeT's slightly more; same cells, other roundings."""
    budget: str = ""
    """Time after which the grid stops, such as 90m or 1h30m; it loses at most what a resumed program repeats."""
    jobs: int = min(2, available_cores())
    """Cells side by side; the cores are shared out evenly."""
    ray: str = ""
    """Run on a Ray cluster whose machines all share this folder: auto, HOST:PORT, or local; docs/cluster.md."""
    data: Path = Path("data/grid")
    runs: Path = Path("runs/grid")
    results: Path | None = None
    """JSON file with every number; benchmarks/results/GRID.json if not given."""
    take: tuple[Path, ...] = ()
    """Results of other machines, of another folder of runs, or of the other grid: what --results lacks of them, in
    the parts of the grid that are asked for, is taken over first."""
    page: Path | None = None
    """HTML page; runs/GRID.html if not given."""
    only_page: bool = False
    """Run nothing: draw the page from the results there are."""

    def check(self) -> None:
        """Raises ValueError naming the first value that cannot work, and what would have."""
        for name, known in (("tasks", TASKS), ("styles", STYLES), ("modes", MODES)):
            for value in getattr(self, name):
                if value not in known:
                    raise ValueError(f"--{name} {value}: there is {', '.join(known)}")
            refuse_repeats(name, getattr(self, name))
        refuse_repeats("seeds", self.seeds)
        for name in ("rollouts", "jobs", "steps"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"--{name} {getattr(self, name)}: must be at least 1")
        if not self.seeds or min(self.seeds) < 0:
            raise ValueError(f"--seeds {' '.join(map(str, self.seeds))}: give one or more, none of them negative")
        for name in ("page", "results"):
            path = getattr(self, name)
            if path is not None and path.is_dir():
                raise ValueError(f"--{name} {path} is a folder; give a file")
        for path in self.take:
            if not path.is_file():
                raise ValueError(f"--take {path}: there is no such file")
        seconds(self.budget)

    def steps_of(self, method: Method, task: str) -> int:
        """Of training."""
        return self.steps or STEPS[task] * method.length

    @property
    def threads(self) -> int:
        """Cores for each of the cells side by side."""
        return cluster.share(self.jobs) if self.ray else max(1, available_cores() // self.jobs)


def refuse_repeats(name: str, values: Sequence[object]) -> None:
    """ValueError when a flag names something twice."""
    if len(set(values)) < len(values):
        raise ValueError(f"--{name} {' '.join(map(str, values))}: name each once")


def seconds(text: str) -> float:
    """Seconds of "90m", "1h30m", "45s"; infinity of nothing. ValueError for anything else."""
    found = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", text)
    if not found:
        raise ValueError(f"--budget {text}: give hours, minutes, seconds, such as 90m, 1h30m or 45s")
    hours, minutes, rest = (int(part or 0) for part in found.groups())
    return 3600 * hours + 60 * minutes + rest if text else math.inf


def plan(methods: Sequence[Method], options: Options) -> list[Cell]:
    """The cells asked for, the most telling first: every method before the next setting, all settings per seed.

    A method whose policy is not there is left out. ValueError for a name that no method has.
    """
    names = {name for method in methods for name in method.names}
    for name in options.policies:
        if name.lower() not in names:
            raise ValueError(f"--policies {name}: this grid has {', '.join(sorted(names))}")
    wanted = {name.lower() for name in options.policies} or names
    chosen = [m for m in methods if m.names & wanted and m.policy in policies.available()]
    return [
        Cell(method, task, style, options.track, seed, options.steps_of(method, task))
        for seed in options.seeds
        for style in options.styles
        for task in options.tasks
        for method in chosen
        if task in method.tasks
    ]


def modes_of(cell: Cell, options: Options) -> list[str]:
    """Ways of execution that the cell is evaluated in."""
    return [mode for mode in cell.method.modes if mode in options.modes]
