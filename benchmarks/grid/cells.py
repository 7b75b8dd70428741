"""The cells of a grid: which methods are trained on what, and the flags of train.py that make each of them.

A cell is a method on a task, a demonstration style, a track and a training seed. Its recipe (the flags of train.py) is
its identity: the same recipe has the same folder of a run, so that grids share the trainings they have in common.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from act import policies
from act.evaluation.execution import Execution, Mode
from act.workers import available_cores
from benchmarks.programs import check_values
from sim_envs import STYLES

Task = Literal["transfer_cube", "insertion", "slide_ziploc", "slot_battery", "open_cup"]
Style = Literal["scripted", "human"]
TASKS: tuple[Task, ...] = ("transfer_cube", "insertion")  # of the grids, unless they name others
STEPS = {"transfer_cube": 3000, "insertion": 6000}  # of training, as in benchmarks/fast.sh
STEPS |= {"slide_ziploc": 3000, "slot_battery": 3000, "open_cup": 3000}
PRESETS = {"state": "state", "images": "fast"}
ENSEMBLE_EVERY = {"state": 1, "images": 4}  # control steps between queries, because images take time to render
DATA, RUNS = Path("data/grid"), Path("runs/grid")


@dataclass(frozen=True)
class Method:
    """A policy with a chunk size and flags: one row of a table."""

    label: str  # as the paper names it
    policy: str  # a file of act/policies
    chunk_size: int = 60
    flags: tuple[str, ...] = ()  # of train.py
    human: tuple[str, ...] = ()  # more flags of train.py, for varied ("human") demonstrations only
    modes: tuple[Mode, ...] = ("chunk",)
    length: int = 1  # number of training steps, as a multiple of the other methods'
    tasks: tuple[str, ...] = TASKS
    tracks: tuple[str, ...] = tuple(PRESETS)

    def form(self, mode: Mode = "chunk") -> str:
        """Returns how it acts: "single step", "chunks of 60" or "chunks of 60, ensembled"."""
        form = "single step" if self.chunk_size == 1 else f"chunks of {self.chunk_size}"
        return form + (", ensembled" if mode == "ensemble" else "")


@dataclass(frozen=True)
class Cell:
    """One training run and its evaluations."""

    method: Method
    task: str
    style: str
    track: str
    seed: int
    steps: int

    @property
    def where(self) -> Path:
        """Part of the folders of its demonstrations and of its run."""
        return Path(self.track, f"{self.task}_{self.style}")

    @property
    def flags(self) -> tuple[str, ...]:
        """Flags of train.py: everything that decides the policy, except the seed and the demonstrations' folder."""
        method = self.method
        flags = ("--preset", PRESETS[self.track], "--task_name", f"sim_{self.task}_{self.style}", "--policy_class")
        flags += (method.policy, "--chunk_size", str(method.chunk_size), *method.flags)
        return (*flags, *(method.human if self.style == "human" else ()), "--steps", str(self.steps))

    @property
    def run(self) -> Path:
        """Folder of the training run."""
        words = re.sub(r"[^\w.]+", "_", " ".join(self.flags[6:])).strip("_")
        return RUNS / self.where / f"{self.method.policy}_{words}_seed{self.seed}"

    def execution(self, mode: Mode) -> Execution:
        """Returns how eval.py executes the chunks; whole chunks are its default."""
        return Execution(mode, ENSEMBLE_EVERY[self.track] if mode == "ensemble" else None)

    def key(self, mode: Mode) -> tuple[str, int, Mode, int]:
        """Returns what identifies its row of results: recipe, training seed, mode, control steps between queries."""
        every = self.execution(mode).n_action_steps or self.method.chunk_size
        return " ".join(self.flags), self.seed, mode, every


@dataclass(frozen=True)
class Options:
    """Selects parts of the grid, and how they are run. The same command continues where it stopped."""

    policies: tuple[str, ...] = ()
    """Names of policies (act, bet, ...) or of methods ("flow matching"); all of them by default."""
    tasks: tuple[Task, ...] = TASKS
    styles: tuple[Style, ...] = STYLES
    """Styles of the demonstrations; "human" demonstrations vary in speed, pauses, grasps and hand-over."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Training seeds; all cells of the first seed are run before any of the second."""
    rollouts: int = 200
    """Rollouts on test seeds for each cell and mode; fewer than 200 are marked as preliminary."""
    track: Literal["state", "images"] = "state"
    """What the policy observes: object poses, or four cameras through a keypoint backbone (preset fast)."""
    steps: int | None = None
    """Training steps; by default 3000 (insertion: 6000), and 4 times that for RT-1 in single steps."""
    budget: str = ""
    """Stop cleanly after this time, such as 90m; by default the grid runs to its end. 0s only prints the tables."""
    jobs: int = min(2, available_cores())
    """Number of cells that run side by side; each gets an equal share of the cores."""
    ray: str = ""
    """Run on a Ray cluster whose machines share this folder: auto, HOST:PORT, or local; see docs/cluster.md."""
    results: Path | None = None
    """JSON file of the results; by default benchmarks/results/GRID.json."""

    def steps_of(self, method: Method, task: str) -> int:
        return self.steps or STEPS[task] * method.length


def plan(methods: Sequence[Method], options: Options) -> list[Cell]:
    """Returns the selected cells, training seed by training seed, without methods whose policy does not exist.

    Raises ValueError that names the first value that cannot work, and what would have worked.
    """
    check_values(options, ("rollouts", "jobs", "steps"), ("tasks", "styles", "seeds"))
    names = {method: {method.policy, method.label.lower()} for method in methods}
    wanted, known = {name.lower() for name in options.policies}, set().union(*names.values())
    if unknown := sorted(wanted - known):
        raise ValueError(f"--policies {unknown[0]}: choose from {', '.join(sorted(known))}")
    possible = list(dict.fromkeys(task for method in methods for task in method.tasks))
    if others := [task for task in options.tasks if task not in possible]:
        raise ValueError(f"--tasks {others[0]}: this grid has {', '.join(possible)}")
    chosen = [m for m in methods if names[m] & (wanted or known) and m.policy in policies.available()]
    return [
        Cell(method, task, style, options.track, seed, options.steps_of(method, task))
        for seed in options.seeds
        for style in options.styles
        for task in options.tasks
        for method in chosen
        if task in method.tasks and options.track in method.tracks
    ]
