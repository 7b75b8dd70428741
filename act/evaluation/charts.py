"""The charts of a report: inline SVG, coloured by the page's style sheet (classes `c0`..`c7`, `good`, `bad`, ...).

Every function returns one `<svg>` element, and `curves` a figure around one. Coordinates inside are pixels of the view
box, which the page scales.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from act.evaluation.workspace import ALOHA, Workspace

REGION_MARGIN = 0.012  # [m] around the sampled positions


@dataclass(frozen=True)
class Series:
    """One named line of a chart."""

    name: str
    xs: Sequence[float]
    ys: Sequence[float]


@dataclass(frozen=True)
class Placement:
    """Position of an object at the start of a rollout [m], and whether the rollout succeeded."""

    x: float
    y: float
    success: bool
    label: str = ""


def line_chart(series: Sequence[Series], x_label: str, y_label: str, log_y: bool = False) -> str:
    """Lines over a common x axis. With `log_y`, values <= 0 are left out."""
    width, height, left, right, top, bottom = 520, 260, 58, 12, 14, 44
    kept = [[(x, y) for x, y in zip(s.xs, s.ys, strict=True) if y > 0 or not log_y] for s in series]
    points = [point for line in kept for point in line]
    if not points:
        return ""
    x_ticks = round_ticks(min(x for x, _ in points), max(x for x, _ in points))
    lows, highs = min(y for _, y in points), max(y for _, y in points)
    y_ticks = _log_ticks(lows, highs) if log_y else round_ticks(min(0.0, lows), highs)
    x0, x1 = x_ticks[0], max(x for x, _ in points)

    def px(x: float) -> float:
        return left + (x - x0) / max(x1 - x0, 1e-12) * (width - left - right)

    def py(y: float) -> float:
        low, high, value = (math.log(v) if log_y else v for v in (y_ticks[0], y_ticks[-1], y))
        return height - bottom - (value - low) / max(high - low, 1e-12) * (height - top - bottom)

    parts = [_y_tick(left, width - right, py(y), y) for y in y_ticks]
    parts += [svg_text(px(x), height - bottom + 18, _short(x), "tick middle") for x in x_ticks if x <= x1]
    parts.append(svg_text((left + width) / 2, height - 6, x_label, "axis middle"))
    parts.append(svg_text(16, top + (height - top - bottom) / 2, y_label, "axis middle", rotate=-90))
    for number, (line, points) in enumerate(zip(series, kept, strict=True)):
        parts.append(_line(number, line.name, [(px(x), py(y)) for x, y in points]))
    return svg(width, height, parts, f"{y_label} over {x_label}")


def curves(series: Sequence[Series], x_label: str, y_label: str, log_y: bool = False, style: str = "") -> str:
    """A line chart as a figure with its legend; an empty string where there is nothing to draw."""
    chart = line_chart(series, x_label, y_label, log_y)
    names = "".join(f'<li class="c{number % 8}">{escape(line.name)}</li>' for number, line in enumerate(series))
    return f'<figure class="{style}">{chart}<ul class="legend">{names}</ul></figure>' if chart else ""


def interval_strip(low: float, rate: float, high: float, marks: Sequence[tuple[str, float]]) -> str:
    """A rate with its interval on a line from 0 to 100 %, and published rates as ticks under it (all in 0..1)."""
    width, height, left, right, y = 560, 72, 14, 14, 22

    def px(share: float) -> float:
        return left + share * (width - left - right)

    parts = [f'<line class="rail" x1="{px(0):.1f}" x2="{px(1):.1f}" y1="{y}" y2="{y}"/>']
    parts.append(f'<line class="interval" x1="{px(low):.1f}" x2="{px(high):.1f}" y1="{y}" y2="{y}"/>')
    parts.append(f'<circle class="dot" cx="{px(rate):.1f}" cy="{y}" r="8"/>')
    at = [px(share) for _, share in marks]
    parts += [f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{y - 9}" y2="{y + 9}"/>' for x in at]
    row_ends = [-1e9, -1e9]
    for text, share in _grouped(marks):
        half = 3.4 * len(text)
        x = min(max(px(share), left + half), width - right - half)
        row = 0 if x - half > row_ends[0] + 8 else 1
        row_ends[row] = x + half
        parts.append(svg_text(x, y + 27 + 16 * row, text, "tick middle"))
    return svg(width, height, parts, "success and its 95 % interval beside published results")


def table_top(objects: Sequence[tuple[str, Sequence[Placement]]], workspace: Workspace = ALOHA) -> str:
    """The table from above (x right, y away from the operator): arms, and each object's sampled region outlined."""
    width = 640
    scale = (width - 8) / workspace.size[0]
    height = round(workspace.size[1] * scale) + 8
    x0, y1 = workspace.centre[0] - workspace.size[0] / 2, workspace.centre[1] + workspace.size[1] / 2

    def at(x: float, y: float) -> tuple[float, float]:
        return 4 + (x - x0) * scale, 4 + (y1 - y) * scale

    parts = [f'<rect class="table" x="4" y="4" width="{width - 8}" height="{height - 8}" rx="10"/>']
    for name, (x, y) in workspace.arm_bases.items():
        px, py = at(x, y)
        parts.append(f'<rect class="arm" x="{px - 26:.1f}" y="{py - 22:.1f}" width="52" height="44" rx="9"/>')
        parts.append(svg_text(px, py + 40, name, "tick middle"))
    for name, placements in objects:
        low_x, high_x, low_y, high_y = _region(placements)
        (px, py), (qx, qy) = at(low_x, high_y), at(high_x, low_y)
        size = f'width="{qx - px:.1f}" height="{qy - py:.1f}"'
        parts.append(f'<rect class="region" x="{px:.1f}" y="{py:.1f}" {size} rx="4"/>')
        parts.append(svg_text((px + qx) / 2, py - 8, name, "tick middle"))
        parts += [_placement(*at(p.x, p.y), p, 2.6) for p in placements]
    return svg(width, height, parts, "positions of the objects on the whole table")


