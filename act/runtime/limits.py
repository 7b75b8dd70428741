"""What may go to a robot: how far a target may be from the last one, and the guard that holds back everything else."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from act.runtime.checks import NUMBERS, finite_in_float32
from act.types import CONTROL_TIMESTEP, JOINT_NAMES, SIDES

# While control changes hands, targets move no faster than this per control step.
MAX_ARM_STEP = 0.06  # [rad]: what the servos of a ViperX reach (3.1 rad/s without a load, at 12 V)
MAX_GRIPPER_STEP = 0.2  # of a gripper's opening
# What goes to a robot moves no faster than the targets of the experts in their tasks: 0.13 rad at most, in 48 episodes.
EXPERT_ARM_STEP = 0.15  # [rad]
EXPERT_GRIPPER_STEP = 1.0  # experts open and close a gripper within one control step, and its servo follows as it can
ARM = len(JOINT_NAMES) // len(SIDES)  # numbers of one arm: six joints and a gripper
# [control steps at full speed] that a target may be ahead of the last one: 2.1 rad. Within 100 control steps, the
# longest chunk, the experts' targets go 1.98 rad at most (13.2 such steps; 36 episodes of six tasks).
CATCH_UP = 14


def grippers(width: int) -> list[int]:
    """Indices of the grippers in qpos and action: the last number of each arm, where whole arms are all there is."""
    return list(range(ARM - 1, width, ARM)) if width % ARM == 0 else []


def default_max_step(width: int, arm: float = EXPERT_ARM_STEP, gripper: float = EXPERT_GRIPPER_STEP) -> np.ndarray:
    """The limits per control step (A,) of a robot that declares none: `arm` [rad] of joints, `gripper` of grippers."""
    limits = np.full(width, arm, np.float32)
    limits[grippers(width)] = gripper
    return limits


def towards(last: np.ndarray, action: np.ndarray, max_step: np.ndarray | None = None) -> np.ndarray:
    """The action (A,), limited to `max_step` (A,) around the last one: MAX_ARM_STEP and MAX_GRIPPER_STEP when None."""
    limits = default_max_step(len(action), MAX_ARM_STEP, MAX_GRIPPER_STEP) if max_step is None else max_step
    return np.where(np.abs(action - last) <= limits, action, last + np.clip(action - last, -limits, limits))


def resting(qpos: np.ndarray, width: int) -> np.ndarray:
    """The target (A,) that holds a robot where it is: its qpos, and zeros for further numbers, e.g. a base's speeds."""
    if len(qpos) > width:
        raise ValueError(f"qpos has {len(qpos)} numbers, an action only {width}: nobody can say how to hold the rest")
    return np.concatenate([qpos, np.zeros(width - len(qpos))]).astype(np.float32)


class TargetGuard:
    """Decides what is sent to a robot: a target near the last one, or else the last one again.

    A target that is not finite, not of the robot's width, or more than CATCH_UP control steps at full speed away is
    held back. A target less far away is approached by no more than `max_step` (A,) per control step, because a chunk
    that comes late begins ahead of the robot, which has held its last target. CATCH_UP is so large that no late answer
    is held back whose targets go as far as those of the experts: with 4 instead, the robot would never have followed
    again after 6 % of answers that came 30 control steps late, and after 17 % of those 60 late.

    `held` and `limited` list the control steps of the episode in which that happened; `say` gets one sentence about the
    first target of each kind.
    """

    def __init__(self, max_step: np.ndarray, say: Callable[[str], None]):
        self.max_step, self.say = max_step, say
        self.start(np.zeros(len(max_step)))

    def start(self, qpos: np.ndarray) -> None:
        """An episode begins, and the robot rests at `qpos`."""
        self.last = resting(qpos, len(self.max_step))
        self.held: list[int] = []
        self.limited: list[int] = []
        self._said_held = False

    def hold(self, t: int) -> np.ndarray:
        """The last target (A,) again, for control step t."""
        self.held.append(t)
        return self.last.copy()  # a robot may write into what it gets

    def target(self, t: int, action: Any) -> np.ndarray:
        """What to send at control step t when an agent wants this action, (A,) float32."""
        fault = self._fault(action)
        if fault:
            if not self._said_held:
                self.say(f"control step {t}: {fault}; the robot holds its last target")
            self._said_held = True
            return self.hold(t)
        action = np.asarray(action, np.float32)
        near = towards(self.last, action, self.max_step)
        if not np.array_equal(near, action):
            if not self.limited:
                self.say(f"control step {t}: {self._distance(action)}, so the robot follows as fast as it may")
            self.limited.append(t)
        self.last = near
        return near.copy()

    def _fault(self, action: Any) -> str:
        """Why an action must not be sent; "" if it may."""
        values, width = np.asarray(action), len(self.max_step)
        if values.shape != (width,) or values.dtype.kind not in NUMBERS:
            return f"the agent's action has shape {values.shape} and type {values.dtype}, expected ({width},) float32"
        finite = finite_in_float32(values)
        if not finite.all():
            joint = int(np.flatnonzero(~finite)[0])
            return f"the agent's action has {values[joint]} for joint {joint}"
        too_far = np.abs(values - self.last) > CATCH_UP * self.max_step
        return f"{self._distance(values)}, which is too far to follow" if too_far.any() else ""

    def _distance(self, action: np.ndarray) -> str:
        ahead = np.abs(action - self.last)
        joint = int(np.argmax(ahead / self.max_step))
        return (
            f"the agent's target of joint {joint} is {ahead[joint]:.3g} from the last one "
            f"(at most {self.max_step[joint]:.3g} per control step of {CONTROL_TIMESTEP} s)"
        )


def declared_max_step(declared: Sequence[float] | float | None, qpos: np.ndarray) -> np.ndarray:
    """The limits per control step (A,) of a robot: one number for all of qpos, or one for each number of an action.

    Raises ValueError unless all are positive.
    """
    if declared is None:
        return default_max_step(len(qpos))
    limits = np.asarray(declared, np.float32)
    limits = np.full(len(qpos), limits) if limits.ndim == 0 else limits
    if limits.ndim != 1 or not len(limits) or not (limits > 0).all():
        raise ValueError(f"the robot's max_step is {declared}: it must be positive, one number or one per joint")
    return limits
