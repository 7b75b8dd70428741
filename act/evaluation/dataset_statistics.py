"""Measures a data set, episode by episode: lengths, standing still, jerk, starts of objects, cameras that are stuck.

data = measure(find_episodes("data/cube"))
print(len(data.episodes), np.median(data.column("jerk")))
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from act.data.episodes import Episode, episode_index, read_episode
from act.data.motion import executed_action, find_stillness, jerk, largest_jump
from act.types import CONTROL_TIMESTEP, GRIPPERS

FRAMES = 8  # per episode and camera, that are looked at and shown
OUTLIER = 3.5  # modified z-score (Iglewicz and Hoaglin 1993) beyond which a value is an outlier
LEAST_SPREAD = 0.1  # of the median: smaller differences are no outliers, however much the others agree
DARK = 8.0  # mean brightness of an image, of 255


@dataclass(frozen=True, eq=False)  # arrays have no single truth value
class EpisodeStatistics:
    """What is measured in one episode; times are in seconds, angles in radians."""

    episode: Episode
    number: int
    length: int  # control steps
    still: float  # share of the control steps, 0 to 1
    still_start: float
    still_end: float
    still_within: float  # the longest stop between the two ends
    jerk: float  # root mean square of the commanded arm joints [rad/s^3]
    jump: float  # the largest change of a commanded arm joint within one control step
    jump_t: int
    interventions: float | None  # share of the control steps; None where no policy took part
    starts: np.ndarray  # (objects, 2): x and y of each object at the start [m]
    copied: bool  # the actions are the measured joints
    stuck: tuple[str, ...]  # cameras that show the same image again and again while the arms move
    dark: tuple[str, ...]  # cameras that show nothing

    @property
    def seconds(self) -> float:
        return self.length * control_timestep(self.episode)

    @property
    def success(self) -> bool | None:
        """Whether the file says that the result holds at the end, or was reached; None where it says nothing."""
        found = [self.episode.attrs.get(name) for name in ("strict_success", "success")]
        return next((bool(value) for value in found if value is not None), None)


@dataclass(frozen=True)
class DatasetStatistics:
    """A measured data set. `broken` are sentences about files that cannot be read."""

    episodes: tuple[EpisodeStatistics, ...]
    broken: tuple[str, ...] = ()

    def column(self, name: str) -> np.ndarray:
        """Returns a measurement of all episodes, e.g. "jerk"."""
        return np.array([getattr(episode, name) for episode in self.episodes], float)

    def outliers(self, name: str, least: float = 0.0) -> list[EpisodeStatistics]:
        """Returns the episodes whose measurement is far from the others', and further than `least`; the worst first."""
        values = self.column(name)
        scores = outlier_scores(values, least)
        return [self.episodes[i] for i in np.argsort(-np.abs(scores), kind="stable") if abs(scores[i]) > OUTLIER]

    @cached_property
    def remarkable(self) -> list[EpisodeStatistics]:
        """Returns the episodes that differ from the others in length, stillness or jerk, each once."""
        named = [e for name, least in REMARKABLE for e in self.outliers(name, least)]
        return list({episode.number: episode for episode in named}.values())

    @property
    def objects(self) -> int:
        """Returns how many objects every episode knows the start of."""
        return min((len(episode.starts) for episode in self.episodes), default=0)

    def values(self, name: str) -> list[Any]:
        """Returns the different values of an attribute of the files, in the order in which they appear."""
        found = [episode.episode.attrs.get(name) for episode in self.episodes]
        return list({repr(value): value for value in found}.values())


REMARKABLE = (("length", 25.0), ("still", 0.1), ("jerk", 0.0), ("jump", 0.02))  # and the least difference that counts


def outlier_scores(values: np.ndarray, least: float = 0.0) -> np.ndarray:
    """Returns modified z-scores: distances from the median over the median absolute deviation.

    The deviation counts as at least `LEAST_SPREAD` of the median, and as so much that a distance of `least` is no
    outlier, because episodes that agree in all digits would make every other one an outlier. Fewer than five values
    have no outliers.
    """
    if len(values) < 5:
        return np.zeros(len(values))
    distance = values - np.median(values)
    deviation = max(float(np.median(np.abs(distance))), LEAST_SPREAD * abs(float(np.median(values))) / OUTLIER)
    return 0.6745 * distance / max(deviation, 0.6745 * least / OUTLIER, 1e-12)


