"""Writes the report: results.json and metrics.jsonl of one or several runs -> one HTML page that needs no network.

    python -m act report runs/demo [runs/other ...] --out report.html

The page shows success with its interval beside the paper's, every stage, learning curves, success by object position,
latency, videos, and the settings that make each number reproducible. It follows the light or dark mode of the system.
"""

import base64
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from act import command_line
from act.evaluation.charts import Placement, interval_strip, region_zoom, table_top
from act.evaluation.coverage import coverage
from act.evaluation.learning_curves import learning_curves
from act.evaluation.page import heads, page, row, section, table
from act.evaluation.paper import PAPER, PaperTask
from act.evaluation.results import Evaluation, load, with_run_names
from act.files import whole_file

EMBEDDED_VIDEO_BYTES = 4_000_000  # larger videos are linked, not embedded


def write_report(runs: Sequence[Path], out: Path) -> None:
    """Writes one page about all evaluations found in `runs` (folders, or results.json files).

    Raises ValueError for a folder without results.
    """
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
        _check_stages(task, of_task)
        kinds = list(dict.fromkeys(evaluation.backbone_weights for evaluation in of_task))
        for weights in kinds:
            group = [evaluation for evaluation in of_task if evaluation.backbone_weights == weights]
            suffix = f", backbone weights: {weights}" if len(kinds) > 1 else ""
            if task in PAPER and (comparable := [e for e in group if e.paper_column is not None]):
                sections.append(_paper_table(PAPER[task], comparable, suffix))
            sections.append(_stage_table(group, suffix))
    sections += [learning_curves(evaluations), _positions(evaluations), coverage(evaluations)]
    sections += [_videos(evaluations, folder), _latency(evaluations), _settings(evaluations)]
    return page(title[:1].upper() + title[1:], sections)


def _check_stages(task: str, evaluations: Sequence[Evaluation]) -> None:
    """Raises ValueError for an evaluation that has not the stages of its task."""
    expected = PAPER[task].stages[-1][1] if task in PAPER else len(evaluations[0].results["stages"])
    for evaluation in evaluations:
        if (found := len(evaluation.results["stages"])) != expected:
            file = evaluation.folder / "results.json"
            raise ValueError(f"{file} cannot be read: {task} has {expected} stages, and this file {found}")


def _headline(evaluation: Evaluation) -> str:
    results, settings = evaluation.results, evaluation.results["settings"]
    success, strict = results["success"], results["strict_success"]
    paper = PAPER.get(results["task"])
    marks = []
    if paper and (column := evaluation.paper_column) is not None:
        marks = [(name, rows[-1][column] / 100) for name, rows in paper.methods.items()]
    badge = '<span class="badge">preliminary: fewer than 200 rollouts</span>' if results["preliminary"] else ""
    facts = [f"{results['n']} rollouts", f"strict success {_percent(strict)} ({_interval(strict)})"]
    facts += [f"backbone weights: {evaluation.backbone_weights}"]
    facts += [f"{settings['seed_set']} seeds"] if settings.get("seed_set") else []
    strip = interval_strip(success["low"], success["rate"], success["high"], marks)
    note = "<p class='note'>Ticks: success in the ACT paper's Table I.</p>" if marks else ""
    return (
        f'<section class="card hero"><div><h2>{escape(evaluation.name)} {badge}</h2>'
        f'<p class="big">{_percent(success)}</p><p class="interval-text">95 % interval {_interval(success)}</p>'
        f"<p class='facts'>{' · '.join(escape(fact) for fact in facts)}</p></div><div>{strip}{note}</div></section>"
    )


def _paper_table(paper: PaperTask, group: Sequence[Evaluation], suffix: str) -> str:
    header = "<tr><th></th>" + "".join(f'<th colspan="2">{name}</th>' for name, _ in paper.stages) + "</tr>"
    header += "<tr><th>demonstrations</th>" + "<th>scripted</th><th>human</th>" * len(paper.stages) + "</tr>"
    rows = []
    for evaluation in group:
        rates = [evaluation.results["stages"][reward - 1] for _, reward in paper.stages]
        cells = [["–", "–"] for _ in rates]
        for cell, rate in zip(cells, rates, strict=True):
            cell[evaluation.paper_column or 0] = f"<b>{100 * rate['rate']:.1f}</b><small>{_interval(rate)}</small>"
        rows.append(row(escape(evaluation.name), [c for pair in cells for c in pair], "result"))
    for name, stages in paper.methods.items():
        rows.append(row(f"{name} <small>(paper)</small>", [f"{v:g}" for pair in stages for v in pair]))
    for name, pair in paper.others.items():
        blank = ["–"] * (2 * len(paper.stages) - 2)
        rows.append(row(name, blank + ["–" if v is None else f"{v:g}" for v in pair], "other"))
    note = (
        "Success in %; the highlighted rows are these runs, with 95 % Wilson intervals. Paper: Zhao et al. 2023, "
        "Table I, 3 seeds × 50 rollouts. The last two rows are reruns and claims by others, with different "
        "demonstrations and protocols."
    )
    return section(f"{paper.title}: beside the paper{suffix}", table([header, *rows]), note)