def region_zoom(placements: Sequence[Placement], demonstrated: Sequence[Sequence[float]] = ()) -> str:
    """One object's sampled region enlarged: green dots succeeded, red crosses failed; ticks in metres.

    demonstrated: x and y [m] of the object in training episodes; they are circles.
    """
    low_x, high_x, low_y, high_y = _region(placements)
    scale = 300 / max(high_x - low_x, high_y - low_y)
    left, bottom, top = 46, 34, 10
    inner_w, inner_h = (high_x - low_x) * scale, (high_y - low_y) * scale
    width, height = round(left + inner_w + 12), round(top + inner_h + bottom)

    def at(x: float, y: float) -> tuple[float, float]:
        return left + (x - low_x) * scale, top + (high_y - y) * scale

    parts = [f'<rect class="region" x="{left}" y="{top}" width="{inner_w:.1f}" height="{inner_h:.1f}" rx="4"/>']
    x_ticks = [x for x in round_ticks(low_x, high_x, 4) if low_x <= x <= high_x]
    y_ticks = [y for y in round_ticks(low_y, high_y, 4) if low_y <= y <= high_y]
    parts += [svg_text(at(x, 0)[0], height - 12, f"{x:.2f}", "tick middle") for x in x_ticks]
    parts += [svg_text(left - 6, at(0, y)[1] + 4, f"{y:.2f}", "tick end") for y in y_ticks]
    inside = [(x, y) for x, y in demonstrated if low_x <= x <= high_x and low_y <= y <= high_y]
    circles = [at(x, y) for x, y in inside]
    parts += [f'<circle class="start" cx="{px:.1f}" cy="{py:.1f}" r="8"/>' for px, py in circles]
    parts += [_placement(*at(p.x, p.y), p, 5.0) for p in sorted(placements, key=lambda p: not p.success)]
    return svg(width, height, parts, "positions of the object, enlarged")


