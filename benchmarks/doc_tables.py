"""Draws tables and figures of docs/results.md from benchmarks/results: `python -m benchmarks.doc_tables`.

A table stands under a mark such as `<!-- setting: state transfer_cube scripted -->`, which names one of TABLES and what
it is to show; figures stand beside the results. Prose is written by hand, numbers are not.
"""

import argparse
import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from act.evaluation.paper import PAPER
from act.files import whole_file
from benchmarks import ablations, table1
from benchmarks.grid.cells import MODES, STYLES, TASKS, Options
from benchmarks.grid.figures import dots, fig8, save
from benchmarks.grid.results import RESULTS
from benchmarks.grid.statistics import SETTINGS, TRACKS, Rows, Tally
from benchmarks.grid.tables import Entry, Table, named, of_rate

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "docs" / "results.md",)
MARK = re.compile(r"(<!-- (\w+): (\w+) ?(\w*) ?(\w*) -->\n)\n?(?:(?:\|.*\n)+\n?)?")


def fill(text: str) -> str:
    """A page with every marked table as the results have it. Raises ValueError for a mark that no table has."""

    def draw(found: re.Match[str]) -> str:
        name, track, *setting = found.groups()[1:]
        table = TABLES.get((name, tuple(setting) in SETTINGS))
        if table is None or track not in TRACKS:
            known = f"{', '.join(name for name, _ in TABLES)}; {', '.join(TRACKS)}; {', '.join((*TASKS, *STYLES))}"
            raise ValueError(f"{found[0].strip()} names no table; there is {known}")
        return f"{found[1]}\n{table(track, *setting).lines()}\n"

    return MARK.sub(draw, text).rstrip("\n") + "\n"


def results(grid: str) -> Rows:
    path = RESULTS / f"{grid}.json"
    return Rows(json.loads(path.read_text())["rows"] if path.exists() else [], Options())


def overview(track: str, *_: str) -> Table:
    """Table I: success of every method in all settings."""
    rows, lines = results("table1"), []
    bold = {setting: table1.leading(table1.tallies(rows, *setting, track)) for setting in SETTINGS}
    for method, mode in table1.forms(rows, track):
        name, tallies = named(method, mode), rows.settings(method, track, mode).tallies
        cells = [_cell(tally, name in bold[setting]) for setting, tally in zip(SETTINGS, tallies, strict=True)]
        figures = [table1.theirs(method, mode, *setting) for setting in SETTINGS]
        paper = "" if None in figures else " / ".join(f"{figure:g}" for figure in figures)
        lines.append((Entry(f"{name.text}, {name.small}"), [*cells, Entry(paper)], ""))
    return Table("", [*(Entry(f"{PAPER[task].title}, {style}") for task, style in SETTINGS), Entry("paper")], lines)


def setting(track: str, task: str, style: str) -> Table:
    """A setting of Table I: every method in single steps, in chunks, in chunks that are averaged."""
    rows = results("table1")
    found = table1.tallies(rows, task, style, track)
    bold, lines = table1.leading(found), {}
    for method, mode in table1.forms(rows, track):
        name, line = named(method, mode), lines.setdefault(method.label, [Entry("")] * 4)
        of = f"of {method.chunk_size}: " if method.chunk_size not in (1, 60) else ""
        column = 0 if method.chunk_size == 1 else 1 + MODES.index(mode)
        line[column] = _cell(found.get(name), name in bold, of, strict=True)
        figure = table1.theirs(method, mode, task, style)
        line[3] = line[3] if figure is None else Entry(f"{figure:g}")
    heads = [Entry(head) for head in ("single step", "chunks of 60", "chunks, ensembled", "paper (images)")]
    return Table("", heads, [(Entry(label), line, "") for label, line in lines.items()])


def sizes(track: str, task: str, style: str) -> Table:
    """A setting of Fig. 8: chunks of every size, those of 100 also averaged."""
    rows, lines = results("ablations"), []
    for label, methods in ablations.SIZED.items():
        tallies = [rows.tally(method, task, style, track, "chunk") for method in methods]
        last = rows.tally(methods[ablations.SIZES.index(ablations.ENSEMBLED)], task, style, track, "ensemble")
        lines.append((Entry(label), [_cell(tally) for tally in (*tallies, last)], ""))
    heads = [*map(str, ablations.SIZES), f"{ablations.ENSEMBLED}, ensembled"]
    return Table("", [Entry(head) for head in heads], lines)


def cvae(track: str, *_: str) -> Table:
    """Fig. 8c: ACT's chunks of 60 without and with the CVAE."""
    rows, lines = results("ablations"), []
    for task, style in SETTINGS:
        tallies = [rows.tally(method, task, style, track, mode) for mode in MODES for method in ablations.CVAE]
        lines.append((Entry(f"{PAPER[task].title}, {style}"), [_cell(tally, strict=True) for tally in tallies], ""))
    heads = [f"{how}, {which} CVAE" for how in ("chunks", "ensembled") for which in ("without", "with")]
    return Table("", [Entry(head) for head in heads], lines)


def latency(track: str, *_: str) -> Table:
    """How long a query takes each method of Table I, and how long it may."""
    return table1.queries(results("table1"), track) or Table("", [], [])


def _of_fig8(draw: Callable[[Rows, str], Table | None]) -> Callable[..., Table]:
    """Tables of Fig. 8's page."""
    return lambda track, *_: draw(results("ablations"), track) or Table("", [], [])


def _cell(tally: Tally | None, bold: bool = False, before: str = "", strict: bool = False) -> Entry:
    """Success [%] and its interval, strict success if asked for, and, of several training seeds, each one's success."""
    if tally is None:
        return Entry("")
    rate = of_rate(tally, style="strong" if bold else "").markdown()
    held = f", {100 * tally.strict.rate:.1f}" if strict else ""
    return Entry(f"{before}{rate}{held}" + (f"; {tally.by_seed}" if len(tally.rows) > 1 else ""))


TABLES: dict[tuple[str, bool], Callable[[str, str, str], Table]] = {  # by name, and whether it shows one setting only
    ("overview", False): overview,
    ("setting", True): setting,
    ("sizes", True): sizes,
    ("cvae", False): cvae,
    ("fig8a", False): _of_fig8(ablations.sizes),
    ("fig8b", False): _of_fig8(ablations.ensembling),
    ("fig8c", False): _of_fig8(ablations.cvae),
    ("held_out", False): _of_fig8(ablations.held_out),
    ("latency", False): latency,
}


def program(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.doc_tables", description=(__doc__ or "").split(":")[0])
    parser.parse_args(argv)
    try:
        texts = {path: fill(path.read_text(encoding="utf-8")) for path in PAGES}
        for path, text in texts.items():
            with whole_file(path) as temporary:
                temporary.write_text(text, encoding="utf-8")
        for name, grid, draw in (("table1", "table1", dots), ("fig8", "ablations", fig8)):
            found = results(grid)
            for track in found.tracks():
                save(draw(found, track), RESULTS / f"{name}_{track}.png")
    except (ValueError, OSError) as error:
        print(f"doc_tables: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(program())