def _stage_table(group: Sequence[Evaluation], suffix: str) -> str:
    names = [rate["name"] for rate in group[0].results["stages"]]
    rows = [heads("reached", *(evaluation.name for evaluation in group))]
    rows += [
        row(escape(name), [_bar(evaluation.results["stages"][number]) for evaluation in group])
        for number, name in enumerate(names)
    ]
    rows.append(row("success", [_bar(evaluation.results["success"]) for evaluation in group], "result"))
    rows.append(row("strict success", [_bar(evaluation.results["strict_success"]) for evaluation in group], "result"))
    rows.append(row("mean return", [f"{evaluation.results['mean_return']:.0f}" for evaluation in group]))
    return section(f"Every stage{suffix}", table(rows), "Share of the rollouts that reached each stage.")


def _positions(evaluations: Sequence[Evaluation]) -> str:
    figures = []
    for evaluation in evaluations:
        objects = _objects(evaluation.results)
        if objects:
            zooms = "".join(
                f"<figure>{region_zoom(p, [s[7 * i : 7 * i + 2] for s in evaluation.starts])}"
                f"<figcaption>{escape(n)}</figcaption></figure>"
                for i, (n, p) in enumerate(objects)
            )
            heading = f"<h3>{escape(evaluation.name)}</h3>" if len(evaluations) > 1 else ""
            figures.append(f'{heading}<div class="table-top"><figure>{table_top(objects)}</figure>{zooms}</div>')
    note = (
        '<span class="key good">●</span> success <span class="key bad">✕</span> failure, '
        '<span class="key">○</span> training episode. '
        "Positions at the start, seen from above, in metres; the dashed line encloses all of them."
    )
    return section("Success by object position", "".join(figures), note) if figures else ""


def _objects(results: Mapping[str, Any]) -> list[tuple[str, list[Placement]]]:
    """The placements of each object; env_state0 holds 7 numbers per object: x y z [m] and a quaternion."""
    episodes = [episode for episode in results["episodes"] if len(episode["env_state0"]) >= 7]
    if not episodes:
        return []
    count = min(len(episode["env_state0"]) for episode in episodes) // 7
    names = results.get("objects") or ()  # older results do not name them
    names = names if len(names) == count else tuple(f"object {i + 1}" for i in range(count))
    objects = []
    for i, name in enumerate(names):
        positions = [(e["env_state0"][7 * i], e["env_state0"][7 * i + 1], e) for e in episodes]
        placements = [Placement(x, y, episode["success"], _outcome(episode)) for x, y, episode in positions]
        objects.append((name, placements))
    return objects


def _videos(evaluations: Sequence[Evaluation], folder: Path) -> str:
    figures = []
    for evaluation in evaluations:
        by_seed = {episode["seed"]: episode for episode in evaluation.results["episodes"]}
        for file in sorted(filter(_is_video, evaluation.folder.rglob("*.mp4"))):
            numbers = [int(number) for number in re.findall(r"\d+", file.stem)]
            episode = next((by_seed[number] for number in reversed(numbers) if number in by_seed), None)
            caption = f"{evaluation.name} · " + (_outcome(episode) if episode else file.stem)
            mark = "" if episode is None else ' class="good"' if episode["success"] else ' class="bad"'
            source = _video_source(file, folder)
            figures.append(
                f'<figure><video controls loop muted playsinline preload="metadata" src="{source}"></video>'
                f"<figcaption><i{mark}></i>{escape(caption)}</figcaption></figure>"
            )
    return section("Videos", f'<div class="videos">{"".join(figures)}</div>') if figures else ""


def _is_video(file: Path) -> bool:
    """Whether a file of that name can be one: a link may name any file of this machine, and a FIFO waits for ever."""
    return file.is_file() and not file.is_symlink()


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
    return section("Latency beside the control period of 20 ms", table([header, *rows])) if rows else ""


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


def _outcome(episode: Mapping[str, Any]) -> str:
    outcome = "success" if episode["success"] else f"reached stage {episode['max_reward']:g}"
    return f"seed {episode['seed']}, {outcome}"


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(part)}" for key, part in value.items() if part is not None)
    if isinstance(value, (list, tuple)):
        return ", ".join(_plain(part) for part in value)
    return "–" if value is None else str(value)


@dataclass(frozen=True)
class Options:
    """One call of `python -m act report`."""

    runs: Annotated[tuple[Path, ...], Positional, arg(metavar="RUN [RUN ...]", help_behavior_hint="")]
    """Folders of runs, or results.json files."""
    out: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="(default: RUN/report.html)")] = None
    """The page to write."""


def main(arguments: Sequence[str] | None = None) -> int:
    return command_line.run("report", lambda: _write(parse(arguments)))


def parse(arguments: Sequence[str] | None = None) -> Options:
    """The options of a command line; ValueError when no run is given."""
    options = command_line.parse(
        Options,
        arguments,
        program="python -m act report",
        description="Writes one HTML page about all evaluations of one or several runs.",
        example="python -m act report runs/a runs/b --out both.html",
        page="docs/evaluation.md",
    )
    if not options.runs:
        raise ValueError("no run is given; give at least one folder: python -m act report runs/demo")
    return options


def _write(options: Options) -> None:
    first = options.runs[0]
    out = options.out or (first.parent if first.is_file() else first) / "report.html"
    write_report(options.runs, out)
    print(f"wrote {out}")
