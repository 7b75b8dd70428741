"""results.json (and metrics.jsonl) of one or several runs -> one HTML page that needs no network.

    python -m act report runs/demo [runs/other ...] --out report.html

Success with its interval beside the paper's, every stage, learning curves, success by object position, latency,
videos, and the settings that make each number reproducible. Light and dark follow the reader's system.
"""

import argparse
import base64
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from act.evaluation.charts import Placement, Series, curves, interval_strip, region_zoom, table_top
from act.evaluation.page import heads, page, row, section, table
from act.evaluation.paper import PAPER, PaperTask
from act.evaluation.results import Evaluation, load, with_run_names
from act.files import whole_file

EMBEDDED_VIDEO_BYTES = 4_000_000  # larger videos are linked, not embedded
CURVE_POINTS = 300  # per line; more are averaged in bins


def write_report(runs: Sequence[Path], out: Path) -> None:
    """Writes one page about all evaluations found in `runs`; whole or not at all."""
    evaluations = [evaluation for run in runs for evaluation in load(run)]
    with whole_file(out) as temporary:
        temporary.write_text(render(evaluations, out.parent), encoding="utf-8")


def render(evaluations: Sequence[Evaluation], folder: Path) -> str:
    """The page as text; links to videos that are too large to embed are relative to `folder`."""
    evaluations = with_run_names(evaluations)
    tasks = list(dict.fromkeys(evaluation.results["task"] for evaluation in evaluations))
    title = " and ".join(PAPER[task].title.lower() if task in PAPER else task.replace("_", " ") for task in tasks)
    sections = ["".join(_headline(evaluation) for evaluation in evaluations)]
    for task in tasks:
        of_task = [evaluation for evaluation in evaluations if evaluation.results["task"] == task]
        for eyes in (kinds := list(dict.fromkeys(evaluation.eyes for evaluation in of_task))):
            group = [evaluation for evaluation in of_task if evaluation.eyes == eyes]
            told = f", eyes: {eyes}" if len(kinds) > 1 else ""
            if task in PAPER and (comparable := [e for e in group if e.style is not None]):
                sections.append(_paper_table(PAPER[task], comparable, told))
            sections.append(_stage_table(group, told))
    sections += [_curves(evaluations), _positions(evaluations), _videos(evaluations, folder)]
    sections += [_latency(evaluations), _settings(evaluations)]
    return page(title[:1].upper() + title[1:], sections)


def _headline(evaluation: Evaluation) -> str:
    results, settings = evaluation.results, evaluation.results["settings"]
    success, strict = results["success"], results["strict_success"]
    paper = PAPER.get(results["task"])
    marks = []
    if paper and (style := evaluation.style) is not None:
        marks = [(name, rows[-1][style] / 100) for name, rows in paper.methods.items()]
    badge = '<span class="badge">preliminary: fewer than 200 rollouts</span>' if results["preliminary"] else ""
    facts = [f"{results['n']} rollouts", f"strict success {_percent(strict)} ({_interval(strict)})"]
    facts += [f"eyes: {evaluation.eyes}"]
    facts += [f"{settings['seed_set']} seeds"] if settings.get("seed_set") else []
    strip = interval_strip(success["low"], success["rate"], success["high"], marks)
    note = "<p class='note'>Ticks: success in the ACT paper's Table I.</p>" if marks else ""
    return (
        f'<section class="card hero"><div><h2>{escape(evaluation.name)} {badge}</h2>'
        f'<p class="big">{_percent(success)}</p><p class="interval-text">95 % interval {_interval(success)}</p>'
        f"<p class='facts'>{' · '.join(escape(fact) for fact in facts)}</p></div><div>{strip}{note}</div></section>"
    )


def _paper_table(paper: PaperTask, group: Sequence[Evaluation], told: str) -> str:
    header = "<tr><th></th>" + "".join(f'<th colspan="2">{name}</th>' for name, _ in paper.stages) + "</tr>"
    header += "<tr><th>demonstrations</th>" + "<th>scripted</th><th>human</th>" * len(paper.stages) + "</tr>"
    rows = []
    for evaluation in group:
        rates = [evaluation.results["stages"][reward - 1] for _, reward in paper.stages]
        cells = [["–", "–"] for _ in rates]
        for cell, rate in zip(cells, rates, strict=True):
            cell[evaluation.style or 0] = f"<b>{100 * rate['rate']:.1f}</b><small>{_interval(rate)}</small>"
        rows.append(row(escape(evaluation.name), [c for pair in cells for c in pair], "ours"))
    for name, stages in paper.methods.items():
        rows.append(row(f"{name} <small>(paper)</small>", [f"{v:g}" for pair in stages for v in pair]))
    for name, pair in paper.others.items():
        blank = ["–"] * (2 * len(paper.stages) - 2)
        rows.append(row(name, blank + ["–" if v is None else f"{v:g}" for v in pair], "other"))
    note = (
        "Success in %, ours with 95 % Wilson intervals. Paper: Zhao et al. 2023, Table I, 3 seeds × 50 rollouts. The "
        "last two rows are other people's reruns and claims, from their own demonstrations and protocols."
    )
    return section(f"{paper.title}: beside the paper{told}", table([header, *rows]), note)


