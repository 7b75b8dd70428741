"""Damages files, sends hostile messages, kills programs and fills disks: `python -m benchmarks.faults`."""

import math
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from tqdm import tqdm

from act.command_line import parse, run
from act.files import write_json
from act.provenance import git_commit, provenance
from benchmarks.faults import damages, disks, kills, messages
from benchmarks.programs import check_values, seconds

Part = Literal["damages", "messages", "kills", "disks"]


@dataclass(frozen=True)
class Programme:
    """One kind of faults: how they are made, which outcomes are right, and how they are counted."""

    what: str
    make: Callable[[Path, int, int], Iterator[Any]]
    is_right: Callable[[Any], bool]
    table: Callable[[list[Any]], str]


def _damage_is_right(found: damages.Damage) -> bool:
    return {found.by_validate, found.by_training} <= set(damages.OUTCOMES[:2])


PROGRAMMES: dict[Part, Programme] = {
    "damages": Programme("files", lambda *of: damages.run_damages(*of), _damage_is_right, damages.make_table),
    "messages": Programme("messages", messages.run_messages, lambda a: a.outcome != "wrong", messages.make_table),
    "kills": Programme("trials", kills.run_kills, lambda trial: trial.outcome == "equal", kills.make_table),
    "disks": Programme("trials", disks.run_disks, lambda trial: trial.outcome != "wrong", disks.make_table),
}


@dataclass(frozen=True)
class Options:
    parts: tuple[Part, ...] = ("damages", "messages", "kills")
    """What is tried, in this order; disks needs root on Linux."""
    count: int = 10_000
    """How many files are damaged, messages sent, programs killed, or disks filled."""
    seed: int = 0
    """Fault i depends on (seed, i) alone, so a run can be repeated; a kill also depends on how fast the machine is."""
    budget: str = ""
    """Time for each part, such as 10m, after which no further fault is tried; without it, all are."""
    out: Path | None = None
    """JSON file with every fault that was handled wrongly, the tables, and where they were measured."""


def measure(options: Options) -> int:
    """Prints the tables. Returns 1 when a fault was handled wrongly, otherwise 0."""
    check_values(options, at_least_1=("count",), distinct=("parts",))
    wrong: dict[str, list[Any]] = {}
    tables: dict[str, list[str]] = {}
    for part in options.parts:
        found = try_part(part, options)
        programme = PROGRAMMES[part]
        wrong[part] = [asdict(each) for each in found if not programme.is_right(each)]
        tables[part] = programme.table(found).splitlines()
        counted = f"{len(found)} of {options.count} {programme.what}, seed {options.seed}, commit {git_commit()}"
        print("\n".join(tables[part]) + f"\n\n{counted}\n", flush=True)
    if options.out is not None:
        settings = {"count": options.count, "seed": options.seed, "budget": options.budget}
        write_json(options.out, {"settings": settings, "wrong": wrong, "tables": tables, "provenance": provenance()})
    return 1 if any(wrong.values()) else 0


def try_part(part: Part, options: Options) -> list[Any]:
    """Tries the faults of one part until all are tried or its time is spent; prints those that are handled wrongly."""
    end, found, programme = math.inf, [], PROGRAMMES[part]
    with tempfile.TemporaryDirectory() as folder:
        faults = programme.make(Path(folder), options.count, options.seed)
        for each in tqdm(faults, total=options.count, unit=programme.what.removesuffix("s")):
            found.append(each)
            if len(found) == 1:  # getting ready does not count: on a busy machine it takes minutes
                end = time.monotonic() + seconds(options.budget)
            if not programme.is_right(each):
                tqdm.write(f"{part} {len(found) - 1}: {each}", sys.stderr)
            if time.monotonic() > end:
                break
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    options = parse(
        Options,
        arguments,
        program="python -m benchmarks.faults",
        description="Damages episodes, sends hostile messages, kills programs and fills disks; counts what is lost.",
        example="python -m benchmarks.faults --budget 10m",
        page="docs/reliability.md",
    )
    return run("faults", lambda: measure(options), failures=(OSError, RuntimeError), failure_code=1)


if __name__ == "__main__":
    sys.exit(main())
