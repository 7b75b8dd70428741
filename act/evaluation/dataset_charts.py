"""The charts of a page about a data set: one measurement of all episodes, and the joints of one episode."""

from collections.abc import Sequence
from html import escape

import numpy as np

from act.data.motion import executed_action
from act.evaluation.charts import round_ticks, svg, svg_text
from act.evaluation.dataset_statistics import EpisodeStatistics, control_timestep
from act.evaluation.policy_chunks import Chunks
from act.types import JOINT_NAMES

POINTS = 90  # of a curve; more would not be seen
PANEL, GAP, TOP = (140, 74), 8, 18  # width and height of a joint's panel, space between panels, height of its title
COLUMNS = 7


def dot_strip(episodes: Sequence[EpisodeStatistics], values: Sequence[float], label: str, odd: set[int]) -> str:
    """One dot per episode on a line; those whose numbers are in `odd` are marked and named."""
    width, height, left, right, y = 520, 104, 22, 22, 46
    apart = max(values) - min(values) or 0.2 * abs(max(values)) or 1.0
    marks = round_ticks(min(values), max(values), 4) if max(values) > min(values) else [min(values)]
    low, high = (marks[0], marks[-1]) if len(marks) > 1 else (marks[0] - apart, marks[0] + apart)

    def px(value: float) -> float:
        return left + (value - low) / max(high - low, 1e-12) * (width - left - right)

    parts = [f'<line class="rail" x1="{left}" x2="{width - right}" y1="{y}" y2="{y}"/>']
    parts += [svg_text(px(mark), y + 28, f"{round(mark, 10):g}", "tick middle") for mark in marks]
    parts.append(svg_text(width / 2, height - 6, label, "axis middle"))
    for episode, value in sorted(zip(episodes, values, strict=True), key=lambda pair: pair[0].number in odd):
        style, radius = ("odd", 7) if episode.number in odd else ("even", 5)
        title = f"<title>episode {episode.number}: {value:.3g}</title>"
        parts.append(f'<circle class="{style}" cx="{px(value):.1f}" cy="{y}" r="{radius}">{title}</circle>')
    parts += _odd_labels([(px(v), e.number) for e, v in zip(episodes, values, strict=True) if e.number in odd], y)
    return svg(width, height, parts, f"{label} of every episode")


def _odd_labels(marked: Sequence[tuple[float, int]], y: float) -> list[str]:
    """Numbers above marked dots; where two would overlap, the second one is left out."""
    labels, free = [], -1e9
    for x, number in sorted(marked):
        if x > free:
            labels.append(svg_text(x, y - 16, str(number), "tick middle"))
            free = x + 24
    return labels


def joint_curves(measured: EpisodeStatistics, chunks: Chunks | None = None) -> str:
    """Every joint of an episode over time: measured (c0) and commanded (c1), in panels of their own scale.

    Corrected steps are shaded, and a tick at the bottom marks each stage when it was reached first. `chunks` of a
    policy are drawn from the control step of its query on (c2).
    """
    episode, seconds = measured.episode, measured.seconds
    targets = executed_action(episode)
    width = targets.shape[1]
    rows = -(-width // COLUMNS)
    size = COLUMNS * (PANEL[0] + GAP), rows * (PANEL[1] + TOP + GAP)
    at = np.unique(np.linspace(0, len(episode) - 1, min(POINTS, len(episode))).astype(int))
    parts: list[str] = []
    for joint in range(width):
        x, y = (joint % COLUMNS) * (PANEL[0] + GAP), (joint // COLUMNS) * (PANEL[1] + TOP + GAP)
        measurements = episode.qpos[:, joint] if joint < episode.qpos.shape[1] else targets[:, joint]
        both = measurements[at], targets[at, joint]
        answers = {t: chunk[: len(episode) - t, joint] for t, chunk in (chunks or {}).items()}
        low, high = (float(f([f(values) for values in (*both, *answers.values())])) for f in (np.min, np.max))
        parts.append(svg_text(x + 2, y + 12, _joint(joint, width), "tick"))
        parts.append(f'<g transform="translate({x} {y + TOP})">{_background(measured)}')
        end = max(len(episode) - 1, 1)
        parts += [_curve((t + np.arange(len(v))) / end, v, low, high, 2) for t, v in answers.items()]
        parts += [_curve(at / end, v, low, high, n) for n, v in reversed([*enumerate(both)])]
        parts += [
            svg_text(PANEL[0] - 3, at_y, f"{v:.2f}", "tick end small") for v, at_y in ((high, 11), (low, PANEL[1] - 3))
        ]
        parts.append("</g>")
    return svg(*size, parts, f"joints of episode {measured.number} over {seconds:.1f} s")


def _joint(number: int, width: int) -> str:
    return (
        JOINT_NAMES[number].replace("/", " ").replace("_", " ")
        if width >= len(JOINT_NAMES) > number
        else f"joint {number}"
    )


def _background(measured: EpisodeStatistics) -> str:
    """The frame of a panel, corrected steps, and stages."""
    episode, (width, height) = measured.episode, PANEL
    parts = [f'<rect class="panel" width="{width}" height="{height}" rx="4"/>']
    if episode.intervention is not None:
        edges = np.flatnonzero(np.diff(np.concatenate([[False], episode.intervention, [False]]).astype(int)))
        for start, stop in zip(edges[::2] / len(episode), edges[1::2] / len(episode), strict=True):
            span = f'x="{width * start:.1f}" width="{width * (stop - start):.1f}"'
            parts.append(f'<rect class="corrected" {span} height="{height}"/>')
    parts += [f'<path class="mark" d="M{width * t:.1f} {height}v-7"/>' for t in _stage_times(measured)]
    return "".join(parts)


def _stage_times(measured: EpisodeStatistics) -> list[float]:
    """When each stage was reached first, as a share of the episode."""
    reward = measured.episode.reward
    if reward is None or reward.max(initial=0) > 20:
        return []
    stages = range(1, int(reward.max(initial=0)) + 1)
    return [float(np.argmax(reward >= stage)) / len(reward) for stage in stages]


def _curve(shares: np.ndarray, values: np.ndarray, low: float, high: float, colour: int) -> str:
    width, height = PANEL
    ys = height - 4 - (values - low) / max(high - low, 0.02) * (height - 8)
    points = " ".join(f"{width * x:.0f} {y:.1f}" for x, y in zip(shares, ys, strict=True))
    return f'<path class="line c{colour}" d="M{points}"/>'


def duration(seconds: float) -> str:
    """Returns "42 s" or "6.7 min"."""
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.1f} min"


def caption(measured: EpisodeStatistics) -> str:
    """Returns the facts about one episode, HTML."""
    success = {
        True: '<i class="good"></i>success',
        False: '<i class="bad"></i>no success',
        None: "<i></i>success not said",
    }
    facts = [f"{measured.length} steps", f"{measured.seconds:.1f} s", f"still {100 * measured.still:.0f} %"]
    facts += [f"jerk {measured.jerk:.0f} rad/s³", f"largest step {measured.jump:.2f} rad"]
    if measured.interventions is not None:
        facts.append(f"corrected {100 * measured.interventions:.0f} %")
    rate = 1 / control_timestep(measured.episode)
    facts += [f"{rate:.0f} Hz"] if round(rate) != 50 else []
    return f"{success[measured.success]} · {escape(' · '.join(facts))}"
