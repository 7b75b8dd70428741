"""Writes the tables and figures of docs/results.md from benchmarks/results: `python -m benchmarks.doc_tables`.

A table stands under a mark such as `<!-- setting: state transfer_cube scripted -->`, which names one of TABLES, a track
and, for some tables, a task and a style. The figures are written beside the results. Numbers are never written by hand.
"""

import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from act.command_line import run
from act.files import whole_file
from benchmarks import ablations, table1
from benchmarks.grid.cells import TASKS, Options
from benchmarks.grid.figures import dots, fig8, save
from benchmarks.grid.results import RESULTS
from benchmarks.grid.statistics import SETTINGS, TRACKS, Rows
from sim_envs import STYLES

PAGE = Path(__file__).parents[1] / "docs" / "results.md"
MARK = re.compile(r"(<!-- (\w+): (\w+) ?(\w*) ?(\w*) -->\n)\n?(?:(?:\|.*\n)+\n?)?")
TABLES: dict[tuple[str, bool], tuple[str, Callable[..., str]]] = {  # name, whether of one setting -> grid, function
    ("overview", False): ("table1", table1.overview),
    ("setting", True): ("table1", table1.setting),
    ("latency", False): ("table1", table1.latency),
    ("sizes", True): ("ablations", ablations.sizes),
    ("cvae", False): ("ablations", ablations.cvae),
    ("fig8a", False): ("ablations", ablations.fig8a),
    ("fig8b", False): ("ablations", ablations.fig8b),
    ("fig8c", False): ("ablations", ablations.fig8c),
    ("held_out", False): ("ablations", ablations.held_out),
}


def fill(text: str) -> str:
    """Returns the page with every marked table as the results have it. Raises ValueError for an unknown mark."""

    def write(found: re.Match[str]) -> str:
        name, track, *setting = found.groups()[1:]
        grid, table = TABLES.get((name, tuple(setting) in SETTINGS), ("", None))
        if table is None or track not in TRACKS:
            known = f"{', '.join(name for name, _ in TABLES)}; {', '.join(TRACKS)}; {', '.join((*TASKS, *STYLES))}"
            raise ValueError(f"{found[1].strip()} names no table; choose from {known}")
        return f"{found[1]}\n{table(results(grid), track, *filter(None, setting))}\n"

    return MARK.sub(write, text).rstrip("\n") + "\n"


def results(grid: str) -> Rows:
    path = RESULTS / f"{grid}.json"
    return Rows(json.loads(path.read_text())["rows"] if path.exists() else [], Options())


def write_all() -> None:
    text = fill(PAGE.read_text(encoding="utf-8"))
    with whole_file(PAGE) as temporary:
        temporary.write_text(text, encoding="utf-8")
    for name, grid, draw in (("table1", "table1", dots), ("fig8", "ablations", fig8)):
        rows = results(grid)
        for track in rows.tracks():
            save(draw(rows, track), RESULTS / f"{name}_{track}.png")


def program(arguments: Sequence[str]) -> int:
    if arguments:
        print(__doc__)
        return 0 if arguments[0] in ("-h", "--help") else 2
    return run("doc_tables", write_all)


if __name__ == "__main__":
    sys.exit(program(sys.argv[1:]))
