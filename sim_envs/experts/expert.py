"""Defines what all scripted experts share: phases with guards, skills, and smooth motion towards goals.

An expert uses only qpos and env_state and computes every action from the current observation, so it can act in any
state. Its memory is the current phase, which gives hysteresis (without it, the expert finds the phase from the state),
and, in the human style only, the control step, which times pauses and tremor.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from sim_envs.experts.variation import SCRIPTED, HumanVariation
from sim_envs.kinematics import CONTROL_TIMESTEP as DT
from sim_envs.kinematics import Kinematics, Pose, pose_of, rotation_matrix, rotation_vector
from sim_envs.robot import SIDES

SPEED = 0.3  # [m/s] largest speed of a hand
TURNING = 2.0  # [rad/s] largest turning speed of a hand
SETTLING = 0.1  # [s] time constant with which a hand approaches its goal in the last centimetres
PAYLOAD = 0.05  # [kg] mass of every object
UP = np.array([0.0, 0.0, 1.0])
DOWN = -UP


class Goal(NamedTuple):
    """The goal of one arm: a pose of its hand and an opening of its gripper, approached at `speed` [m/s] at most."""

    pose: Pose
    opening: float
    speed: float = SPEED
    load: float = 0.0  # [kg] mass that the hand holds


Goals = dict[str, Goal]


@dataclass(frozen=True)
class Scene:
    """The poses in one observation: hands and gripper openings by side, objects by name (symmetry resolved)."""

    hands: Mapping[str, Pose]
    openings: Mapping[str, float]
    objects: Mapping[str, Pose]


@dataclass(frozen=True)
class Phase:
    """A phase of an episode. `begins` is the guard that starts it, `lasts` is the laxer guard that keeps it."""

    name: str
    begins: Callable[[Scene], bool]
    lasts: Callable[[Scene], bool]
    goals: Callable[[Scene], Goals]


class Expert:
    """A closed-loop expert for one environment. Subclasses define `objects`, `symmetries` and `make_phases`.

    Args:
        variation: how this episode is done.
        kinematics: may be shared by experts of one thread; None makes a new one.
    """

    objects: ClassVar[tuple[str, ...]]  # names, in the order of env_state
    symmetries: ClassVar[Mapping[str, Sequence[np.ndarray]]]  # rotations (3, 3) that map an object to itself

    def __init__(self, variation: HumanVariation = SCRIPTED, kinematics: Kinematics | None = None):
        self.variation = variation
        self._kinematics = kinematics or Kinematics()
        self._phases = self.make_phases()
        self.reset()

    def make_phases(self) -> list[Phase]:
        """Returns the phases in the order of the task. The last phase whose guard holds acts."""
        raise NotImplementedError

    def reset(self) -> None:
        """Forgets the phase and the control step; the next call of `action` finds the phase from the state."""
        self._phase: Phase | None = None
        self._t = 0

    @property
    def phase(self) -> str | None:
        """The name of the phase that made the last action, None before the first one."""
        return self._phase.name if self._phase else None

    def action(self, obs: Mapping[str, Any]) -> np.ndarray:
        """Returns joint targets (14,) float32 for one observation."""
        qpos = np.asarray(obs["qpos"], np.float64)
        scene = self.read(obs)
        self._phase = self._choose(scene)
        goals = self._phase.goals(scene)
        speed = self.variation.speed * self._attention()
        next_qpos = self._next_qpos(qpos, scene, goals, speed)
        self._t += 1
        loads = {side: goal.load for side, goal in goals.items()}
        return self._kinematics.targets(qpos, next_qpos, self.variation.speed, loads).astype(np.float32)

    def read(self, obs: Mapping[str, Any]) -> Scene:
        """Returns the poses in an observation. Objects have the equivalent rotation nearest to identity."""
        qpos, env_state = obs["qpos"], obs["env_state"]
        objects = {}
        for k, name in enumerate(self.objects):
            pose = pose_of(env_state[7 * k : 7 * k + 7])
            objects[name] = Pose(pose.position, upright(pose.rotation, self.symmetries[name]))
        openings = {side: float(qpos[7 * k + 6]) for k, side in enumerate(SIDES)}
        return Scene(self._kinematics.hands(qpos), openings, objects)

    def reach(self, scene: Scene, side: str, grasp: Pose, approach: np.ndarray = DOWN, hurdle: float = 0.0) -> Goal:
        """Returns the goal of `pick` in the variation of this episode: the approach misses first and is corrected."""
        goal = pick(scene, side, grasp, approach, self.variation.clearance, hurdle)
        far = ramp(float(np.linalg.norm(scene.hands[side].position - goal.pose.position)), 0.03, 0.15)
        return goal._replace(pose=Pose(goal.pose.position + far * np.array(self.variation.aim), goal.pose.rotation))

    def _choose(self, scene: Scene) -> Phase:
        for phase in reversed(self._phases):
            if phase.begins(scene) or (phase is self._phase and phase.lasts(scene)):
                return phase
        return self._phases[0]

    def _attention(self) -> float:
        """Returns a factor on the speed: 1, and smoothly down to 0.02 within a pause."""
        away = 0.0
        for start, length in self.variation.pauses:
            away = max(away, 1.0 - ramp(abs(self._t - start - length / 2), length / 2, length / 2 + 5))
        return 1.0 - 0.98 * away

    def _sway(self) -> np.ndarray:
        """Returns the tremor (3,) [m] of this control step."""
        rate, phase = np.array(self.variation.sway[:3]), np.array(self.variation.sway[3:])
        return self.variation.tremor * (np.sin(rate * DT * (self._t + 1) + phase) - np.sin(rate * DT * self._t + phase))

    def _next_qpos(self, qpos: np.ndarray, scene: Scene, goals: Goals, speed: float) -> np.ndarray:
        """Returns the joint positions (14,) one control step later, with the gripper openings of the goals."""
        targets = {}
        for side, goal in goals.items():
            pose = step(scene.hands[side], goal, speed)
            targets[side] = Pose(pose.position + self._sway(), pose.rotation)
        next_qpos = self._kinematics.solve(qpos, targets, iterations=1)
        for k, side in enumerate(SIDES):
            next_qpos[7 * k + 6] = goals[side].opening
        return next_qpos


# -- motion -----------------------------------------------------------------------------------------------------------


def step(hand: Pose, goal: Goal, speed: float = 1.0) -> Pose:
    """Returns the pose of a hand one control step later, on a straight line to its goal and slower near it.

    The hand turns in proportion to its way. `speed` is a factor on the speed of the goal.
    """
    offset = goal.pose.position - hand.position
    turn = rotation_vector(hand.rotation.T @ goal.pose.rotation)
    distance, angle = max(float(np.linalg.norm(offset)), 1e-9), max(float(np.linalg.norm(turn)), 1e-9)
    share = DT * speed * min(1 / SETTLING, goal.speed / distance, TURNING / angle)
    return Pose(hand.position + share * offset, hand.rotation @ rotation_matrix(share * turn))


def ramp(x: float, low: float, high: float) -> float:
    """Returns 0 at or below `low`, 1 at or above `high`, and a linear value between."""
    return float(np.clip((x - low) / (high - low), 0.0, 1.0))


# -- geometry ---------------------------------------------------------------------------------------------------------


def facing(side: str, pitch: float = 0.0, roll: float = 0.0, yaw: float = 0.0) -> np.ndarray:
    """Returns the rotation (3, 3) of a hand that points to the other arm.

    It is turned about the vertical by `yaw`, tilted down by `pitch`, and rolled by `roll` [rad].
    """
    heading = rotation_matrix(np.array([0.0, 0.0, yaw + (0.0 if side == "left" else np.pi)]))
    return heading @ rotation_matrix(np.array([0.0, pitch, 0.0])) @ rotation_matrix(np.array([roll, 0.0, 0.0]))


def upright(rotation: np.ndarray, symmetries: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the rotation nearest to identity among the equivalent rotations of a symmetric object."""
    return max((rotation @ symmetry for symmetry in symmetries), key=np.trace)


