"""Converts between hand poses of both arms and the 14 numbers of qpos and action.

A hand's pose is the pose of its tool centre point ("left/tcp", "right/tcp"): its origin is between the finger pads, x
points forward out of the hand, and the hand opens along y. The right arm and the frame of its hand are those of the
left arm, turned by 180 degrees about the vertical. MuJoCo computes forward kinematics; mink computes inverse kinematics
with a small quadratic program per iteration.
"""

from collections.abc import Mapping
from typing import NamedTuple

import mink
import mujoco
import numpy as np

from sim_envs.robot import ARM_JOINTS, SIDES, Robot
from sim_envs.task import ASSETS, quaternion_matrix

CONTROL_TIMESTEP = 0.02  # [s]
ORIENTATION_COST = 0.2  # [m/rad] an error of 1 rad counts as much as 0.2 m
MAX_SPEED = np.array([0.45, 0.45, 2.0, 3.0, 3.0, 3.0])  # [rad/s] largest joint speeds, for smooth motion
ARMS = (slice(0, 6), slice(7, 13))  # arm joints in qpos and action
JOINTS = [f"{side}/{joint}" for side in SIDES for joint in (*ARM_JOINTS, "left_finger")]
STRAIGHT = 0.3  # [rad] below this bend of the wrist the forearm could roll very fast, so its roll costs
ROLL_COST = 0.1  # cost of rolling the forearm while the wrist is straight
DAMPING = 1e-5  # of the quadratic program; it keeps joint steps small near singular postures


class Pose(NamedTuple):
    """The position (3,) [m] and rotation matrix (3, 3) of one frame in another. `a @ b` chains poses."""

    position: np.ndarray
    rotation: np.ndarray

    def __matmul__(self, other: "Pose") -> "Pose":
        return Pose(self.position + self.rotation @ other.position, self.rotation @ other.rotation)

    def inverse(self) -> "Pose":
        """Returns the pose of the other frame in this one."""
        return Pose(-self.rotation.T @ self.position, self.rotation.T)


def rotation_matrix(vector: np.ndarray) -> np.ndarray:
    """Returns the rotation matrix (3, 3) of a turn by |vector| [rad] about the direction of vector (3,)."""
    angle = float(np.linalg.norm(vector))
    quat, matrix = np.empty(4), np.empty(9)
    mujoco.mju_axisAngle2Quat(quat, np.asarray(vector, np.float64) / max(angle, 1e-12), angle)
    mujoco.mju_quat2Mat(matrix, quat)
    return matrix.reshape(3, 3)


def rotation_vector(matrix: np.ndarray) -> np.ndarray:
    """Returns axis times angle (3,) [rad] of a rotation matrix (3, 3); the angle is at most pi."""
    quat, vector = np.empty(4), np.empty(3)
    mujoco.mju_mat2Quat(quat, np.ascontiguousarray(matrix, np.float64).ravel())
    mujoco.mju_quat2Vel(vector, quat, 1.0)
    return vector


def pose_of(numbers: np.ndarray) -> Pose:
    """Returns the pose of an object from its 7 numbers in env_state: x y z [m], quaternion wxyz."""
    numbers = np.asarray(numbers, np.float64)
    return Pose(numbers[:3], quaternion_matrix(numbers[3:7]))


def servo_response(model: mujoco.MjModel) -> np.ndarray:
    """Returns the share (nv,) of the distance to its target that each joint covers in one control step.

    MuJoCo's friction loss is a soft constraint. Below its limit it acts like viscous friction b / R, with the damping b
    and the regularization R of the constraint (MuJoCo's documentation, "Computation: solver parameters"). A position
    servo of stiffness kp therefore approaches its target with the time constant b / (R kp). The model must have one
    actuator per joint, in the same order.
    """
    impedance, width, timeconst = model.dof_solimp[:, 0], model.dof_solimp[:, 1], model.dof_solref[:, 0]
    viscosity = 2.0 / (width * timeconst) / ((1.0 - impedance) / impedance * model.dof_invweight0)
    return 1.0 - np.exp(-CONTROL_TIMESTEP * model.actuator_gainprm[:, 0] / viscosity)


