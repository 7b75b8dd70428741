"""The control core of teleoperation, without any web: wanted hand poses and gripper openings in, joint targets out.

The caller passes the time [s, of any monotonic clock], so that tests need not wait.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from sim_envs.experts.expert import SPEED, Goal, step
from sim_envs.kinematics import Kinematics, Pose, pose_of
from sim_envs.robot import SIDES

WORKSPACE = np.array([[-0.4, 0.4], [0.2, 0.85], [0.015, 0.5]])  # x, y, z of a hand [m]
FAR = 2.0  # [m] largest coordinate of a wanted position; anything beyond is refused as nonsense
GRIPS = {"left": 6, "right": 13}  # indices of the grippers in qpos and action


@dataclass(frozen=True)
class Limits:
    """What a hand may do at most. It turns at no more than `TURNING` [rad/s] of `experts.expert`."""

    speed: float = SPEED  # [m/s] of a hand
    joint_speed: float = 2.0  # times the experts' joint speeds; at 1, a hand that moves sideways takes seconds to turn
    silence: float = 0.2  # [s] without a sign of life after which the arms hold still
    release: float = 1.0  # [s] without a sign of life after which the clutch is released, too


def checked_pose(position: Iterable[float], wxyz: Iterable[float]) -> Pose:
    """The pose that a browser sent as seven numbers; ValueError, which names the value, if they are no pose."""
    try:
        numbers = np.array([*position, *wxyz], np.float64)
    except (TypeError, ValueError):
        numbers = np.empty(0)
    if numbers.shape != (7,) or not np.all(np.isfinite(numbers)):
        raise ValueError(f"position {position!r:.80}, wxyz {wxyz!r:.80} are not seven finite numbers")
    if np.max(np.abs(numbers[:3])) > FAR:
        raise ValueError(f"position {numbers[:3].tolist()} is more than {FAR} m away")
    if not 0.9 < np.linalg.norm(numbers[3:]) < 1.1:
        raise ValueError(f"wxyz {numbers[3:].tolist()} is not a unit quaternion")
    return pose_of(numbers)


def checked_opening(opening: float) -> float:
    """The gripper opening [0 closed, 1 open] that a browser sent; ValueError if it is none."""
    if isinstance(opening, bool) or not isinstance(opening, int | float) or not 0 <= opening <= 1:
        raise ValueError(f"gripper opening {opening!r:.80} is not a number from 0 to 1")
    return float(opening)


class Operator:
    """Moves both hands towards wanted poses while the clutch is engaged and the page is alive; else holds still.

    While the clutch is released, the wanted poses follow the hands, so that engaging it never makes them jump.
    """

    def __init__(self, kinematics: Kinematics | None = None, limits: Limits | None = None):
        self.limits = limits or Limits()
        self.engaged = False
        self.openings: dict[str, float] = dict.fromkeys(SIDES, 0.0)  # commanded
        self._kinematics = kinematics or Kinematics()
        self._goals: dict[str, Pose] = {}
        self._hold: np.ndarray | None = None  # (14,) action that keeps the arms where they stopped
        self._heard = -np.inf  # [s] time of the last sign of life
        self._excused = 0.0  # [s] of silence since then that does not count

    # -- what the operator does ---------------------------------------------------------------------------------------

    def hear(self, now: float) -> None:
        """A sign of life: the page has answered."""
        self._heard, self._excused = now, 0.0

    def excuse(self, seconds: float) -> None:
        """Does not count a time in which the loop did not listen as silence; at most `Limits.silence` in a row."""
        seconds = min(seconds, self.limits.silence - self._excused)
        self._heard, self._excused = self._heard + seconds, self._excused + seconds

    def engage(self, qpos: np.ndarray, now: float) -> None:
        """Engages the clutch: from now on the hands follow `aim`, starting where they are."""
        if not self.engaged:
            self._goals, self.engaged = self._kinematics.hands(qpos), True
        self.hear(now)

    def release(self) -> None:
        """Releases the clutch: the arms hold still, the grippers keep their openings."""
        self.engaged = False

    def aim(self, side: str, pose: Pose, now: float) -> None:
        """Sets the wanted pose of a hand, limited to the workspace; ignored while the clutch is released."""
        if self.engaged:
            self._goals[side] = Pose(np.clip(pose.position, *WORKSPACE.T), pose.rotation)
        self.hear(now)

    def grip(self, side: str, opening: float, now: float) -> None:
        """Commands a gripper; works without the clutch, since it moves no arm."""
        self.openings[side] = opening
        self.hear(now)

    # -- what the arms do ---------------------------------------------------------------------------------------------

    def stand_by(self, action: np.ndarray) -> None:
        """Prepares to continue after `action` (14,); its gripper openings are kept, so that nothing is dropped."""
        self.release()
        self._hold = None
        self.openings = {side: float(action[place]) for side, place in GRIPS.items()}

    def present(self, now: float) -> bool:
        """Whether the last sign of life is recent."""
        return now - self._heard <= self.limits.silence

    def drives(self, now: float) -> bool:
        """Whether the hands follow the operator at this moment."""
        return self.engaged and self.present(now)

    def goals(self, qpos: np.ndarray) -> dict[str, Pose]:
        """Where to draw the gizmos: at the wanted poses, or at the hands while the clutch is released."""
        return dict(self._goals) if self.engaged else self._kinematics.hands(qpos)

    def action(self, qpos: np.ndarray, now: float) -> np.ndarray:
        """Joint targets (14,) float32 for this control step, from the measured qpos (14,)."""
        if now - self._heard > self.limits.release:
            self.release()
        if self.drives(now):
            self._hold = None
            action = self._follow(np.asarray(qpos, np.float64))
        else:
            if self._hold is None:
                self._hold = self._kinematics.targets(qpos, qpos)
            action = self._hold.copy()
        for side, place in GRIPS.items():
            action[place] = self.openings[side]
        return action.astype(np.float32)

    def _follow(self, qpos: np.ndarray) -> np.ndarray:
        """Joint targets (14,), one control step towards the wanted poses, within the limits."""
        hands = self._kinematics.hands(qpos)
        steps = {side: step(hands[side], Goal(self._goals[side], 0.0, self.limits.speed)) for side in SIDES}
        next_qpos = self._kinematics.solve(qpos, steps, iterations=1)
        return self._kinematics.targets(qpos, next_qpos, self.limits.joint_speed)
