"""HTML of a report: the page around its sections, tables, and a style sheet that needs no network."""

from collections.abc import Iterable, Sequence
from html import escape

STYLE = """
:root { color-scheme: light dark;
  --bg: #f6f6f4; --card: #fff; --ink: #1c1d21; --dim: #6b6e76; --rule: #e3e3df; --accent: #2f5fd0; --soft: #e8eefc;
  --good: #1d9a5b; --bad: #d8433b; --wood: #efe6d6; --arm: #45484f;
  --c0: #2f5fd0; --c1: #e0813a; --c2: #1d9a5b; --c3: #a04bc4; --c4: #d8433b; --c5: #168ca5; --c6: #8a6d3b;
  --c7: #6b6e76; }
@media (prefers-color-scheme: dark) {
  :root {
    --bg: #131417; --card: #1c1e22; --ink: #e9e9ec; --dim: #9a9da6; --rule: #2f3238; --accent: #7aa2ff;
    --soft: #232c42; --good: #45c486; --bad: #ff7a70; --wood: #2c2822; --arm: #8d919b;
    --c0: #7aa2ff; --c1: #f2a264; --c2: #45c486; --c3: #cb8aea; --c4: #ff7a70; --c5: #4fc0d6; --c6: #c7a66b;
    --c7: #9a9da6; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--bg); color: var(--ink); font: 15px/1.5 system-ui, "Segoe UI", Roboto,
  sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 40px 20px 64px; }
header { margin: 0 4px 24px; }
h1 { font-size: 32px; line-height: 1.2; letter-spacing: -.02em; margin: 0; }
.eyebrow { color: var(--dim); margin: 0 0 4px; font-size: 13px; }
h2 { font-size: 17px; margin: 0 0 14px; letter-spacing: -.01em; }
h3 { font-size: 14px; margin: 18px 0 8px; }
.card { background: var(--card); border: 1px solid var(--rule); border-radius: 14px; padding: 22px 24px; margin:
  0 0 18px; }
.hero { display: grid; grid-template-columns: 300px 1fr; gap: 28px; align-items: center; }
.hero > div { min-width: 0; }
.hero h2 { margin: 0 0 4px; color: var(--dim); font-weight: 600; font-size: 15px; }
.big { font-size: 60px; line-height: 1; font-weight: 700; letter-spacing: -.04em; margin: 6px 0 6px; color:
  var(--accent); }
.interval-text { margin: 0; }
.facts, .note { color: var(--dim); font-size: 13px; margin: 8px 0 0; }
.badge { display: inline-block; background: var(--soft); color: var(--accent); border-radius: 99px; padding: 1px
  10px; font-size: 12px; font-weight: 600; white-space: nowrap; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: 7px 10px; border-top: 1px solid var(--rule); white-space: nowrap;
  vertical-align: top; }
tr > th:first-child { text-align: left; font-weight: 500; padding-left: 0; white-space: normal; min-width:
  130px; }
tr:first-child > * { border-top: 0; }
th { font-weight: 600; }
th[colspan] { text-align: center; }
tr:not(:has(td)) th { color: var(--dim); font-size: 13px; }
td small { display: block; color: var(--dim); font-size: 12px; }
th small { color: var(--dim); font-weight: 400; }
.result > * { background: var(--soft); }
.result > th:first-child { padding-left: 10px; font-weight: 600; border-radius: 6px 0 0 6px; }
.result > :last-child { border-radius: 0 6px 6px 0; }
.other > * { color: var(--dim); }
.bar { display: inline-block; width: 110px; height: 8px; border-radius: 9px; background: var(--rule);
  margin-right: 8px; }
.bar i { display: block; height: 100%; border-radius: 9px; background: var(--accent); }
.bar, .rate { vertical-align: middle; }
.rate { display: inline-block; min-width: 6.5em; }
.settings td { text-align: left; white-space: normal; overflow-wrap: anywhere; min-width: 220px; font-size:
  13px; }
.settings th { color: var(--dim); font-size: 13px; text-align: left; }
figure { margin: 0; min-width: 0; }
figcaption { color: var(--dim); font-size: 13px; margin-top: 6px; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(420px, 100%), 1fr)); gap: 24px; }
.pair figure { max-width: 640px; }
.table-top { display: flex; flex-wrap: wrap; gap: 24px; align-items: flex-start; }
.table-top figure { flex: 1 1 230px; max-width: 360px; }
.table-top figure:first-child { flex: 2 1 380px; max-width: none; }
.table-top figcaption { text-align: center; }
.videos { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(320px, 100%), 1fr)); gap: 18px; }
video { width: 100%; display: block; border-radius: 10px; background: #000; }
figcaption i { display: inline-block; width: 9px; height: 9px; border-radius: 9px; margin-right: 7px;
  background: var(--dim); }
figcaption i.good { background: var(--good); }
figcaption i.bad { background: var(--bad); }
.good-text, .key.good { color: var(--good); }
.bad-text, .key.bad { color: var(--bad); }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: 4px 16px; margin: 6px 0 0; padding: 0;
  font-size: 13px; }
.legend li::before { content: ""; display: inline-block; width: 18px; height: 3px; border-radius: 3px;
  margin-right: 7px; vertical-align: middle; background: var(--c); }
.c0 { --c: var(--c0) }
.c1 { --c: var(--c1) }
.c2 { --c: var(--c2) }
.c3 { --c: var(--c3) }
.c4 { --c: var(--c4) }
.c5 { --c: var(--c5) }
.c6 { --c: var(--c6) }
.c7 { --c: var(--c7) }
svg { width: 100%; height: auto; display: block; font: 12px system-ui, sans-serif; }
svg .tick, svg .axis { fill: var(--dim); }
svg .middle { text-anchor: middle; }
svg .end { text-anchor: end; }
svg .grid { stroke: var(--rule); }
svg .line { fill: none; stroke: var(--c); stroke-width: 2; stroke-linejoin: round; }
svg .line-dot { fill: var(--c); }
svg .rail { stroke: var(--rule); stroke-width: 6; stroke-linecap: round; }
svg .interval { stroke: var(--accent); stroke-width: 6; stroke-linecap: round; opacity: .45; }
svg .dot { fill: var(--accent); stroke: var(--card); stroke-width: 2.5; }
svg .mark { stroke: var(--dim); stroke-width: 1.5; }
svg .table { fill: var(--wood); stroke: var(--rule); }
svg .arm { fill: var(--arm); }
svg .region { fill: none; stroke: var(--dim); stroke-dasharray: 4 4; }
svg .start { fill: none; stroke: var(--ink); stroke-width: 1.5; }
svg .good { fill: var(--good); fill-opacity: .8; }
svg .bad { stroke: var(--bad); stroke-linecap: round; fill: none; }
footer { color: var(--dim); font-size: 13px; margin: 24px 4px 0; }
@media (max-width: 760px) {
  .hero { grid-template-columns: 1fr; }
  .card { padding: 18px 16px; }
  main { padding: 24px 12px; }
}
@media print {
  .card { break-inside: avoid; }
}
"""


