"""What all scripted experts share: reading the scene, phases with guards, and smooth speed-limited motion to goals.

An expert sees qpos and env_state, nothing else, and every answer is computed from what is measured now: it can be asked
at any state. Its only memory is the name of the current phase, for hysteresis; asked cold, it finds the phase itself.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from sim_envs.kinematics import CONTROL_TIMESTEP as DT
from sim_envs.kinematics import Kinematics, Pose, pose_of, rotation_matrix, rotation_vector
from sim_envs.robot import SIDES

UP = np.array([0.0, 0.0, 1.0])


class Goal(NamedTuple):
    """What one arm should do: bring its hand to a pose, no faster than `speed` [m/s], and its gripper to an opening."""

    pose: Pose
    opening: float
    speed: float = 0.3


Goals = dict[str, Goal]


@dataclass(frozen=True)
class Scene:
    """One observation, read: hand poses and gripper openings by side, object poses by name (symmetry resolved)."""

    hands: Mapping[str, Pose]
    openings: Mapping[str, float]
    objects: Mapping[str, Pose]


@dataclass(frozen=True)
class Phase:
    """`begins` is the guard that starts it, from the scene alone; `lasts` keeps it, and should be the laxer of the two."""

    name: str
    begins: Callable[[Scene], bool]
    lasts: Callable[[Scene], bool]
    goals: Callable[[Scene], Goals]


class Expert:
    """A closed-loop expert for one environment. Subclasses give `objects`, `symmetries` and `make_phases`."""

    objects: ClassVar[tuple[str, ...]]  # names, in the order of env_state
    symmetries: ClassVar[Mapping[str, Sequence[np.ndarray]]]  # rotations (3, 3) that leave an object looking the same

    def __init__(self) -> None:
        self._kinematics = Kinematics()
        self._phases = self.make_phases()
        self._phase: Phase | None = None

    def make_phases(self) -> list[Phase]:
        """In the order of the task; the last one whose guard holds is the one that acts."""
        raise NotImplementedError

    def reset(self) -> None:
        self._phase = None

    @property
    def phase(self) -> str | None:
        """Name of the phase that made the last action."""
        return self._phase.name if self._phase else None

    def action(self, obs: Mapping[str, Any]) -> np.ndarray:
        """Joint targets (14,) float32 for one observation."""
        qpos = np.asarray(obs["qpos"], np.float64)
        scene = self.read(obs)
        self._phase = self._choose(scene)
        return self._towards(qpos, scene, self._phase.goals(scene))

    def read(self, obs: Mapping[str, Any]) -> Scene:
        qpos, env_state = obs["qpos"], obs["env_state"]
        objects = {}
        for k, name in enumerate(self.objects):
            pose = pose_of(env_state[7 * k : 7 * k + 7])
            objects[name] = Pose(pose.position, upright(pose.rotation, self.symmetries[name]))
        openings = {side: float(qpos[7 * k + 6]) for k, side in enumerate(SIDES)}
        return Scene(self._kinematics.hands(qpos), openings, objects)

    def _choose(self, scene: Scene) -> Phase:
        for phase in reversed(self._phases):
            if phase.begins(scene) or (phase is self._phase and phase.lasts(scene)):
                return phase
        return self._phases[0]

    def _towards(self, qpos: np.ndarray, scene: Scene, goals: Goals) -> np.ndarray:
        """One control step of motion towards the goals, from the measured state, ahead of the arms by their lag."""
        targets = {side: step(scene.hands[side], goal) for side, goal in goals.items()}
        next_qpos = self._kinematics.solve(qpos, targets, iterations=1)
        for k, side in enumerate(SIDES):
            next_qpos[7 * k + 6] = goals[side].opening
        return self._kinematics.targets(qpos, next_qpos).astype(np.float32)


# -- motion -----------------------------------------------------------------------------------------------------------

SETTLING = 0.12  # [s] time constant of the last centimetres
TURNING = 2.0  # [rad/s] fastest rotation


def step(hand: Pose, goal: Goal) -> Pose:
    """Where the hand should be one control step later: straight on, slower when near, rotation in proportion."""
    offset = goal.pose.position - hand.position
    turn = rotation_vector(hand.rotation.T @ goal.pose.rotation)
    distance, angle = np.linalg.norm(offset), np.linalg.norm(turn)
    share = min(DT / SETTLING, goal.speed * DT / max(distance, 1e-9), TURNING * DT / max(angle, 1e-9))
    return Pose(hand.position + share * offset, hand.rotation @ rotation_matrix(share * turn))


def ramp(x: float, low: float, high: float) -> float:
    """0 at or below `low`, 1 at or above `high`, straight between."""
    return float(np.clip((x - low) / (high - low), 0.0, 1.0))


# -- geometry ---------------------------------------------------------------------------------------------------------


def facing(side: str, pitch: float = 0.0, roll: float = 0.0, yaw: float = 0.0) -> np.ndarray:
    """Rotation of a hand that looks at the other arm, nose down by `pitch`, rolled, turned by `yaw` about the vertical."""
    turn = yaw + (0.0 if side == "left" else np.pi)
    return (
        rotation_matrix(np.array([0.0, 0.0, turn]))
        @ rotation_matrix(np.array([0.0, pitch, 0.0]))
        @ rotation_matrix(np.array([roll, 0.0, 0.0]))
    )


def upright(rotation: np.ndarray, symmetries: Sequence[np.ndarray]) -> np.ndarray:
    """Of the equivalent rotations of a symmetric object, the one nearest to identity."""
    return max((rotation @ symmetry for symmetry in symmetries), key=np.trace)


def yaw_of(rotation: np.ndarray) -> float:
    """Heading [rad] of the x axis in the horizontal plane."""
    return float(np.arctan2(rotation[1, 0], rotation[0, 0]))


def symmetry_group(quarter_turns: str) -> list[np.ndarray]:
    """All products of the named turns, such as "xxzz": a letter is a quarter turn about that axis, doubled a half turn."""
    turns = {"x": np.eye(3)[0], "y": np.eye(3)[1], "z": np.eye(3)[2]}
    generators = []
    for axis in sorted(set(quarter_turns)):
        angle = np.pi / 2 * quarter_turns.count(axis)
        generators.append(np.round(rotation_matrix(turns[axis] * angle)))
    group = [np.eye(3)]
    for member in group:  # grows while it is walked
        for generator in generators:
            product = member @ generator
            if not any(np.array_equal(product, known) for known in group):
                group.append(product)
    return group


# -- skills -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Grip:
    """What an object between the pads looks like: the reading [0-1] of a gripper closed on it, where it sits."""

    opening: float  # of a hand closed on the object
    reach: float = 0.035  # [m] farthest grasp point from the tool centre point that still counts


def grasped(scene: Scene, side: str, grasp: Pose, grip: Grip, margin: float = 0.04) -> bool:
    """Whether the hand has closed on the object: its opening has come down to the object's width, and it is there."""
    local = scene.hands[side].rotation.T @ (grasp.position - scene.hands[side].position)
    between = abs(local[1]) < 0.012 and np.linalg.norm(local) < grip.reach
    return bool(between) and grip.opening - 0.08 < scene.openings[side] < grip.opening + margin


