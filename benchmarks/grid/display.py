"""Shows how far a grid is, and how long it still takes, going by the rows that are there."""

import math
import sys
import time
from collections.abc import Sequence

from tqdm import tqdm

from benchmarks.grid.cells import Cell, Options, modes_of
from benchmarks.grid.jobs import Job
from benchmarks.grid.results import Results


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
