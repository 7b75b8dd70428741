"""What all scripted experts share: reading the scene, phases with guards, skills, and smooth motion towards goals.

An expert sees qpos and env_state, nothing else, and every answer is computed from what is measured now: it can be asked
at any state. Its memory is the name of the current phase, for hysteresis (asked cold, it finds the phase itself) and,
in the human style only, the control step, for pauses and tremor.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from sim_envs.kinematics import CONTROL_TIMESTEP as DT
from sim_envs.kinematics import Kinematics, Pose, pose_of, rotation_matrix, rotation_vector
from sim_envs.robot import SIDES

SPEED = 0.3  # [m/s] of a hand
TURNING = 2.0  # [rad/s] of a hand
SETTLING = 0.1  # [s] time constant of the last centimetres
PAYLOAD = 0.05  # [kg] of every object
UP = np.array([0.0, 0.0, 1.0])
DOWN = -UP


class Goal(NamedTuple):
    """What one arm should do: bring its hand to a pose, no faster than `speed` [m/s], and its gripper to an opening."""

    pose: Pose
    opening: float
    speed: float = SPEED
    load: float = 0.0  # [kg] what the hand holds


Goals = dict[str, Goal]


@dataclass(frozen=True)
class HumanVariation:
    """The variation in which one episode is done. The defaults are the one clean way of the scripted style.

    Every field names the range it is drawn from, uniformly, for the human style.
    """

    speed: float = 1.0  # 0.75 to 1.45: factor on all speeds
    pitch: float = np.radians(60.0)  # 55 to 70 degrees [rad]: how far the hands look down when they grasp
    clearance: float = 0.08  # 0.06 to 0.11 m: height from which they go down
    grasp_shift: tuple[float, float] = (
        0.0,
        0.0,
    )  # +-0.010 m, left, right: beside the middle of the object, along its x
    aim: tuple[float, float, float] = (
        0.0,
        0.0,
        0.0,
    )  # +-0.03, +-0.03, 0 to 0.03 m: miss of the first sweep, corrected near by
    place: tuple[float, float, float] = (
        0.0,
        0.0,
        0.0,
    )  # +-0.03, +-0.03, -0.02 to 0.04 m: shift of where the objects meet
    variant: int = (
        1  # +1 or -1, even odds: transfer, sense in which the left hand rolls; insertion, -1: the socket is moved
    )
    pauses: tuple[tuple[int, int], ...] = ()  # 0 to 2 (first control step 10 to 220, 5 to 15 control steps long)
    tremor: float = 0.0  # 0.0002 to 0.001 m: amplitude of a slow sway of the hands on each axis
    sway: tuple[float, ...] = (6.0, 8.0, 10.0, 0.0, 2.0, 4.0)  # x y z: 4 to 12 rad/s; phases 0 to 2 pi rad

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "HumanVariation":
        """The variation of one episode."""
        pauses = [(int(rng.integers(10, 221)), int(rng.integers(5, 16))) for _ in range(rng.integers(0, 3))]
        return cls(
            speed=rng.uniform(0.75, 1.45),
            pitch=np.radians(rng.uniform(55.0, 70.0)),
            clearance=rng.uniform(0.06, 0.11),
            grasp_shift=tuple(rng.uniform(-0.010, 0.010, 2)),
            aim=tuple(rng.uniform((-0.03, -0.03, 0.0), (0.03, 0.03, 0.03))),
            place=tuple(rng.uniform((-0.03, -0.03, -0.02), (0.03, 0.03, 0.04))),
            variant=int(rng.choice((-1, 1))),
            pauses=tuple(pauses),
            tremor=rng.uniform(0.0002, 0.001),
            sway=(*rng.uniform(4.0, 12.0, 3), *rng.uniform(0.0, 2 * np.pi, 3)),
        )


SCRIPTED = HumanVariation()


@dataclass(frozen=True)
class Scene:
    """One observation, read: hand poses and gripper openings by side, object poses by name (symmetry resolved)."""

    hands: Mapping[str, Pose]
    openings: Mapping[str, float]
    objects: Mapping[str, Pose]


@dataclass(frozen=True)
class Phase:
    """`begins` is the guard that starts it, from the scene alone; `lasts`, the laxer of the two, keeps it."""

    name: str
    begins: Callable[[Scene], bool]
    lasts: Callable[[Scene], bool]
    goals: Callable[[Scene], Goals]


class Expert:
    """A closed-loop expert for one environment. Subclasses give `objects`, `symmetries` and `make_phases`.

    Args:
        variation: how this episode is done.
        kinematics: may be shared by experts that take turns; made when absent.
    """

    objects: ClassVar[tuple[str, ...]]  # names, in the order of env_state
    symmetries: ClassVar[Mapping[str, Sequence[np.ndarray]]]  # rotations (3, 3) that leave an object looking the same

    def __init__(self, variation: HumanVariation = SCRIPTED, kinematics: Kinematics | None = None):
        self.variation = variation
        self._kinematics = kinematics or Kinematics()
        self._phases = self.make_phases()
        self.reset()

    def make_phases(self) -> list[Phase]:
        """In the order of the task; the last one whose guard holds is the one that acts."""
        raise NotImplementedError

    def reset(self) -> None:
        """Forgets the phase and the control step; the next call of `action` finds itself anew."""
        self._phase: Phase | None = None
        self._t = 0

    @property
    def phase(self) -> str | None:
        """Name of the phase that made the last action."""
        return self._phase.name if self._phase else None

    def action(self, obs: Mapping[str, Any]) -> np.ndarray:
        """Joint targets (14,) float32 for one observation."""
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
        qpos, env_state = obs["qpos"], obs["env_state"]
        objects = {}
        for k, name in enumerate(self.objects):
            pose = pose_of(env_state[7 * k : 7 * k + 7])
            objects[name] = Pose(pose.position, upright(pose.rotation, self.symmetries[name]))
        openings = {side: float(qpos[7 * k + 6]) for k, side in enumerate(SIDES)}
        return Scene(self._kinematics.hands(qpos), openings, objects)

    def reach(self, scene: Scene, side: str, grasp: Pose, approach: np.ndarray = DOWN, hurdle: float = 0.0) -> Goal:
        """`pick` in this episode's variation: the first sweep aims beside the grasp, which is corrected on the way."""
        goal = pick(scene, side, grasp, approach, self.variation.clearance, hurdle)
        far = ramp(float(np.linalg.norm(scene.hands[side].position - goal.pose.position)), 0.03, 0.15)
        return goal._replace(pose=Pose(goal.pose.position + far * np.array(self.variation.aim), goal.pose.rotation))

    def _choose(self, scene: Scene) -> Phase:
        for phase in reversed(self._phases):
            if phase.begins(scene) or (phase is self._phase and phase.lasts(scene)):
                return phase
        return self._phases[0]

    def _attention(self) -> float:
        """Factor on the speed: 1, and down to 0.02 within a pause, smoothly."""
        away = 0.0
        for start, length in self.variation.pauses:
            away = max(away, 1.0 - ramp(abs(self._t - start - length / 2), length / 2, length / 2 + 5))
        return 1.0 - 0.98 * away

    def _sway(self) -> np.ndarray:
        """(3,) [m] tremor of this control step."""
        rate, phase = np.array(self.variation.sway[:3]), np.array(self.variation.sway[3:])
        return self.variation.tremor * (np.sin(rate * DT * (self._t + 1) + phase) - np.sin(rate * DT * self._t + phase))

    def _next_qpos(self, qpos: np.ndarray, scene: Scene, goals: Goals, speed: float) -> np.ndarray:
        """Where the arms should be one control step later (14,); the grippers' commands in their places."""
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
    """Where the hand should be one control step later: straight on, slower when near, rotation in proportion.

    `speed` is a factor on the goal's.
    """
    offset = goal.pose.position - hand.position
    turn = rotation_vector(hand.rotation.T @ goal.pose.rotation)
    distance, angle = max(float(np.linalg.norm(offset)), 1e-9), max(float(np.linalg.norm(turn)), 1e-9)
    share = DT * speed * min(1 / SETTLING, goal.speed / distance, TURNING / angle)
    return Pose(hand.position + share * offset, hand.rotation @ rotation_matrix(share * turn))