def _stage_table(group: Sequence[Evaluation], told: str) -> str:
    names = [rate["name"] for rate in group[0].results["stages"]]
    rows = [heads("reached", *(evaluation.name for evaluation in group))]
    rows += [
        row(escape(name), [_bar(evaluation.results["stages"][number]) for evaluation in group])
        for number, name in enumerate(names)
    ]
    rows.append(row("success", [_bar(evaluation.results["success"]) for evaluation in group], "ours"))
    rows.append(row("strict success", [_bar(evaluation.results["strict_success"]) for evaluation in group], "ours"))
    rows.append(row("mean return", [f"{evaluation.results['mean_return']:.0f}" for evaluation in group]))
    return section(f"Every stage{told}", table(rows), "Share of the rollouts that got this far.")


def _curves(evaluations: Sequence[Evaluation]) -> str:
    runs = {evaluation.run: evaluation.metrics for evaluation in evaluations if evaluation.metrics}
    charts = (
        ("loss", True, lambda key: key.endswith(("loss", "l1"))),
        ("success [%]", False, lambda key: key == "success"),
    )
    figures = []
    for label, log_y, wanted in charts:
        series = [line for run, metrics in runs.items() for line in _series(metrics, wanted, _prefix(run, runs), label)]
        series = list({tuple(line.ys): line for line in reversed(series)}.values())[::-1]  # the loss may BE the l1
        positive = all(y > 0 for line in series for y in line.ys)  # a likelihood's logarithm need not be
        figures.append(curves(series, "optimizer steps", label, log_y and positive))
    return section("Learning", f'<div class="pair">{"".join(figures)}</div>') if any(figures) else ""


def _series(
    metrics: Sequence[Mapping[str, Any]], wanted: Callable[[str], bool], prefix: str, label: str
) -> list[Series]:
    keys = dict.fromkeys(key for line in metrics for key in line if wanted(key))
    series = []
    for key in keys:
        pairs = [(line["step"], line[key]) for line in metrics if "step" in line and _is_number(line.get(key))]
        if pairs:
            bins = _binned(pairs)
            scale = 100 if "%" in label else 1
            series.append(Series(f"{prefix}{key}", [x for x, _ in bins], [scale * y for _, y in bins]))
    return series


def _positions(evaluations: Sequence[Evaluation]) -> str:
    figures = []
    for evaluation in evaluations:
        objects = _objects(evaluation.results)
        if objects:
            zooms = "".join(
                f"<figure>{region_zoom(p)}<figcaption>{escape(n)}</figcaption></figure>" for n, p in objects
            )
            heading = f"<h3>{escape(evaluation.name)}</h3>" if len(evaluations) > 1 else ""
            figures.append(f'{heading}<div class="table-top"><figure>{table_top(objects)}</figure>{zooms}</div>')
    note = (
        '<span class="key good">●</span> success <span class="key bad">✕</span> failure. '
        "Seen from above, metres; dashed: around all starting positions."
    )
    return section("Success by object position", "".join(figures), note) if figures else ""


def _objects(results: Mapping[str, Any]) -> list[tuple[str, list[Placement]]]:
    """Per object its placements; env_state0 holds 7 numbers per object: x y z [m] and a quaternion."""
    episodes = [episode for episode in results["episodes"] if len(episode["env_state0"]) >= 7]
    if not episodes:
        return []
    count = min(len(episode["env_state0"]) for episode in episodes) // 7
    names = results.get("objects", ())  # of older results unknown
    names = names if len(names) == count else tuple(f"object {i + 1}" for i in range(count))
    objects = []
    for i, name in enumerate(names):
        places = [(e["env_state0"][7 * i], e["env_state0"][7 * i + 1], e) for e in episodes]
        placements = [Placement(x, y, episode["success"], _fate(episode)) for x, y, episode in places]
        objects.append((name, placements))
    return objects


def _videos(evaluations: Sequence[Evaluation], folder: Path) -> str:
    figures = []
    for evaluation in evaluations:
        fates = {episode["seed"]: episode for episode in evaluation.results["episodes"]}
        for file in sorted(evaluation.folder.rglob("*.mp4")):
            numbers = [int(number) for number in re.findall(r"\d+", file.stem)]
            episode = next((fates[number] for number in reversed(numbers) if number in fates), None)
            caption = f"{evaluation.name} · " + (_fate(episode) if episode else file.stem)
            mark = "" if episode is None else ' class="good"' if episode["success"] else ' class="bad"'
            source = _video_source(file, folder)
            figures.append(
                f'<figure><video controls loop muted playsinline preload="metadata" src="{source}"></video>'
                f"<figcaption><i{mark}></i>{escape(caption)}</figcaption></figure>"
            )
    return section("Watch it", f'<div class="videos">{"".join(figures)}</div>') if figures else ""


