"""Defines the two arms: joint order, gripper units, limits, and the conversion of qpos, qvel, action and ctrl.

qpos, qvel and action are 14 numbers: left 6 joints [rad], left gripper [0 closed, 1 open], right 6, right gripper.
MuJoCo's actuators take 16 numbers (two mirrored fingers per hand), called `ctrl`; only this file uses them.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

SIDES = ("left", "right")
ARM_JOINTS = ("waist", "shoulder", "elbow", "forearm_roll", "wrist_angle", "wrist_rotate")
FINGERS = {side: (f"{side}/left_finger", f"{side}/right_finger") for side in SIDES}  # geoms and joints alike
ACTION_DIM = 14


@dataclass(frozen=True)
class Gripper:
    """Converts a finger's slide [m] to an opening [0 closed, 1 open] and back.

    The constants are those of the follower gripper of the original code (github.com/tonyzhaozh/act).

    The pads meet at a slide of 0.0224 m, so a closed hand reads 0.10; a 40 mm cube between them reads 0.61.
    """

    closed: float = 0.01844  # [m]
    open: float = 0.05800  # [m]

    @property
    def span(self) -> float:
        return self.open - self.closed

    def opening(self, slide: Any) -> Any:
        """Returns the opening(s) of slide(s) [m]."""
        return (slide - self.closed) / self.span

    def slide(self, opening: Any) -> Any:
        """Returns the slide(s) [m] of opening(s)."""
        return self.closed + opening * self.span


GRIPPER = Gripper()


class Robot:
    """Reads and writes the joints of both arms in a compiled scene (a MuJoCo or dm_control MjModel and its MjData)."""

    def __init__(self, model: Any):
        joints = [[f"{side}/{joint}" for joint in (*ARM_JOINTS, "left_finger")] for side in SIDES]
        names = joints[0] + joints[1]
        ids = [model.joint(name).id for name in names]
        self._qpos_adr = np.array([model.jnt_qposadr[i] for i in ids])
        self._dof_adr = np.array([model.jnt_dofadr[i] for i in ids])
        fingers = np.array([model.jnt_qposadr[model.joint(f"{side}/right_finger").id] for side in SIDES])
        self._right_finger_adr = fingers
        self._gripper = np.array([6, 13])
        order = [f"{side}/{joint}" for side in SIDES for joint in (*ARM_JOINTS, "left_finger", "right_finger")]
        self._ctrl_adr = np.array([model.actuator(name).id for name in order])
        limits = np.array([model.jnt_range[i] for i in ids], dtype=np.float64)
        limits[self._gripper] = (0.0, 1.0)
        self.limits = limits  # (14, 2) [rad], grippers 0 to 1

    def qpos(self, data: Any) -> np.ndarray:
        """Returns qpos (14,) float32 [rad], grippers [0 closed, 1 open]; a gripper is read from its left finger."""
        qpos = np.array(data.qpos[self._qpos_adr], dtype=np.float64)
        qpos[self._gripper] = GRIPPER.opening(qpos[self._gripper])
        return qpos.astype(np.float32)

    def qvel(self, data: Any) -> np.ndarray:
        """Returns qvel (14,) float32 [rad/s], grippers [1/s]."""
        qvel = np.array(data.qvel[self._dof_adr], dtype=np.float64)
        qvel[self._gripper] /= GRIPPER.span
        return qvel.astype(np.float32)

    def set_qpos(self, data: Any, qpos: np.ndarray) -> None:
        """Sets the joints to qpos (14,); the fingers of a hand mirror each other. Call mj_forward afterwards."""
        full = np.array(qpos, dtype=np.float64)
        full[self._gripper] = GRIPPER.slide(full[self._gripper])
        data.qpos[self._qpos_adr] = full
        data.qpos[self._right_finger_adr] = -full[self._gripper]

    def clip(self, action: np.ndarray) -> np.ndarray:
        """Returns targets (14,) clipped to the joint limits."""
        return np.clip(action, self.limits[:, 0], self.limits[:, 1])

    def to_ctrl(self, action: np.ndarray) -> np.ndarray:
        """Returns actuator targets (16,) of an action (14,), in the order of the model's actuators."""
        ctrl = np.empty(len(self._ctrl_adr))
        slide = GRIPPER.slide(np.asarray(action, dtype=np.float64)[self._gripper])
        for k in range(len(SIDES)):
            arm = np.asarray(action[7 * k : 7 * k + 6], dtype=np.float64)
            ctrl[self._ctrl_adr[8 * k : 8 * k + 8]] = np.concatenate([arm, [slide[k], -slide[k]]])
        return ctrl
