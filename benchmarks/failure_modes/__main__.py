"""`python -m benchmarks.failure_modes`: runs every experiment, checks every claim, writes JSON and figures.

Results go to benchmarks/results/failure_modes.json, drawings to docs/failure_modes_*.png. Exit code 1 when a claim does
not hold.
"""

import json
import multiprocessing
import re
import sys
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro
from tqdm import tqdm

from act.files import whole_file
from act.provenance import provenance
from act.workers import available_cores
from benchmarks.failure_modes import exact, figures
from benchmarks.failure_modes.claims import CLAIMS, Results
from benchmarks.failure_modes.recipes import EXPERIMENTS, Job, Paths

ROOT = Path(__file__).parents[2]
EXACT_EPISODES = 20_000


@dataclass(frozen=True)
class Options:
    """Runs the experiments."""

    quick: bool = False
    """One seed, a third of the training."""
    seeds: int = 3
    """Trainings of every condition."""
    workers: int = available_cores()
    """Processes."""
    out: Path | None = None
    """Directory for results and drawings; if not given benchmarks/results and docs, with --quick runs/failure_modes."""


def main(argv: list[str] | None = None) -> int:
    options = tyro.cli(Options, args=argv, description=__doc__)
    if options.seeds < 1 or options.workers < 1:
        print(f"--seeds {options.seeds} and --workers {options.workers} must both be at least 1", file=sys.stderr)
        return 2
    if options.out is not None:
        try:
            options.out.mkdir(parents=True, exist_ok=True)  # now, not after minutes of training
        except OSError as error:
            print(f"--out {options.out} is no directory ({error.strerror}); give another", file=sys.stderr)
            return 2
    start = time.perf_counter()
    try:
        results, paths = measure(options)
    except KeyboardInterrupt:
        print("\nfailure_modes: stopped; nothing is kept", file=sys.stderr)
        return 130
    report = {"seconds": round(time.perf_counter() - start), "quick": options.quick, "provenance": provenance()}
    out = options.out or (Path("runs") / "failure_modes" if options.quick else None)
    with whole_file((out or ROOT / "benchmarks" / "results") / "failure_modes.json") as temporary:
        temporary.write_text(as_text({**report, "claims": judged(results), "results": results}))
    figures.draw(results, paths, out or ROOT / "docs")
    for claim in CLAIMS:
        mark = "holds" if claim.holds(results) else "FAILS"
        print(f"{mark}  {claim.value(results):8.3f} {claim.relation} {claim.bound:<5} {claim.text}")
    return 0 if all(claim.holds(results) for claim in CLAIMS) else 1


def measure(options: Options) -> tuple[Results, Paths]:
    """Every condition under every seed, the longest first; and some episodes of seed 0 for the drawings."""
    jobs = [
        Job(experiment, condition, seed, options.quick)
        for seed in range(1 if options.quick else options.seeds)
        for experiment, recipes in EXPERIMENTS.items()
        for condition in recipes
    ]
    jobs.sort(key=lambda job: -EXPERIMENTS[job.experiment][job.condition].cost)
    found: dict[tuple[str, str], dict[int, dict[str, float]]] = defaultdict(dict)
    paths: Paths = defaultdict(dict)
    with multiprocessing.get_context("spawn").Pool(options.workers, torch.set_num_threads, (1,)) as pool:
        done = pool.imap_unordered(Job.run, jobs)
        for job, outcome, states in tqdm(done, total=len(jobs), desc="failure modes", unit="training"):
            found[job.experiment, job.condition][job.seed] = outcome
            if job.seed == 0:
                paths[job.experiment][job.condition] = states
    results: dict[str, dict[str, dict[str, list[float]]]] = {"exact": {}}
    for condition, outcome in exact.outcomes(0, EXACT_EPISODES).items():
        results["exact"][condition] = {key: [value] for key, value in outcome.items()}
    for experiment, recipes in EXPERIMENTS.items():
        results[experiment] = {name: _by_measure(found[experiment, name]) for name in recipes}
    return results, paths


def _by_measure(seeds: dict[int, dict[str, float]]) -> dict[str, list[float]]:
    """Outcomes by seed -> values in the order of the seeds, by measure."""
    return {key: [round(seeds[seed][key], 6) for seed in sorted(seeds)] for key in seeds[0]}


def judged(results: Results) -> list[dict[str, Any]]:
    """The claims with what was measured."""
    rows = []
    for claim in CLAIMS:
        where = f"{claim.experiment}: {claim.condition}: {claim.measure} {claim.relation} {claim.bound}"
        rows.append({"claim": claim.text, "asks": where, "is": claim.value(results), "holds": claim.holds(results)})
    return rows


def as_text(report: dict[str, Any]) -> str:
    """JSON, every list of numbers on one line."""
    return re.sub(r"\[[^][{}]*\]", lambda found: " ".join(found[0].split()), json.dumps(report, indent=1)) + "\n"


if __name__ == "__main__":
    sys.exit(main())
