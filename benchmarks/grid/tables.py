"""Tallies of a grid -> tables, each drawn once and shown twice: in an HTML page and as markdown.

What is missing is a dash, never a zero.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from statistics import fmean
from typing import Any

from act.evaluation.page import page, section, table
from act.evaluation.rates import PRELIMINARY_BELOW, Rate
from benchmarks.grid.cells import Method
from benchmarks.grid.results import Row
from benchmarks.grid.statistics import REAL, Mean, Tally, differences

STYLE = """<style>
th small { display: block; } .strong { font-weight: 700; } .same { color: var(--dim); }
.narrow td, .narrow th { padding: 5px 6px; }
.value { display: inline-block; min-width: 3.2em; }
svg.strip { width: 132px; display: inline-block; vertical-align: middle; } svg.strip .dot { stroke-width: 1; }
svg.strip .mark { stroke: var(--c1); stroke-width: 2.5; }
.curves { max-width: 720px; } .curves .c3, .curves .c4, .curves .c5 { opacity: .55; }
.curves .c3 { --c: var(--c0); } .curves .c4 { --c: var(--c1); } .curves .c5 { --c: var(--c2); }
.curves svg .c3, .curves svg .c4, .curves svg .c5 { stroke-dasharray: 5 5; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; font-size: 12px; margin: 0; }
</style>"""


@dataclass(frozen=True)
class Entry:
    """A cell of a table: text, what stands small under it, and a class of the style sheet."""

    text: str = "–"
    small: str = ""
    style: str = ""
    drawing: str = ""  # HTML in front of the text
    hint: str = ""  # shown when pointed at

    def html(self, tag: str = "td") -> str:
        small = f"<small>{escape(self.small)}</small>" if self.small else ""
        hint = f' title="{escape(self.hint)}"' if self.hint else ""
        classes = " ".join(filter(None, (self.style, "value" if self.drawing else "")))
        text = f'<span class="{classes}">{escape(self.text)}</span>' if classes else escape(self.text)
        return f"<{tag}{hint}>{self.drawing}{text}{small}</{tag}>"

    def markdown(self) -> str:
        text = f"**{self.text}**" if self.style == "strong" else self.text
        return f"{text} ({self.small})" if self.small else text


@dataclass(frozen=True)
class Table:
    """A title, a head, rows of a name and entries (with a class of the style sheet), and what to know when reading."""

    title: str
    head: Sequence[Entry]
    rows: Sequence[tuple[Entry, Sequence[Entry], str]]
    note: str = ""
    style: str = ""
    figure: str = ""  # HTML before the table
    only_page: bool = False  # too wide for text

    def html(self) -> str:
        head = "".join(entry.html("th") for entry in (Entry(""), *self.head))
        rows = [
            f'<tr class="{style}">{name.html("th")}{"".join(entry.html() for entry in entries)}</tr>'
            for name, entries, style in self.rows
        ]
        return section(self.title, self.figure + table([f"<tr>{head}</tr>", *rows], self.style), escape(self.note))

    def markdown(self) -> str:
        return f"### {self.title}\n\n{self.lines()}" + (f"\n{self.note}\n" if self.note else "")

    def lines(self) -> str:
        """Head and rows in markdown."""
        lines = [["", *(entry.markdown() for entry in self.head)], ["---"] * (len(self.head) + 1)]
        lines += [[name.markdown(), *(entry.markdown() for entry in entries)] for name, entries, _ in self.rows]
        return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def named(method: Method, mode: str) -> Entry:
    """The head of a row."""
    return Entry(method.label, method.form(mode))


def of_rate(
    counted: Tally | Mean | None, rate: Rate | None = None, small: str = "", drawing: str = "", style: str = ""
) -> Entry:
    """Success, or another `rate` of the same rollouts [%], with its interval; preliminary ones carry an asterisk."""
    rate = counted.success if counted and rate is None else rate
    if counted is None or rate is None:
        return Entry()
    star = "*" if counted.is_preliminary else ""
    interval = f"{100 * rate.low:.1f}–{100 * rate.high:.1f}"
    return Entry(f"{100 * rate.rate:.1f}{star}", f"{interval}{small}", style, drawing)


def each_seed(tally: Tally | None) -> str:
    """Success of each training seed, where there are several, to stand behind an interval."""
    return f" · seeds {tally.by_seed}" if tally and len(tally.rows) > 1 else ""


def strip(rate: Rate, paper: float | None) -> str:
    """A rate with its interval on a line from 0 to 1, and the paper's as a mark."""
    x = [8 + 116 * share for share in (0, 1, rate.low, rate.high, rate.rate)]
    parts = f'<line class="rail" x1="{x[0]}" x2="{x[1]}" y1="10" y2="10"/>'
    parts += f'<line class="interval" x1="{x[2]:.1f}" x2="{x[3]:.1f}" y1="10" y2="10"/>'
    if paper is not None:
        mark = 8 + 116 * paper
        parts += f'<line class="mark" x1="{mark:.1f}" x2="{mark:.1f}" y1="1" y2="19"><title>paper</title></line>'
    parts += f'<circle class="dot" cx="{x[4]:.1f}" cy="10" r="3.5"/>'
    return f'<svg class="strip" viewBox="0 0 132 20" role="img" aria-label="rate and interval">{parts}</svg> '