def yaw_of(rotation: np.ndarray) -> float:
    """Returns the heading [rad] of the x axis in the horizontal plane."""
    return float(np.arctan2(rotation[1, 0], rotation[0, 0]))


def symmetry_group(turns: Mapping[str, float]) -> list[np.ndarray]:
    """Returns all products of the given turns {axis "x", "y" or "z": angle [rad], a multiple of pi / 2}."""
    axes = dict(zip("xyz", np.eye(3), strict=True))
    generators = [np.round(rotation_matrix(axes[axis] * angle)) for axis, angle in turns.items()]
    group = [np.eye(3)]
    for member in group:  # the loop also visits the members that it appends
        for product in (member @ generator for generator in generators):
            if not any(np.array_equal(product, known) for known in group):
                group.append(product)
    return group


# -- skills -----------------------------------------------------------------------------------------------------------


def grasped(scene: Scene, side: str, grasp: Pose, opening: float, margin: float = 0.04) -> bool:
    """Returns whether a hand holds an object: it is between the pads, and they are within `margin` of `opening`.

    `opening` is the reading of a gripper that is closed on the object. In a hand that opens upwards, the finger that is
    read sags, so the reading may be 0.08 less.
    """
    local = scene.hands[side].rotation.T @ (grasp.position - scene.hands[side].position)
    between = abs(local[1]) < 0.012 and float(np.linalg.norm(local)) < 0.035
    return between and opening - 0.12 < scene.openings[side] < opening + margin


