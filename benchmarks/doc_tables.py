"""Writes the tables and figures of docs/ from benchmarks/results: `python -m benchmarks.doc_tables`.

In results.md and lecture.md, a table stands under a mark such as `<!-- setting: state transfer_cube scripted -->`. It
names a table, a track and, for some tables, a task and a style. The figures are written beside the results. Numbers
are never written by hand.
"""

import json
import re
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks import ablations, lecture_table, table1
from benchmarks.grid import cells
from benchmarks.grid.run import RESULTS
from benchmarks.grid.statistics import TRACKS, Rows
from benchmarks.programs import main

PAGES = [Path(__file__).parents[1] / "docs" / name for name in ("results.md", "lecture.md")]
MARK = re.compile(r"(<!-- (\w+): (\w+)(?: (\w+) (\w+))? -->\n)\n?(?:(?:\|.*\n)+\n?)?")
GRIDS = {"table1": table1, "ablations": ablations, "lecture_table": lecture_table}
FIGURES = {"table1": "table1", "ablations": "fig8", "lecture_table": "lecture_table"}


def fill(text: str) -> str:
    """Returns the page with every marked table as the results have it. Raises ValueError for an unknown mark."""

    def write(found: re.Match[str]) -> str:
        name, track, *setting = filter(None, found.groups()[1:])
        for grid, module in GRIDS.items():
            table = (module.SETTING_TABLES if setting else module.TABLES).get(name)
            if table and track in TRACKS and (not setting or tuple(setting) in module.SETTINGS):
                return f"{found[1]}\n{table(results(grid), track, *setting)}\n"
        known = (name for module in GRIDS.values() for name in (*module.TABLES, *module.SETTING_TABLES))
        raise ValueError(f"{found[1].strip()} names no table; choose from {', '.join((*known, *TRACKS))}")

    return MARK.sub(write, text).rstrip("\n") + "\n"


def results(grid: str) -> Rows:
    path = RESULTS / f"{grid}.json"
    return Rows(json.loads(path.read_text())["rows"] if path.exists() else [], cells.Options())


@dataclass(frozen=True)
class Options:
    """There are no options."""


def write_all(_: Options) -> None:
    for page in PAGES:
        page.write_text(fill(page.read_text(encoding="utf-8")), encoding="utf-8")
    for grid, name in FIGURES.items():
        rows = results(grid)
        for track in rows.tracks():
            GRIDS[grid].figure(rows, track).savefig(RESULTS / f"{name}_{track}.png", dpi=130)


program = partial(main, "doc_tables", Options, write_all, __doc__, "docs/results.md")

if __name__ == "__main__":
    sys.exit(program())