def ramp(x: float, low: float, high: float) -> float:
    """0 at or below `low`, 1 at or above `high`, straight between."""
    return float(np.clip((x - low) / (high - low), 0.0, 1.0))


# -- geometry ---------------------------------------------------------------------------------------------------------


def facing(side: str, pitch: float = 0.0, roll: float = 0.0, yaw: float = 0.0) -> np.ndarray:
    """Rotation (3, 3) of a hand looking at the other arm: nose down by `pitch`, rolled, turned about the vertical."""
    heading = rotation_matrix(np.array([0.0, 0.0, yaw + (0.0 if side == "left" else np.pi)]))
    return heading @ rotation_matrix(np.array([0.0, pitch, 0.0])) @ rotation_matrix(np.array([roll, 0.0, 0.0]))


def upright(rotation: np.ndarray, symmetries: Sequence[np.ndarray]) -> np.ndarray:
    """Of the equivalent rotations of a symmetric object, the one nearest to identity."""
    return max((rotation @ symmetry for symmetry in symmetries), key=np.trace)


def yaw_of(rotation: np.ndarray) -> float:
    """Heading [rad] of the x axis in the horizontal plane."""
    return float(np.arctan2(rotation[1, 0], rotation[0, 0]))


def symmetry_group(turns: Mapping[str, float]) -> list[np.ndarray]:
    """All products of the given turns {axis "x", "y" or "z": angle [rad], a multiple of pi / 2}."""
    axes = dict(zip("xyz", np.eye(3), strict=True))
    generators = [np.round(rotation_matrix(axes[axis] * angle)) for axis, angle in turns.items()]
    group = [np.eye(3)]
    for member in group:  # grows while it is walked
        for product in (member @ generator for generator in generators):
            if not any(np.array_equal(product, known) for known in group):
                group.append(product)
    return group


