"""Writes the tables and figures of docs/results.md from benchmarks/results: `python -m benchmarks.doc_tables`.

A table stands under a mark such as `<!-- setting: state transfer_cube scripted -->`, which names a table, a track and,
for some tables, a task and a style. The figures are written beside the results. Numbers are never written by hand.
"""

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from act.command_line import run
from act.files import whole_file
from benchmarks import ablations, table1
from benchmarks.figures import save
from benchmarks.grid.cells import TASKS, Options
from benchmarks.grid.results import RESULTS
from benchmarks.grid.statistics import SETTINGS, TRACKS, Rows
from sim_envs import STYLES

PAGE = Path(__file__).parents[1] / "docs" / "results.md"
MARK = re.compile(r"(<!-- (\w+): (\w+) ?(\w*) ?(\w*) -->\n)\n?(?:(?:\|.*\n)+\n?)?")
GRIDS = {"table1": table1, "ablations": ablations}


def fill(text: str) -> str:
    """Returns the page with every marked table as the results have it. Raises ValueError for an unknown mark."""

    def write(found: re.Match[str]) -> str:
        name, track, *setting = found.groups()[1:]
        for grid, module in GRIDS.items():
            tables = module.SETTING_TABLES if tuple(setting) in SETTINGS else module.TABLES if not any(setting) else {}
            if name in tables and track in TRACKS:
                return f"{found[1]}\n{tables[name](results(grid), track, *filter(None, setting))}\n"
        known = ", ".join(name for module in GRIDS.values() for name in (*module.TABLES, *module.SETTING_TABLES))
        known += f"; {', '.join(TRACKS)}; {', '.join((*TASKS, *STYLES))}"
        raise ValueError(f"{found[1].strip()} names no table; choose from {known}")

    return MARK.sub(write, text).rstrip("\n") + "\n"


def results(grid: str) -> Rows:
    path = RESULTS / f"{grid}.json"
    return Rows(json.loads(path.read_text())["rows"] if path.exists() else [], Options())


def write_all() -> None:
    text = fill(PAGE.read_text(encoding="utf-8"))
    with whole_file(PAGE) as temporary:
        temporary.write_text(text, encoding="utf-8")
    for name, grid in (("table1", "table1"), ("fig8", "ablations")):
        rows = results(grid)
        for track in rows.tracks():
            save(GRIDS[grid].figure(rows, track), RESULTS / f"{name}_{track}.png")


def program(arguments: Sequence[str]) -> int:
    if arguments:
        print(__doc__)
        return 0 if arguments[0] in ("-h", "--help") else 2
    return run("doc_tables", write_all)


if __name__ == "__main__":
    sys.exit(program(sys.argv[1:]))
