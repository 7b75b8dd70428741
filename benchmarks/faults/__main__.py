"""Damages recorded episodes and counts what is refused, accepted and lost: `python -m benchmarks.faults`."""

import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tqdm import tqdm

from act.command_line import parse, run
from act.files import write_json
from act.provenance import provenance
from benchmarks.faults.damages import OUTCOMES, Damage, make_table, run_damages
from benchmarks.programs import check_values, seconds


@dataclass(frozen=True)
class Options:
    count: int = 10_000
    """How many files are damaged."""
    seed: int = 0
    """Damage i depends on (seed, i) alone, so a run can be repeated."""
    budget: str = ""
    """Time after which no further file is damaged, such as 10m; without it, all are."""
    out: Path | None = None
    """JSON file with every damage that was judged wrongly, the counts, and where they were measured."""


def measure(options: Options) -> int:
    """Prints the table. Returns 1 when a damaged file was accepted as changed or stopped its reader, otherwise 0."""
    check_values(options, at_least_1=("count",))
    end = time.monotonic() + seconds(options.budget)
    damages: list[Damage] = []
    with tempfile.TemporaryDirectory() as folder:
        for found in tqdm(run_damages(Path(folder), options.count, options.seed), total=options.count, unit="file"):
            damages.append(found)
            if found.sentence:
                tqdm.write(f"damage {len(damages) - 1}, {found.kind}, {found.form}: {found.sentence}", sys.stderr)
            if time.monotonic() > end:
                break
    print(make_table(damages))
    print(f"\n{len(damages)} of {options.count} files, seed {options.seed}")
    wrong = [each for each in damages if not {each.by_validate, each.by_training} <= set(OUTCOMES[:2])]
    if options.out is not None:
        values = {"settings": {"count": len(damages), "seed": options.seed}, "wrong": [asdict(each) for each in wrong]}
        write_json(options.out, values | {"table": make_table(damages).splitlines(), "provenance": provenance()})
    return 1 if wrong else 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    options = parse(
        Options,
        arguments,
        program="python -m benchmarks.faults",
        description="Damages recorded episodes at random and counts what validate and training make of them.",
        example="python -m benchmarks.faults --budget 10m",
        page="docs/reliability.md",
    )
    return run("faults", lambda: measure(options))


if __name__ == "__main__":
    sys.exit(main())