# -- skills -----------------------------------------------------------------------------------------------------------


def grasped(scene: Scene, side: str, grasp: Pose, opening: float, margin: float = 0.04) -> bool:
    """Whether the hand has closed on an object: it is between the pads, which are within `margin` of `opening`.

    `opening` is the reading of a gripper closed on the object; a hand that opens upwards sags to 0.08 less.
    """
    local = scene.hands[side].rotation.T @ (grasp.position - scene.hands[side].position)
    between = abs(local[1]) < 0.012 and float(np.linalg.norm(local)) < 0.035
    return between and opening - 0.12 < scene.openings[side] < opening + margin


def pick(scene: Scene, side: str, grasp: Pose, approach: np.ndarray, clearance: float, hurdle: float = 0.0) -> Goal:
    """Reach for a grasp pose along `approach` (unit vector, world) and close, as one smooth motion without timers.

    The goal waits `clearance` [m] before the grasp and slides in as the hand lines up (`hurdle` [m] adds to its error);
    a hand that is deep but beside the object backs out first, a closed one opens first. The fingers close on arrival.
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
    """Bring a held object to a place: the hand's goal follows from how the object sits in it now."""
    return Goal(place @ held.inverse() @ scene.hands[side], 0.0, load=PAYLOAD)


def lift(scene: Scene, side: str, held: Pose, place: Pose) -> Goal:
    """`carry`, but straight up first while the object is within 3 cm of where it lay."""
    lifted = ramp(held.position[2], 0.03, 0.06)
    position = held.position + lifted * (place.position - held.position)
    position[2] = place.position[2]
    return carry(scene, side, held, Pose(position, place.rotation))