# --------------------------------------------------------------------------------------------------------- measuring
def measure(paths: Sequence[Path]) -> DatasetStatistics:
    """Measures the episodes of these files; a file that cannot be read becomes a sentence in `broken`."""
    episodes, broken = [], []
    for path in paths:
        try:
            episodes.append(measure_episode(read_episode(path)))
        except ValueError as error:
            broken.append(str(error))
    return DatasetStatistics(tuple(episodes), tuple(broken))


def measure_episode(episode: Episode) -> EpisodeStatistics:
    """Measures one episode. Raises ValueError for images that cannot be read."""
    targets, arms = executed_action(episode), arm_joints(episode)
    stillness, dt = find_stillness(episode), control_timestep(episode)
    jump, jump_t = largest_jump(targets, arms)
    inner = stillness.still[stillness.start : stillness.stop]
    stuck, dark = _bad_cameras(episode)
    return EpisodeStatistics(
        episode,
        _number(episode.path),
        len(episode),
        still=float(stillness.still.mean()),
        still_start=dt * (stillness.start if stillness.stop else len(episode)),
        still_end=dt * (len(episode) - stillness.stop if stillness.stop else 0),
        still_within=dt * _longest_run(inner),
        jerk=jerk(targets, arms),
        jump=jump,
        jump_t=jump_t,
        interventions=None if episode.intervention is None else float(episode.intervention.mean()),
        starts=_starts(episode),
        copied=np.array_equal(episode.action, episode.qpos),
        stuck=stuck,
        dark=dark,
    )


def arm_joints(episode: Episode) -> np.ndarray:
    """Returns the columns of the actions that are arm joints: all but the grippers, in episodes of two ALOHA arms."""
    width = episode.action.shape[1]
    return np.array([i for i in range(width) if i not in GRIPPERS or width < 14])


def control_timestep(episode: Episode) -> float:
    """Returns the seconds of one control step; 0.02 where the file says nothing, as in files of the original code."""
    value = episode.attrs.get("control_timestep", CONTROL_TIMESTEP)
    return float(value) if isinstance(value, int | float) and value > 0 else CONTROL_TIMESTEP


def frame_steps(length: int, frames: int = FRAMES) -> list[int]:
    """Returns control steps from the first to the last one, evenly spaced, each once."""
    return sorted({round(t) for t in np.linspace(0, length - 1, min(frames, length))})


def _number(path: Path) -> int:
    try:
        return episode_index(path)
    except ValueError:
        return 0  # a single file of another name


def _starts(episode: Episode) -> np.ndarray:
    poses = None if episode.env_state is None else episode.env_state[0]
    if poses is None or len(poses) % 7:
        return np.empty((0, 2))
    return poses.reshape(-1, 7)[:, :2]


def _longest_run(flags: np.ndarray) -> int:
    """Returns the length of the longest run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(int)))
    return int((edges[1::2] - edges[::2]).max(initial=0))


def _bad_cameras(episode: Episode) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Returns the cameras that repeat an image while the arms move, and those that are dark in every frame."""
    if not episode.compressed:
        return (), ()
    steps = frame_steps(len(episode))
    frames = [episode.encoded(t) for t in steps]
    moved = [np.abs(episode.qpos[b] - episode.qpos[a]).max() > 0.1 for a, b in pairwise(steps)]
    stuck, dark = [], []
    for camera in episode.cameras:
        shown = [frame[camera] for frame in frames]
        if all(_brightness(data) < DARK for data in shown):
            dark.append(camera)
        elif any(a == b and moves for (a, b), moves in zip(pairwise(shown), moved, strict=True)):
            stuck.append(camera)
    return tuple(stuck), tuple(dark)


def _brightness(data: bytes) -> float:
    """Returns the mean of an image at an eighth of its size, 0 to 255; 255 for what cannot be decoded."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_REDUCED_GRAYSCALE_8)
    return 255.0 if image is None else float(image.mean())