def matrix(title: str, tallies: Mapping[Entry, Tally]) -> Table | None:
    """Every pair of methods: which differences are real."""
    found, rows = differences(tallies), []
    names = sorted(tallies, key=lambda name: -tallies[name].success.rate)
    for i, worse in enumerate(names):
        entries = [Entry("")] * len(names)
        for j, better in enumerate(names[:i]):
            if gap := found.get((better, worse)):
                hint = f"{better.text}, {better.small}: p {gap.p:.1g}"
                text = f"{gap.points:+.0f}" if gap.real else f"≈ {gap.points:+.0f}"
                entries[j] = Entry(text, style="" if gap.real else "same", hint=hint)
        rows.append((Entry(f"{i + 1} {worse.text}", worse.small), entries, ""))
    note = (
        "Success of the row minus that of the column, in points, on rollouts they share (same training seed, same "
        f"start). ≈: may be chance, p ≥ {REAL} by the exact sign-flip test over starts (McNemar's, of one training "
        f"seed), Holm-corrected for {len(found)} pairs. It speaks of the policies that were trained; how far another "
        "training may land, the seeds tell."
    )
    heads = [Entry(str(i + 1)) for i in range(len(names))]
    return Table(title, heads, rows, note, "narrow", only_page=True) if found else None


def latencies(title: str, tallies: Mapping[Entry, Tally]) -> Table | None:
    """One query beside one robot, against the time until the next query is due."""
    rows = []
    for name, tally in tallies.items():
        times = [row["single_query"] for row in tally.rows if row["single_query"]]
        if times:
            due = 20.0 * tally.rows[0]["n_action_steps"]  # [ms]
            p50, p99 = fmean(time["p50_ms"] for time in times), fmean(time["p99_ms"] for time in times)
            fits = Entry("yes", style="good-text") if p99 <= due else Entry("no", style="bad-text")
            rows.append((name, [Entry(f"{p50:.1f}"), Entry(f"{p99:.1f}"), Entry(f"{due:.0f}"), fits], ""))
    heads = [Entry("p50 [ms]"), Entry("p99 [ms]"), Entry("due every [ms]"), Entry("in time")]
    note = "One observation per query, measured after the rollouts, while another cell may have been running beside it."
    return Table(title, heads, rows, note) if rows else None


def origins(rows: Sequence[Row]) -> str:
    """Machines, versions, commits, and, folded away, the commands."""
    facts = {}
    for row in rows:
        made = row["provenance"]
        facts.setdefault(f"machine: {plain(made['hardware'])}; {plain(made['versions'])}", []).append(row)
        if digest := row.get("demonstrations"):
            facts.setdefault(f"demonstrations of {row['task']} {row['style']}: {digest}", []).append(row)
        facts.setdefault(f"trained at {row['train_commit']}, evaluated at {made['git']}", []).append(row)
    lines = [f"{fact} ({len(found)} rows)" for fact, found in facts.items()]
    commands = list(dict.fromkeys(" && ".join(row["commands"]) for row in rows))
    listed = escape("\n".join(commands))
    folded = f"<details><summary>{len(commands)} commands</summary><pre>{listed}</pre></details>"
    facts_html = "".join(f"<p class='facts'>{escape(line)}</p>" for line in lines)
    return section("Where the numbers come from", facts_html + folded)


def plain(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items() if value is not None)


def compose(title: str, lead: str, tables: Sequence[Table | None], rows: Sequence[Row]) -> tuple[str, str]:
    """The page and its markdown."""
    there = [table for table in tables if table]
    seeds = sorted({row["train_seed"] for row in rows})
    few = sum(row["n"] < PRELIMINARY_BELOW for row in rows)
    badge = '<span class="badge">some numbers are preliminary</span>' if few else ""
    counted = f"{len(rows)} evaluations, training seeds {', '.join(map(str, seeds)) or 'none yet'}. "
    star = f"* preliminary: fewer than {PRELIMINARY_BELOW} rollouts."
    intro = STYLE + section("What this is", f"{badge}<p>{escape(lead)}</p>", escape(counted + star))
    html = page(title, [intro, *(table.html() for table in there), origins(rows)])
    text = [table.markdown() for table in there if not table.only_page]
    return html, "\n".join([f"## {title}\n", f"{counted}{star}\n", *text])
