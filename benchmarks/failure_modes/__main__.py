"""Runs every experiment of docs/failure_modes.md, checks every claim, and writes results and figures.

Results go to benchmarks/results/failure_modes.json, figures to docs/. The exit code is 1 when a claim does not hold.
"""

import json
import multiprocessing
import re
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from act.files import whole_file
from act.provenance import provenance
from act.workers import available_cores
from benchmarks.failure_modes import exact, figures
from benchmarks.failure_modes.claims import CLAIMS, Results
from benchmarks.failure_modes.recipes import EXPERIMENTS, Paths, run
from benchmarks.programs import check_values, main

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Options:
    """How the experiments are run."""

    quick: bool = False
    """One seed, a third of the training."""
    seeds: int = 3
    """Trainings of every condition."""
    workers: int = available_cores()
    """Processes."""
    out: Path | None = None
    """Folder of results and figures; by default benchmarks/results and docs, with --quick runs/failure_modes."""


def measure(options: Options) -> tuple[Results, Paths]:
    """Runs every condition with every seed, the longest first; returns some episodes of seed 0 for the figures, too."""
    seeds = range(1 if options.quick else options.seeds)
    jobs = [(e, c, seed, options.quick) for seed in seeds for e, recipes in EXPERIMENTS.items() for c in recipes]
    jobs.sort(key=lambda job: -EXPERIMENTS[job[0]][job[1]].cost)
    found: dict[tuple[str, str], dict[int, dict[str, float]]] = defaultdict(dict)
    paths: Paths = defaultdict(dict)
    with multiprocessing.get_context("spawn").Pool(options.workers, torch.set_num_threads, (1,)) as pool:
        done = pool.imap_unordered(_run, jobs)
        for (experiment, condition, seed, _), (outcome, states) in tqdm(done, total=len(jobs), unit="training"):
            found[experiment, condition][seed] = outcome
            if seed == 0:
                paths[experiment][condition] = states
    outcomes = exact.outcomes(0, 20_000).items()
    results = {"exact": {name: {key: [value] for key, value in outcome.items()} for name, outcome in outcomes}}
    for experiment, recipes in EXPERIMENTS.items():
        by_seed = {name: [found[experiment, name][seed] for seed in seeds] for name in recipes}
        results[experiment] = {
            name: {key: [round(outcome[key], 6) for outcome in outcomes] for key in outcomes[0]}
            for name, outcomes in by_seed.items()
        }
    return results, paths


def _run(job: tuple[str, str, int, bool]) -> tuple[Any, Any]:
    return job, run(*job)


def work(options: Options) -> int:
    check_values(options, ("seeds", "workers"))
    out = options.out or (Path("runs") / "failure_modes" if options.quick else None)
    folder = out or ROOT / "benchmarks" / "results"
    folder.mkdir(parents=True, exist_ok=True)  # before minutes of training
    start = time.perf_counter()
    results, paths = measure(options)
    report = {"seconds": round(time.perf_counter() - start), "quick": options.quick, "provenance": provenance()}
    report["claims"] = [
        {"claim": claim.text, "asks": claim.asks, "is": claim.value(results), "holds": claim.holds(results)}
        for claim in CLAIMS
    ]
    text = json.dumps(report | {"results": results}, indent=1)
    with whole_file(folder / "failure_modes.json") as temporary:  # lists of numbers on one line
        temporary.write_text(re.sub(r"\[[^][{}]*\]", lambda found: " ".join(found[0].split()), text) + "\n")
    figures.draw(results, paths, out or ROOT / "docs")
    for claim in CLAIMS:
        mark = "holds" if claim.holds(results) else "FAILS"
        print(f"{mark}  {claim.value(results):8.3f} {claim.relation} {claim.bound:<5} {claim.text}")
    return 0 if all(claim.holds(results) for claim in CLAIMS) else 1


def program(argv: Sequence[str] | None = None) -> int:
    return main("failure_modes", Options, work, __doc__, "docs/failure_modes.md", argv, stopped="nothing is kept")


if __name__ == "__main__":
    sys.exit(program())
