"""Measures how fast everything is; prints one table, and writes benchmarks/results/speed.json.

Every part runs in a process of its own, and keeps its commit, hardware and time. Weights are random, because speed does
not depend on them. Results are rough when other programs compute on the machine, so that the load before the start is
kept, too. At commit 5d06b1b this program also measured the original ACT and LeRobot, in turns with ours.
"""

import json
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from act.files import lock_file, write_json
from act.provenance import provenance
from benchmarks.programs import main


@dataclass(frozen=True)
class Options:
    """What is measured."""

    quick: bool = False
    """One round instead of five."""
    parts: tuple[str, ...] = ()
    """Parts to measure, all by default; the others stay in the file as they are."""
    out: Path = Path(__file__).parents[1] / "results" / "speed.json"
    """JSON file of the results."""


def rows_of(rounds: list[dict[str, list[float]]]) -> list[dict[str, Any]]:
    """Returns the percentiles over all rounds, and the number of values."""
    rows = []
    for name in rounds[0]:
        values = np.concatenate([measured[name] for measured in rounds])
        p50, p99 = np.percentile(values, (50, 99))
        rows.append({"name": name, "p50": float(p50), "p99": float(p99), "n": len(values)})
    return rows


def measure(options: Options) -> None:
    """Measures the parts one after another, prints them, and writes the file after each."""
    from benchmarks.speed.parts import PARTS, run  # here, because --help needs no torch

    if unknown := [part for part in options.parts if part not in PARTS]:
        raise ValueError(f"--parts {unknown[0]}: choose from {', '.join(PARTS)}")
    read_parts(options.out)
    load = os.getloadavg()[0]
    print(f"load {load:.1f} before the start: above 0.5 other programs compute, and results are rough")
    for part in tqdm(options.parts or PARTS, unit="part", disable=None):
        with ProcessPoolExecutor(1, get_context("spawn")) as process:
            rows = rows_of(process.submit(run, part, 1 if options.quick else 5).result())
        measured = {"rows": rows, "quick": options.quick, "load_before": load, "provenance": provenance()}
        with lock_file(options.out):
            write_json(options.out, read_parts(options.out) | {part: measured})
        for row in rows:
            tqdm.write(f"{row['name']:58s} {row['p50']:10.4g}  p99 {row['p99']:.4g}")


def read_parts(path: Path) -> dict[str, Any]:
    """Returns the parts that the file holds. Raises ValueError for a file of something else."""
    try:
        parts = json.loads(path.read_text()) if path.exists() else {}
        return {name: part for name, part in parts.items() if part["rows"] is not None}
    except (OSError, ValueError, AttributeError, TypeError, KeyError) as error:
        raise ValueError(f"{path} holds no results of this benchmark ({error!r}); give another --out") from None


program = partial(main, "speed", Options, measure, __doc__, "docs/results.md")

if __name__ == "__main__":
    sys.exit(program())
