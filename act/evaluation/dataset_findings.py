"""Judges a measured data set in plain sentences: what is good, what to look at, what to repair, and how."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from act.data.editing.folders import check_alike
from act.evaluation.dataset_statistics import DatasetStatistics, EpisodeStatistics

Level = Literal["bad", "look", "good"]
LONG_START, LONG_END, LONG_STOP = 1.0, 2.0, 1.0  # [s] of standing still that deserve a look
LARGEST_GAP = 0.35  # radius of the largest empty circle over the square root of the region's area
SAME_PLACE = 0.001  # [m]
SHORT_JUMP = 0.3  # [rad] 15 rad/s, faster than any joint of the arms moves
NAMED = 12  # episodes that a sentence names, at most


@dataclass(frozen=True)
class Finding:
    """One sentence about a data set, and the command that helps, if one does."""

    level: Level
    text: str
    command: str = ""


def find(data: DatasetStatistics, directory: Path) -> list[Finding]:
    """Returns what is to say about a data set, the worst first; `directory` is named by the commands."""
    checks = [_broken, _success, _lengths, _stillness, _smoothness, _labels, _cameras, _corrections]
    checks += [_alike, _coverage] * (len(data.episodes) > 1)
    found = [finding for check in checks for finding in check(data, directory)]
    return sorted(found, key=lambda finding: ("bad", "look", "good").index(finding.level))


def names(episodes: Iterable[EpisodeStatistics]) -> str:
    """Returns "episode 3", "episodes 3 and 7" or "episodes 0, 1, ... and 30 others", in the order of numbers."""
    numbers = [str(number) for number in sorted(episode.number for episode in episodes)]
    if len(numbers) == 1:
        return f"episode {numbers[0]}"
    if len(numbers) > NAMED:
        return f"episodes {', '.join(numbers[: NAMED - 1])} and {len(numbers) - NAMED + 1} others"
    return f"episodes {', '.join(numbers[:-1])} and {numbers[-1]}"


def _delete(directory: Path, episodes: Sequence[EpisodeStatistics]) -> str:
    numbers = " ".join(str(number) for number in sorted(episode.number for episode in episodes))
    return f"python -m act episodes delete {directory} {numbers} --out NEW"


def _broken(data: DatasetStatistics, directory: Path) -> Iterator[Finding]:
    repair = f"python -m act episodes repair {directory}"
    yield from (Finding("bad", f"A file cannot be read: {sentence}.", repair) for sentence in data.broken)


def _alike(data: DatasetStatistics, directory: Path) -> Iterator[Finding]:
    try:
        check_alike([episode.episode for episode in data.episodes])
    except ValueError as error:
        yield Finding("bad", f"The episodes are no data set for one policy: {error}.")
    else:
        yield Finding("good", "All episodes fit together: the same task, cameras and joints, and none stands twice.")


def _success(data: DatasetStatistics, directory: Path) -> Iterator[Finding]:
    failed = [episode for episode in data.episodes if episode.success is False]
    known = [episode for episode in data.episodes if episode.success is not None]
    corrected = any(episode.interventions is not None for episode in data.episodes)
    if failed and not corrected:
        text = (
            f"{names(failed).capitalize()} did not succeed; a policy that learns from them learns to fail as they do."
        )
        yield Finding("bad", text, _delete(directory, failed))
    elif known and not failed:
        what = "The episode ends" if len(data.episodes) == 1 else f"All {len(known)} episodes end"
        yield Finding("good", f"{what} in success.")
    if len(known) < len(data.episodes):
        n = len(data.episodes) - len(known)
        yield Finding(
            "look", f"{n} of {len(data.episodes)} files do not say whether the episode succeeded: watch them."
        )


def _lengths(data: DatasetStatistics, directory: Path) -> Iterator[Finding]:
    seconds = data.column("seconds")
    median = float(np.median(seconds))
    if odd := data.outliers("length", 25):
        span = f"from {seconds.min():.1f} to {seconds.max():.1f} s, while the median is {median:.1f} s"
        verb = "differs" if len(odd) == 1 else "differ"
        yield Finding("look", f"{names(odd).capitalize()} {verb} in length from the others: {span}.")
    else:
        same = seconds.min() == seconds.max()
        text = f"Every episode takes {median:.1f} s." if same else f"The lengths agree; the median is {median:.1f} s."
        yield Finding("good", text)


def _stillness(data: DatasetStatistics, directory: Path) -> Iterator[Finding]:
    trim = f"python -m act episodes trim {directory} --still_ends --out NEW"
    cases = (
        ("still_start", LONG_START, "before they begin to move; a policy may learn to stay there", trim),
        ("still_end", LONG_END, "at the end; nothing can be learned there", trim),
        ("still_within", LONG_STOP, "on the way; a policy that sees one observation may stop there for ever", ""),
    )
    found = False
    for name, most, what, command in cases:
        if long := [episode for episode in data.episodes if getattr(episode, name) > most]:
            worst = max(long, key=lambda episode: getattr(episode, name))
            longest = f"{getattr(worst, name):.1f} s in episode {worst.number}"
            text = f"In {names(long)} the arms stand still for more than {most:.0f} s {what} (longest: {longest})."
            yield Finding("look", text, command)
            found = True
    if not found:
        share = 100 * data.column("still").mean()
        yield Finding("good", f"The arms hardly stand still: during {share:.0f} % of the time, and never for long.")


def _smoothness(data: DatasetStatistics, directory: Path) -> Iterator[Finding]:
    jumps = [episode for episode in data.episodes if episode.jump > SHORT_JUMP]
    if jumps:
        worst = max(jumps, key=lambda episode: episode.jump)
        where = f"{worst.jump:.2f} rad at step {worst.jump_t} of episode {worst.number}"
        text = f"The targets jump in {names(jumps)}: by {where}. Was a message lost, or the robot moved by hand?"
        yield Finding("bad", text)
    median = float(np.median(data.column("jerk")))
    odd = [episode for episode in data.outliers("jerk") if episode.jerk > median and episode not in jumps]
    if odd:
        times = f"{odd[0].jerk / max(median, 1e-9):.1f} times the median in episode {odd[0].number}"
        yield Finding("look", f"The arms move more jerkily in {names(odd)}: up to {times}.")
    elif not jumps:
        yield Finding("good", "No episode is much jerkier than the others, and no target jumps.")


def _labels(data: DatasetStatistics, directory: Path) -> Iterator[Finding]:
    if copied := [episode for episode in data.episodes if episode.copied]:
        text = "the actions are the measured joints, so a policy learns to stay where it is; record the targets"
        yield Finding("bad", f"In {names(copied)} {text}.")


def _cameras(data: DatasetStatistics, directory: Path) -> Iterator[Finding]:
    for attribute, what in (("stuck", "shows the same image while the arms move"), ("dark", "shows nothing")):
        cameras = {camera for episode in data.episodes for camera in getattr(episode, attribute)}
        for camera in sorted(cameras):
            concerned = [episode for episode in data.episodes if camera in getattr(episode, attribute)]
            yield Finding("bad", f"Camera {camera} {what} in {names(concerned)}.", _delete(directory, concerned))


def _coverage(data: DatasetStatistics, directory: Path) -> Iterator[Finding]:
    for index in range(data.objects):
        starts = np.array([episode.starts[index] for episode in data.episodes])
        name = "The object" if data.objects == 1 else f"Object {index + 1}"
        size = np.ptp(starts, axis=0)
        if max(size) < SAME_PLACE:
            yield Finding("look", f"{name} starts at the same place in all episodes; a policy learns only this place.")
            continue
        radius, (x, y) = largest_gap(starts)
        text = f"{name} starts anywhere in {100 * size[0]:.0f} x {100 * size[1]:.0f} cm; "
        text += f"the largest gap has a radius of {100 * radius:.1f} cm, around ({x:.2f}, {y:.2f}) m"
        wide = len(starts) < 5 or radius > LARGEST_GAP * float(np.sqrt(max(size[0] * size[1], 1e-9)))
        yield Finding("look" if wide else "good", f"{text}{': record some starts there' if wide else ''}.")
    together = [(episode, np.concatenate(episode.starts)) for episode in data.episodes if len(episode.starts)]
    for position, (episode, start) in enumerate(together):
        for other, beside in together[:position]:
            if len(start) == len(beside) and np.abs(start - beside).max() < SAME_PLACE and data.objects:
                yield Finding("look", f"{names([episode, other]).capitalize()} start alike, within 1 mm.")


def largest_gap(points: np.ndarray, cells: int = 60) -> tuple[float, tuple[float, float]]:
    """Returns the radius and the centre of the largest circle without a point, centred in the box around them [m]."""
    axes = [np.linspace(low, high, cells) for low, high in zip(points.min(0), points.max(0), strict=True)]
    grid = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 2)
    nearest = np.linalg.norm(grid[:, None] - points[None], axis=-1).min(axis=1)
    best = int(nearest.argmax())
    return float(nearest[best]), (float(grid[best, 0]), float(grid[best, 1]))


def _corrections(data: DatasetStatistics, directory: Path) -> Iterator[Finding]:
    shares = [episode.interventions for episode in data.episodes if episode.interventions is not None]
    if shares:
        text = f"Somebody corrected a policy in {len(shares)} episodes, and drove {100 * np.mean(shares):.0f} % of them"
        idle = sum(share == 0 for share in shares)
        yield Finding("good", f"{text}; in {idle} they never had to.")
