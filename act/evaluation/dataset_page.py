"""Writes the page of a data set: episodes -> one HTML file that needs no network and answers "is my data any good?".

It shows a filmstrip of each episode from the stored JPEGs, its joints, how it compares with the others, where the
objects started, and what to do about it.
"""

import base64
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np

from act.data.editing.copying import edits_of
from act.data.episodes import Episode
from act.data.images import encode_image, resize_image
from act.evaluation.charts import Placement, region_zoom, table_top
from act.evaluation.dataset_charts import caption, dot_strip, duration, joint_curves
from act.evaluation.dataset_findings import Finding, find
from act.evaluation.dataset_statistics import FRAMES, REMARKABLE, DatasetStatistics, EpisodeStatistics, frame_steps
from act.evaluation.page import page, row, section, table
from act.evaluation.policy_chunks import Chunks

DETAILED = 60  # episodes with a filmstrip and curves, at most
FEW = 3  # with at most so many episodes, all cameras are shown, and the curves are open
LARGE_IMAGE = 24_000  # bytes; larger images are made smaller for the page
THUMBNAIL = 160  # pixels, height of images that are made smaller
LABELS = {"length": "control steps", "still": "share of the time in which the arms stand still"}
LABELS |= {"jerk": "jerk of the arms [rad/s³]", "jump": "largest step of a target [rad]"}
# In most files OpenCV has written the JPEGs from RGB arrays, so that a browser shows red as blue: swap them back.
SWAP = (
    '<svg width="0" height="0" style="position:absolute"><filter id="swap" color-interpolation-filters="sRGB">'
    '<feColorMatrix values="0 0 1 0 0 0 1 0 0 0 1 0 0 0 0 0 0 0 1 0"/></filter></svg>'
)
STYLE = """<style>
.film { display: grid; grid-auto-flow: column; grid-auto-columns: 1fr; gap: 3px; margin: 6px 0; }
.film img { width: 100%; display: block; border-radius: 4px; }
.film .swapped { filter: url(#swap); }
.legend + .episode { border-top: 0; }
.episode { padding: 14px 0; border-top: 1px solid var(--rule); }
.episode h3 { margin: 0; font-size: 14px; }
.episode h3 span { color: var(--dim); font-weight: 400; margin-left: 8px; }
.episode h3 i { display: inline-block; width: 9px; height: 9px; border-radius: 9px; margin-right: 6px;
  background: var(--dim); }
.episode h3 i.good { background: var(--good); }
.episode h3 i.bad { background: var(--bad); }
summary { cursor: pointer; color: var(--accent); font-size: 13px; }
.findings { list-style: none; margin: 0; padding: 0; }
.findings li { padding: 9px 0 9px 30px; border-top: 1px solid var(--rule); position: relative; }
.findings li:first-child { border-top: 0; }
.findings li::before { content: "✓"; position: absolute; left: 4px; font-weight: 700; color: var(--good); }
.findings .look::before { content: "?"; color: var(--c1); }
.findings .bad::before { content: "!"; color: var(--bad); }
.findings code { display: block; color: var(--dim); font-size: 12.5px; overflow-wrap: anywhere; }
svg .panel { fill: none; stroke: var(--rule); }
svg .corrected { fill: var(--soft); }
svg .even { fill: var(--accent); fill-opacity: .35; }
svg .odd { fill: var(--c1); }
.joints .line { stroke-width: 1.4; }
.joints .small { font-size: 9px; opacity: .8; }
</style>"""


def render(data: DatasetStatistics, directory: Path, title: str, chunks: Mapping[int, Chunks] | None = None) -> str:
    """The page as text. `directory` holds the episodes and is named in commands.

    `chunks` are answers of a policy about some episodes, by their numbers.
    """
    sections = [SWAP, STYLE, _headline(data, find(data, directory)), _compared(data), _starts(data)]
    sections.append(_episodes(data, chunks or {}))
    return page(title, [*sections, _facts(data)], "episodes", "A data set, episode by episode", _footer(data))


def _footer(data: DatasetStatistics) -> str:
    return f"Written by python -m act view. {len(data.episodes)} episodes; all images are those of the files."


def _headline(data: DatasetStatistics, findings: Sequence[Finding]) -> str:
    bad, look = (sum(finding.level == level for finding in findings) for level in ("bad", "look"))
    verdict = "Nothing stands out." if not bad + look else ""
    verdict += f"{bad} to repair" * bool(bad) + ", " * bool(bad and look) + f"{look} to look at" * bool(look)
    seconds = sum(episode.seconds for episode in data.episodes)
    lines = "".join(
        f'<li class="{finding.level}">{escape(finding.text)}'
        f"{f'<code>{escape(finding.command)}</code>' if finding.command else ''}</li>"
        for finding in findings
    )
    return (
        f'<section class="card hero"><div><h2>Episodes</h2><p class="big">{len(data.episodes)}</p>'
        f'<p class="interval-text">{duration(seconds)} in all</p><p class="facts">{escape(verdict)}</p></div>'
        f'<div><h2>Is this data any good?</h2><ul class="findings">{lines}</ul></div></section>'
    )


def _compared(data: DatasetStatistics) -> str:
    if len(data.episodes) < 2:
        return ""
    figures = []
    for name, least in REMARKABLE:
        odd = {episode.number for episode in data.outliers(name, least)}
        figures.append(f"<figure>{dot_strip(data.episodes, data.column(name).tolist(), LABELS[name], odd)}</figure>")
    note = "One dot per episode. Orange dots are far from the others: modified z-score above 3.5."
    return section("How the episodes compare", f'<div class="pair">{"".join(figures)}</div>', note)