def _grouped(marks: Sequence[tuple[str, float]]) -> list[tuple[str, float]]:
    """Labels and positions of marks; marks within 0.1 of the first one of their group share one label."""
    groups: list[list[tuple[str, float]]] = []
    for mark in sorted(marks, key=lambda mark: mark[1]):
        if groups and mark[1] - groups[-1][0][1] < 0.1:
            groups[-1].append(mark)
        else:
            groups.append([mark])
    labels = []
    for group in groups:
        shares = [f"{100 * share:g}" for share in dict.fromkeys(share for _, share in group)]
        span = shares[0] if len(shares) == 1 else f"{shares[0]}–{shares[-1]}"
        labels.append((f"{', '.join(name for name, _ in group)} {span}", sum(s for _, s in group) / len(group)))
    return labels


def _region(placements: Sequence[Placement]) -> tuple[float, float, float, float]:
    xs, ys = [p.x for p in placements], [p.y for p in placements]
    return min(xs) - REGION_MARGIN, max(xs) + REGION_MARGIN, min(ys) - REGION_MARGIN, max(ys) + REGION_MARGIN


def _placement(px: float, py: float, placement: Placement, radius: float) -> str:
    title = f"<title>{escape(placement.label)}</title>"
    if placement.success:
        return f'<circle class="good" cx="{px:.1f}" cy="{py:.1f}" r="{radius}">{title}</circle>'
    r = radius * 0.9
    path = f"M{px - r:.1f} {py - r:.1f}L{px + r:.1f} {py + r:.1f}M{px - r:.1f} {py + r:.1f}L{px + r:.1f} {py - r:.1f}"
    return f'<path class="bad" d="{path}" stroke-width="{radius * 0.6:.1f}">{title}</path>'


def _line(number: int, name: str, points: Sequence[tuple[float, float]]) -> str:
    title, colour = f"<title>{escape(name)}</title>", f"c{number % 8}"
    if len(points) == 1:
        x, y = points[0]
        return f'<circle class="line-dot {colour}" cx="{x:.1f}" cy="{y:.1f}" r="4">{title}</circle>'
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    return f'<path class="line {colour}" d="{path}">{title}</path>'


def _y_tick(x0: float, x1: float, py: float, value: float) -> str:
    line = f'<line class="grid" x1="{x0}" x2="{x1}" y1="{py:.1f}" y2="{py:.1f}"/>'
    return line + svg_text(x0 - 8, py + 4, _short(value), "tick end")


def svg_text(x: float, y: float, text: str, style: str, rotate: float = 0) -> str:
    """A <text> element; `rotate` is in degrees around its place."""
    turn = f' transform="rotate({rotate} {x:.1f} {y:.1f})"' if rotate else ""
    return f'<text class="{style}" x="{x:.1f}" y="{y:.1f}"{turn}>{escape(text)}</text>'


def svg(width: float, height: float, parts: Sequence[str], label: str) -> str:
    """An <svg> element of `parts`, with a `label` for readers who do not see it."""
    return f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}">{"".join(parts)}</svg>'


def round_ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Round numbers that enclose [low, high], about `wanted` of them."""
    raw = max(high - low, 1e-9) / wanted
    power = 10.0 ** math.floor(math.log10(raw))
    spacing = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * (1 - 1e-9))
    first, last = math.floor(low / spacing + 1e-9), math.ceil(high / spacing - 1e-9)
    return [number * spacing for number in range(first, max(last, first + 1) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    """Numbers 1, 2, 5 times powers of ten that enclose [low, high], thinned to at most seven."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [factor * 10.0**power for power in powers for factor in (1, 2, 5)]
    first = max((t for t in ticks if t <= low * (1 + 1e-9)), default=ticks[0])
    last = min((t for t in ticks if t >= high * (1 - 1e-9)), default=ticks[-1])
    kept = [t for t in ticks if first <= t <= last]
    if len(kept) > 7:
        kept = [t for t in kept if t in (first, last) or f"{t:e}".startswith("1")]
    return kept if len(kept) > 1 else [first, first * 10]


def _short(value: float) -> str:
    if abs(value) >= 1000:
        return f"{value / 1000:g}k"
    return f"{round(value, 10):g}"
