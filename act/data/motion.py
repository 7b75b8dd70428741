"""Measures how the arms move in an episode: where they stand still, and how jerky their targets are."""

from dataclasses import dataclass

import numpy as np

from act.data.episodes import Episode
from act.types import CONTROL_TIMESTEP

STILL_RANGE = 0.01  # [rad] what a joint may move in a window that counts as still; encoders have steps of 0.0015
STILL_WINDOW = 25  # control steps, half a second


@dataclass(frozen=True)
class Stillness:
    """Which control steps of an episode are still; `start` and `stop` enclose all steps in which something moves."""

    still: np.ndarray  # (T,) bool
    start: int
    stop: int  # start = stop = 0 for an episode without any motion


def find_stillness(episode: Episode) -> Stillness:
    """Returns where no joint, measured or commanded, moves by more than `STILL_RANGE` within `STILL_WINDOW` steps.

    Grippers, from 0 to 1, count with the same range.
    """
    motion = np.concatenate([episode.qpos, executed_action(episode)], axis=1)
    window = min(STILL_WINDOW, len(motion))
    windows = np.lib.stride_tricks.sliding_window_view(motion, window, axis=0)  # (T - window + 1, joints, window)
    calm = (windows.max(axis=-1) - windows.min(axis=-1) <= STILL_RANGE).all(axis=-1)
    covered = np.convolve(calm.astype(int), np.ones(window, int))  # how many still windows hold each step
    moving = np.flatnonzero(covered == 0)
    start, stop = (int(moving[0]), int(moving[-1]) + 1) if len(moving) else (0, 0)
    return Stillness(covered > 0, start, stop)


def executed_action(episode: Episode) -> np.ndarray:
    """Returns the targets that were sent to the robot, (T, A): where a policy took part, /action is only a label."""
    return episode.action if episode.executed_action is None else episode.executed_action


def jerk(targets: np.ndarray, joints: np.ndarray) -> float:
    """Returns the root mean square of the third derivative of targets (T, A) at `joints` [rad/s^3]; 0 below 4 steps."""
    third = np.diff(targets[:, joints].astype(float), 3, axis=0) / CONTROL_TIMESTEP**3
    return float(np.sqrt(np.mean(third**2))) if third.size else 0.0


def largest_jump(targets: np.ndarray, joints: np.ndarray) -> tuple[float, int]:
    """Returns the largest change of a target between two control steps [rad], and the later of the two."""
    steps = np.abs(np.diff(targets[:, joints].astype(float), axis=0))
    if not steps.size:
        return 0.0, 0
    t = int(steps.max(axis=1).argmax())
    return float(steps[t].max()), t + 1