class Kinematics:
    """Solves the kinematics of both arms, without objects and collisions. Threads must not share an instance.

    One iteration of `solve` takes about 0.5 ms on one core.

    Example:
        kinematics = Kinematics()
        pose = kinematics.hands(obs["qpos"])["left"]
        goal = Pose(pose.position + [0.0, 0.0, 0.05], pose.rotation)          # 5 cm higher
        next_qpos = kinematics.solve(obs["qpos"], {"left": goal}, iterations=2)
        action = kinematics.targets(obs["qpos"], next_qpos)                   # (14,) for env.step
    """

    def __init__(self) -> None:
        self._model = mujoco.MjModel.from_xml_path(str(ASSETS / "bimanual.xml"))
        self._robot = Robot(self._model)
        self._configuration = mink.Configuration(self._model)
        self._limits: list[mink.Limit] = [mink.ConfigurationLimit(self._model)]
        self._tasks = {
            side: mink.FrameTask(f"{side}/tcp", "site", 1.0, ORIENTATION_COST, lm_damping=1e-3) for side in SIDES
        }
        self._joints = np.array([self._model.joint(name).dofadr[0] for name in JOINTS])
        self._damping = mink.DampingTask(self._model, np.zeros(self._model.nv))
        self._rolls, self._wrists = (
            [self._model.joint(f"{side}/{joint}").dofadr[0] for side in SIDES]
            for joint in ("forearm_roll", "wrist_angle")
        )
        self._stiffness = self._model.actuator_gainprm[:, 0]  # [N m/rad], in the order of the joints
        self._response = servo_response(self._model)[self._joints]
        breakaway = (self._model.dof_frictionloss / self._stiffness)[self._joints]
        self._glide = 0.96 * breakaway * self._response

    def hands(self, qpos: np.ndarray) -> dict[str, Pose]:
        """Returns the poses of both hands for qpos (14,), by side."""
        self._place(qpos)
        return self._hands()

    def solve(self, qpos: np.ndarray, goals: Mapping[str, Pose], iterations: int = 20) -> np.ndarray:
        """Returns joint positions (14,) within the limits that bring each named hand closest to its goal.

        The search starts from qpos (14,) and stays near it. Arms without a goal and both grippers keep their values.
        For a goal out of reach the result is the nearest pose found. Two iterations suffice for goals a few centimetres
        away.
        """
        self._place(qpos)
        tasks: list[mink.Task] = [self._damping, *(self._tasks[side] for side in goals)]
        for side, goal in goals.items():
            rotation = mink.SO3.from_matrix(goal.rotation)
            self._tasks[side].set_target(mink.SE3.from_rotation_and_translation(rotation, goal.position))
        for _ in range(iterations if goals else 0):
            self._guard_straight_wrists()
            velocity = mink.solve_ik(self._configuration, tasks, 1.0, "daqp", damping=DAMPING, limits=self._limits)
            self._configuration.integrate_inplace(velocity, 1.0)
        return self._arms(qpos)

    def targets(
        self, qpos: np.ndarray, next_qpos: np.ndarray, speed: float = 1.0, loads: Mapping[str, float] | None = None
    ) -> np.ndarray:
        """Returns the action (14,) that moves the arms from qpos to next_qpos in one control step.

        It compensates the lag of the servos and their sag under the weight of the arms and of held objects (`loads`
        [kg] by side). An arm that would exceed `speed` times MAX_SPEED moves in the same direction, but more slowly.
        The grippers are those of next_qpos.
        """
        delta = np.asarray(next_qpos, np.float64) - qpos
        for arm in ARMS:
            delta[arm] /= max(1.0, np.max(np.abs(delta[arm]) / (speed * MAX_SPEED * CONTROL_TIMESTEP)))
        action = np.array(next_qpos, np.float64)
        sag = self._sag(qpos, loads or {})
        for arm in ARMS:
            glide = np.clip(delta[arm], -self._glide[arm], self._glide[arm])
            action[arm] = qpos[arm] + glide / self._response[arm] + (delta[arm] - glide) + sag[arm]
        return self._robot.clip(action)

    def _guard_straight_wrists(self) -> None:
        """Makes rolling a forearm costly while its wrist is straight, where the roll is undetermined."""
        bent = self._configuration.data.qpos[self._wrists] / STRAIGHT
        self._damping.cost[self._rolls] = ROLL_COST * np.maximum(0.0, 1.0 - bent**2)

    def _sag(self, qpos: np.ndarray, loads: Mapping[str, float]) -> np.ndarray:
        """Returns how far (14,) [rad] gravity pulls the joints away from their targets."""
        self._place(qpos)
        model, data = self._model, self._configuration.data
        torque = np.empty(model.nv)
        mujoco.mj_comVel(model, data)  # the arms are at rest, because qvel is never set
        mujoco.mj_rne(model, data, 0, torque)
        for side, load in loads.items():
            jacobian = np.empty((3, model.nv))
            mujoco.mj_jacSite(model, data, jacobian, None, data.site(f"{side}/tcp").id)
            torque -= load * model.opt.gravity @ jacobian
        return (torque / self._stiffness)[self._joints]

    def _place(self, qpos: np.ndarray) -> None:
        self._robot.set_qpos(self._configuration.data, self._robot.clip(np.asarray(qpos, np.float64)))
        low, high = self._model.jnt_range.T
        np.clip(self._configuration.data.qpos, low, high, out=self._configuration.data.qpos)
        self._configuration.update()

    def _arms(self, qpos: np.ndarray) -> np.ndarray:
        solution = self._robot.qpos(self._configuration.data).astype(np.float64)
        solution[[6, 13]] = np.asarray(qpos, np.float64)[[6, 13]]
        return solution

    def _hands(self) -> dict[str, Pose]:
        data = self._configuration.data
        return {
            side: Pose(data.site(f"{side}/tcp").xpos.copy(), data.site(f"{side}/tcp").xmat.reshape(3, 3).copy())
            for side in SIDES
        }
