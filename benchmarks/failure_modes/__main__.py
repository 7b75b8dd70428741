"""Runs every experiment of docs/failure_modes.md and checks every claim; the exit code is 1 when one does not hold.

Results go to benchmarks/results/failure_modes.json.
"""

import multiprocessing
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from tqdm import tqdm

from act.files import write_json
from act.provenance import provenance
from act.workers import available_cores
from benchmarks.failure_modes import exact
from benchmarks.failure_modes.claims import CLAIMS, Results
from benchmarks.failure_modes.recipes import EXPERIMENTS, Job, run
from benchmarks.programs import check_values, main


@dataclass(frozen=True)
class Options:
    """How the experiments are run."""

    quick: bool = False
    """One seed, a third of the training."""
    seeds: int = 3
    """Trainings of every condition."""
    out: Path | None = None
    """Folder of the results; by default benchmarks/results, with --quick runs/failure_modes."""


def measure(options: Options) -> Results:
    """Runs every condition with every seed, the longest first."""
    recipes = [(e, c, recipe) for e, conditions in EXPERIMENTS.items() for c, recipe in conditions.items()]
    recipes.sort(key=lambda entry: -entry[2].head.steps * (entry[2].rounds + 1))
    seeds = range(1 if options.quick else options.seeds)
    jobs: list[Job] = [(e, c, seed, options.quick) for e, c, _ in recipes for seed in seeds]
    with multiprocessing.get_context("spawn").Pool(available_cores(), torch.set_num_threads, (1,)) as pool:
        found = dict(zip(jobs, tqdm(pool.imap(run, jobs), total=len(jobs), unit="training"), strict=True))
    results = {"exact": exact.outcomes(), **{experiment: {} for experiment in EXPERIMENTS}}
    for experiment, conditions in EXPERIMENTS.items():
        for condition in conditions:
            measured = [found[experiment, condition, seed, options.quick] for seed in seeds]
            results[experiment][condition] = {key: [round(m[key], 6) for m in measured] for key in measured[0]}
    return results


def work(options: Options) -> int:
    check_values(options, ("seeds",))
    default = Path("runs") / "failure_modes" if options.quick else Path(__file__).parents[1] / "results"
    start, results = time.perf_counter(), measure(options)
    report = {"seconds": round(time.perf_counter() - start), "quick": options.quick, "provenance": provenance()}
    report["claims"] = [claim.judge(results) for claim in CLAIMS]
    write_json((options.out or default) / "failure_modes.json", report | {"results": results})
    for claim in report["claims"]:
        print(f"{'holds' if claim['holds'] else 'FAILS'}  {claim['is']:8.3f} ({claim['asks']})  {claim['claim']}")
    return 0 if all(claim["holds"] for claim in report["claims"]) else 1


program = partial(main, "failure_modes", Options, work, __doc__, "docs/failure_modes.md")

if __name__ == "__main__":
    sys.exit(program())