def pick(scene: Scene, side: str, grasp: Pose, approach: np.ndarray, clearance: float, hurdle: float = 0.0) -> Goal:
    """Reach for a grasp pose along `approach` (unit, world), as one smooth motion without timers.

    The goal waits `clearance` [m] before the grasp and slides in as the hand lines up (`hurdle` [m] adds to its error);
    a hand that is in deep but beside the object backs out first. The fingers close as the hand arrives.
    """
    hand = scene.hands[side]
    offset = hand.position - grasp.position
    behind = -float(offset @ approach)
    beside = offset + behind * approach
    turned = float(np.linalg.norm(rotation_vector(hand.rotation.T @ grasp.rotation)))
    error = float(np.linalg.norm(beside)) + 0.04 * turned + hurdle
    closed = ramp(0.9 - scene.openings[side], 0.0, 0.1) * ramp(behind, 0.02, 0.04)
    height = clearance * max(ramp(error, 0.006, 0.03), closed)
    keep_beside = 1.0 - ramp(behind, 0.2 * height, 0.7 * height) if height > 0.02 else 0.0
    position = grasp.position - height * approach + keep_beside * beside
    arrived = 1.0 - ramp(error + abs(behind), 0.004, 0.009)
    return Goal(Pose(position, grasp.rotation), 1.0 - arrived)


def carry(scene: Scene, side: str, held: Pose, place: Pose, speed: float = 0.3) -> Goal:
    """Bring a held object to a place: the hand's goal follows from how the object sits in it now."""
    return Goal(place @ held.inverse() @ scene.hands[side], 0.0, speed)