EYEBROW = "Evaluation on two simulated arms"
FOOTER = "Intervals: Wilson, 95 %. Rows of policies with different backbone weights are in different tables."


def page(
    title: str, sections: Sequence[str], kind: str = "evaluation", eyebrow: str = EYEBROW, footer: str = FOOTER
) -> str:
    """The whole page as HTML. sections: HTML; all others: text. kind: what stands behind the title of the window."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)} · {escape(kind)}</title><style>{STYLE}</style></head><body><main>"
        f'<header><p class="eyebrow">{escape(eyebrow)}</p><h1>{escape(title)}</h1></header>'
        f"{''.join(sections)}<footer>{escape(footer)}</footer></main></body></html>\n"
    )


def section(title: str, body: str, note: str = "") -> str:
    """A card of the page. title: text; body and note: HTML."""
    after = f'<p class="note">{note}</p>' if note else ""
    return f'<section class="card"><h2>{escape(title)}</h2>{body}{after}</section>'


def table(rows: Iterable[str], style: str = "") -> str:
    """A table, which scrolls when it is wider than the page. rows: HTML."""
    return f'<div class="scroll {style}"><table>{"".join(rows)}</table></div>'


def heads(*names: str) -> str:
    """The first row of a table. names: text."""
    return "<tr>" + "".join(f"<th>{escape(name)}</th>" for name in names) + "</tr>"


def row(head: str, cells: Sequence[str], style: str = "") -> str:
    """One row of a table. head and cells: HTML; style: CSS classes."""
    return f'<tr class="{style}"><th>{head}</th>' + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"