def pick(scene: Scene, side: str, grasp: Pose, approach: np.ndarray, clearance: float, hurdle: float = 0.0) -> Goal:
    """Returns the goal that reaches for a grasp pose along `approach` (unit vector, world) and closes the gripper.

    The motion is smooth and uses no timers. The goal stays `clearance` [m] before the grasp and moves in as the hand
    lines up; `hurdle` [m] is added to its error. A hand that is deep but beside the object backs out first, and a
    closed hand opens first. The fingers close on arrival.
    """
    hand = scene.hands[side]
    offset = hand.position - grasp.position
    before = -float(offset @ approach)
    beside = offset + before * approach
    turned = float(np.linalg.norm(rotation_vector(hand.rotation.T @ grasp.rotation)))
    error = float(np.linalg.norm(beside)) + 0.04 * turned + hurdle
    closed = ramp(0.9 - scene.openings[side], 0.0, 0.1) * ramp(before, 0.02, 0.04)
    height = clearance * max(ramp(error, 0.008, 0.03), closed)
    keep_beside = 1.0 - ramp(before, 0.2 * height, 0.7 * height) if height > 0.02 else 0.0
    position = grasp.position - height * approach + keep_beside * beside
    arrived = 1.0 - ramp(error + abs(before), 0.005, 0.013)
    return Goal(Pose(position, grasp.rotation), 1.0 - arrived)


def carry(scene: Scene, side: str, held: Pose, place: Pose) -> Goal:
    """Returns the goal that brings a held object to a place; it follows from the object's current pose in the hand."""
    return Goal(place @ held.inverse() @ scene.hands[side], 0.0, load=PAYLOAD)


def lift(scene: Scene, side: str, held: Pose, place: Pose) -> Goal:
    """Returns the goal of `carry`, but straight up first while the object is lower than 3 to 6 cm."""
    lifted = ramp(held.position[2], 0.03, 0.06)
    position = held.position + lifted * (place.position - held.position)
    position[2] = place.position[2]
    return carry(scene, side, held, Pose(position, place.rotation))