def _starts(data: DatasetStatistics) -> str:
    if not data.objects:
        return ""
    objects = []
    for index in range(data.objects):
        name = "object" if data.objects == 1 else f"object {index + 1}"
        places = [
            Placement(
                float(e.starts[index][0]), float(e.starts[index][1]), e.success is not False, f"episode {e.number}"
            )
            for e in data.episodes
        ]
        objects.append((name, places))
    zooms = "".join(f"<figure>{region_zoom(p)}<figcaption>{name}</figcaption></figure>" for name, p in objects)
    note = "Positions at the start, seen from above, in metres. A policy learns the places where the dots are."
    body = f'<div class="table-top"><figure>{table_top(objects)}</figure>{zooms}</div>'
    return section("Where the objects start", body, note)


# ---------------------------------------------------------------------------------------------------------- episodes
def _episodes(data: DatasetStatistics, chunks: Mapping[int, Chunks]) -> str:
    shown = shown_episodes(data)
    few = len(data.episodes) <= FEW
    parts = [_episode(episode, slice(None if few else 1), few, chunks.get(episode.number)) for episode in shown]
    hidden = len(data.episodes) - len(shown)
    note = f"{hidden} more episodes are not shown; those that stand out are." if hidden else ""
    legend = '<ul class="legend"><li class="c0">joints, measured</li><li class="c1">joints, commanded</li>'
    legend += '<li class="c2">what the policy would have done from there on</li></ul>' if chunks else "</ul>"
    curves = "A tick below a curve is a stage that was reached; shaded steps were corrected."
    return section("Episodes", legend + "".join(parts), f"{curves} {note}") if parts else ""


def shown_episodes(data: DatasetStatistics, most: int = DETAILED) -> list[EpisodeStatistics]:
    """Returns the episodes of the page by number: all, or those that stand out and a sample of the rest."""
    if len(data.episodes) <= most:
        return list(data.episodes)
    chosen = {episode.number: episode for episode in data.remarkable[: most // 2]}
    rest = [episode for episode in data.episodes if episode.number not in chosen]
    sample = [rest[i] for i in frame_steps(len(rest), most - len(chosen))]
    return sorted([*chosen.values(), *sample], key=lambda episode: episode.number)


def _episode(measured: EpisodeStatistics, cameras: slice, opened: bool, chunks: Chunks | None) -> str:
    strips = "".join(filmstrip(measured.episode, camera) for camera in measured.episode.cameras[cameras])
    return (
        f'<div class="episode"><h3>Episode {measured.number}<span>{caption(measured)}</span></h3>{strips}'
        f"<details{' open' if opened or chunks else ''}><summary>joints</summary>"
        f'<div class="joints">{joint_curves(measured, chunks)}</div></details></div>'
    )


def filmstrip(episode: Episode, camera: str, frames: int = FRAMES) -> str:
    """Evenly spaced frames of a camera, HTML. Stored JPEGs are embedded as they are, unless they are large."""
    images = []
    for t in frame_steps(len(episode), frames):
        data, swapped = _frame(episode, camera, t)
        kind = "png" if data.startswith(b"\x89PNG") else "jpeg"
        source = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
        style = ' class="swapped"' if swapped else ""
        images.append(f'<img{style} loading="lazy" src="{source}" alt="{escape(camera)} at step {t}">')
    return f'<div class="film">{"".join(images)}</div>'


def _frame(episode: Episode, camera: str, t: int) -> tuple[bytes, bool]:
    """The bytes of a frame for a browser, and whether red and blue must be swapped to see its colours."""
    if episode.compressed and len(data := episode.encoded(t)[camera]) <= LARGE_IMAGE:
        return data, episode.jpeg_colors == "rgb" and not data.startswith(b"\x89PNG")
    image = episode.read_images(camera, t, t + 1)[0]
    height = min(THUMBNAIL, image.shape[0])
    small = resize_image(image, (height, max(1, round(image.shape[1] * height / image.shape[0]))))
    return encode_image(np.ascontiguousarray(small)), True


# ------------------------------------------------------------------------------------------------------------- facts
def _facts(data: DatasetStatistics) -> str:
    if not data.episodes:
        return ""
    first = data.episodes[0].episode
    facts = {"task": _named(data, "task_name"), "who drove": _named(data, "source")}
    facts["cameras"] = ", ".join(first.cameras) or "none"
    if size := first.image_size:
        facts["images"] = f"{size[0]} x {size[1]}, {'JPEG' if first.compressed else 'raw'}"
    facts["joints and actions"] = f"{first.qpos.shape[1]} and {first.action.shape[1]} numbers"
    facts["recorded in simulation"] = _named(data, "sim")
    facts["seeds"] = _span([e.episode.attrs.get("seed") for e in data.episodes])
    edits = {str(edit.get("command")) for e in data.episodes for edit in edits_of(e.episode.attrs)}
    facts["edited with"] = ", ".join(sorted(edits)) or "nothing"
    facts["notes"] = " ".join(sorted({note for e in data.episodes for note in e.episode.notes})) or "none"
    rows = [row(escape(name), [escape(value)]) for name, value in facts.items()]
    return section("About the files", table(rows, "settings"))


def _named(data: DatasetStatistics, attribute: str) -> str:
    return ", ".join("not said" if value is None else str(value) for value in data.values(attribute))


def _span(seeds: Sequence[object]) -> str:
    known = [seed for seed in seeds if isinstance(seed, int)]
    return f"{min(known)} … {max(known)}" if known else "not said"