def _video_source(file: Path, folder: Path) -> str:
    if file.stat().st_size < EMBEDDED_VIDEO_BYTES:
        return "data:video/mp4;base64," + base64.b64encode(file.read_bytes()).decode()
    return escape(Path(os.path.relpath(file, folder)).as_posix())


def _latency(evaluations: Sequence[Evaluation]) -> str:
    rows = []
    for evaluation in evaluations:
        for key, what in (("single_query", "one robot"), ("latency", "batched rollouts")):
            latency = evaluation.results.get(key)
            if latency:
                fits = latency["p99_ms"] <= latency["deadline_ms"]
                style = "" if latency["batch_size"] > 1 else "good-text" if fits else "bad-text"
                verdict = f'<span class="{style}">{100 * latency["within_deadline"]:.1f} %</span>'
                cells = [f"{latency['batch_size']}", f"{latency['p50_ms']:.1f}", f"{latency['p99_ms']:.1f}", verdict]
                rows.append(row(f"{escape(evaluation.name)} <small>{what}</small>", [*cells, f"{latency['queries']}"]))
    header = heads("policy query", "batch", "p50 [ms]", "p99 [ms]", "within 20 ms", "queries")
    return section("Latency against the 20 ms of 50 Hz", table([header, *rows])) if rows else ""


def _settings(evaluations: Sequence[Evaluation]) -> str:
    columns = []
    for evaluation in evaluations:
        results, provenance = evaluation.results, evaluation.results["provenance"]
        seeds = results["seeds"]
        facts = {"command": provenance["command"], "rollouts": results["n"], "seeds": f"{min(seeds)} … {max(seeds)}"}
        facts |= {key.replace("_", " "): _plain(value) for key, value in results["settings"].items()}
        facts |= {"commit": provenance["git"] or "not in git", "hardware": _plain(provenance["hardware"])}
        facts |= {"versions": _plain(provenance["versions"]), "finished": provenance["time"]}
        rate = f"{results['wall_time_s']:.0f} s, {results['rollouts_per_min']:.1f} rollouts/min"
        columns.append(facts | {"wall time": rate})
    keys = list(dict.fromkeys(key for facts in columns for key in facts))
    rows = [heads("", *(evaluation.name for evaluation in evaluations))]
    rows += [
        row(escape(key), [f"<span>{escape(str(facts.get(key, '–')))}</span>" for facts in columns]) for key in keys
    ]
    return section("Settings", table(rows, "settings"))


def _bar(rate: Mapping[str, Any]) -> str:
    width = f'<span class="bar"><i style="width:{100 * rate["rate"]:.1f}%"></i></span>'
    return f'{width} <span class="rate">{_percent(rate)} <small>{_interval(rate)}</small></span>'


def _percent(rate: Mapping[str, Any]) -> str:
    return f"{100 * rate['rate']:.1f} %"


def _interval(rate: Mapping[str, Any]) -> str:
    return f"{100 * rate['low']:.1f}–{100 * rate['high']:.1f}"


def _fate(episode: Mapping[str, Any]) -> str:
    fate = "success" if episode["success"] else f"reached stage {episode['max_reward']:g}"
    return f"seed {episode['seed']}, {fate}"


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(part)}" for key, part in value.items() if part is not None)
    if isinstance(value, (list, tuple)):
        return ", ".join(_plain(part) for part in value)
    return "–" if value is None else str(value)


def _prefix(run: str, runs: Mapping[str, Any]) -> str:
    return f"{run} " if len(runs) > 1 else ""


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value == value


def _binned(pairs: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    size = -(-len(pairs) // CURVE_POINTS)
    bins = [pairs[start : start + size] for start in range(0, len(pairs), size)]
    return [(sum(x for x, _ in part) / len(part), sum(y for _, y in part) / len(part)) for part in bins]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m act report", description="Writes the page of one or several runs.")
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folder of a run, or a results.json")
    parser.add_argument("--out", type=Path, help="the page (default: report.html in the first run's folder)")
    options = parser.parse_args(arguments)
    first: Path = options.runs[0]
    out = options.out or (first.parent if first.is_file() else first) / "report.html"
    try:
        write_report(options.runs, out)
    except (ValueError, OSError) as error:
        print(f"report: {error}", file=sys.stderr)
        return 2
    print(f"wrote {out}")
    return 0
