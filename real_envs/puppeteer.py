"""Puppeteering: the joints of two leader arms are mapped one to one onto the followers, real or simulated ones.

`Puppeteer` turns readings into targets; `LeaderAgent` is the agent of a rollout around it (the shape of act/types.py,
which this package never imports), and `LeaderOperator` the operator of a session with the page (that of
sim_envs/teleop/operator.py).
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from real_envs.description import VIPERX_300S

CONTROL_TIMESTEP = 0.02  # [s]
SIDES = ("left", "right")
GRIPPERS = [6, 13]  # places of the grippers in qpos and action
SQUEEZED, OPENED = 0.1, 0.3  # opening of a gripper below which it counts as squeezed, above which as let go
TWICE = 1.0  # [s] within which both grippers are squeezed twice to release the clutch
TOGETHER = 0.05  # [rad] from the leaders at which the followers have reached them
APART = 0.5  # [rad] from the leaders at which the followers approach them again


class Leaders(Protocol):
    """What is read: `LeaderPair`, or what tests put into its place."""

    def read(self) -> np.ndarray | None:
        """Joints and grippers (14,) of both leader arms, or None if a motor did not answer in time."""
        ...


@dataclass(frozen=True)
class Limits:
    """What the followers may do at most."""

    speed: float = math.pi  # [rad/s] of every joint
    approach: float = 0.5  # [rad/s] until the followers are where the leaders are
    gripper_speed: float = 5.0  # [1/s]
    silence: float = 0.06  # [s] without a reading after which the clutch is released
    joints: np.ndarray = field(default_factory=lambda: np.concatenate([VIPERX_300S.limits] * 2))  # (14, 2)


class Clutch:
    """Engages when both grippers are squeezed, and releases when both are squeezed twice within a second."""

    def __init__(self) -> None:
        self.engaged = False
        self._closed: bool | None = None  # whether both are squeezed; unknown at first
        self._squeezes: list[float] = []  # [s] of the last squeezes

    def set(self, engaged: bool) -> None:
        self.engaged, self._squeezes = engaged, []

    def watch(self, openings: np.ndarray, now: float) -> None:
        """Watches the openings (2,) of the leaders' grippers."""
        closed = bool(np.all(openings < SQUEEZED)) if self._closed is not True else not np.any(openings > OPENED)
        squeezed, self._closed = closed and self._closed is False, closed
        if not squeezed:
            return
        self._squeezes = [then for then in self._squeezes if now - then <= TWICE] + [now]
        if not self.engaged:
            self.set(True)
        elif len(self._squeezes) == 2:
            self.set(False)


class Puppeteer:
    """Makes the followers' targets (14,) from the leaders' joints: clutch, approach, limits, watchdog.

    While the clutch is released, or the leaders are silent, the target stays what it was. After engaging, the followers
    approach the leaders slowly; once they are together, they follow at the full speed.
    """

    def __init__(self, limits: Limits | None = None):
        self.limits, self.clutch = limits or Limits(), Clutch()
        self.together = False
        self._target = np.zeros(14)
        self._heard = -math.inf  # [s] time of the last reading

    @property
    def engaged(self) -> bool:
        return self.clutch.engaged

    def engage(self) -> None:
        self.clutch.set(True)
        self.together = False

    def release(self) -> None:
        self.clutch.set(False)
        self.together = False

    def stand_by(self, target: np.ndarray) -> None:
        """Releases the clutch; the followers stay at `target` (14,)."""
        self.release()
        self._target = np.clip(np.asarray(target, np.float64), *self.limits.joints.T)

    def present(self, now: float) -> bool:
        """Whether the last reading is recent."""
        return now - self._heard <= self.limits.silence

    def drives(self, now: float) -> bool:
        """Whether the followers follow at this moment."""
        return self.engaged and self.present(now)

    def target(self, leaders: np.ndarray | None, now: float) -> np.ndarray:
        """The target (14,) float32 of this control step; `leaders` (14,) is None if they did not answer."""
        self.watch(leaders, now)
        if leaders is not None and self.engaged:
            self._follow(np.clip(leaders, *self.limits.joints.T))
        return self._target.astype(np.float32)

    def watch(self, leaders: np.ndarray | None, now: float) -> None:
        """Watches the clutch and the silence of the leaders; the target stays what it is."""
        if leaders is None:
            if not self.present(now):
                self.release()
            return
        self._heard = now
        was_engaged = self.engaged
        self.clutch.watch(leaders[GRIPPERS], now)
        if self.engaged != was_engaged:
            self.together = False

    def _follow(self, leaders: np.ndarray) -> None:
        gap = leaders - self._target
        farthest = np.delete(np.abs(gap), GRIPPERS).max()
        self.together = farthest < (APART if self.together else TOGETHER)
        most = np.full(14, (self.limits.speed if self.together else self.limits.approach) * CONTROL_TIMESTEP)
        most[GRIPPERS] = self.limits.gripper_speed * CONTROL_TIMESTEP
        self._target = self._target + np.clip(gap, -most, most)


class LeaderAgent:
    """Two leader arms as an agent for one environment: `rollout(RobotEnvs(robot, spec), LeaderAgent(leaders), ...)`.

    Args:
        leaders: connected already.
        limits: of the followers.
        wait: whether an episode begins only when both grippers are squeezed; `say` announces it.

    Raises HardwareError from `select_action` when a leader arm is lost; the robot's followers then hold.
    """

    def __init__(
        self,
        leaders: Leaders,
        limits: Limits | None = None,
        wait: bool = True,
        say: Callable[[str], None] = print,
    ):
        self.leaders, self.puppeteer = leaders, Puppeteer(limits)
        self._wait, self._say, self._begun = wait, say, False

    def reset(self, num_envs: int) -> None:
        """Waits until both grippers are squeezed. ValueError for more than one environment."""
        if num_envs != 1:
            raise ValueError(f"{num_envs} environments: leader arms drive one at a time")
        self._begun = False
        if self._wait:
            self._say("squeeze both grippers of the leader arms to begin; squeeze them twice to let go")
            waiting = Puppeteer(self.puppeteer.limits)
            while not waiting.engaged:
                waiting.target(self.leaders.read(), time.monotonic())
                time.sleep(CONTROL_TIMESTEP)

    def needs_images(self) -> bool:
        return False

    def select_action(self, observations: Sequence[Mapping[str, Any]]) -> np.ndarray:
        """Targets (1, 14) float32."""
        if not self._begun:
            self._begun = True
            self.puppeteer.stand_by(observations[0]["qpos"])
            self.puppeteer.engage()
        return self.puppeteer.target(self.leaders.read(), time.monotonic())[None]


@contextmanager
def leader_operator(files: Sequence[Path], make_kinematics: Callable[[], Any]) -> Iterator[Any]:
    """The operator of a session, a LeaderOperator: the arms that two files describe, connected. None without files.

    Args:
        files: of the left and the right arm, as `real_envs.calibrate` writes them.
        make_kinematics: `sim_envs.kinematics.Kinematics`; its `hands` say where the page draws the hands.

    Raises ValueError for a file that describes no arm, and HardwareError when an arm does not answer.
    """
    if not files:
        yield None
        return
    from real_envs.description import load
    from real_envs.leader import Leader, LeaderPair  # here, because a session with the mouse needs no SDK

    left, right = (Leader(load(file)) for file in files)
    with LeaderPair(left, right) as leaders:
        yield LeaderOperator(leaders, make_kinematics().hands)


class LeaderOperator:
    """Two leader arms as the operator of sim_envs.teleop.session.Session: record, discard and redo on its page.

    Args:
        leaders: connected already.
        hands: the poses of both hands for qpos (14,), by side, for the page to draw; `Kinematics().hands`.
    """

    def __init__(
        self, leaders: Leaders, hands: Callable[[np.ndarray], Mapping[str, Any]], limits: Limits | None = None
    ):
        self.leaders, self.puppeteer, self._hands = leaders, Puppeteer(limits), hands
        self._looked = -math.inf  # [s] when the leaders were read last

    @property
    def engaged(self) -> bool:
        return self.puppeteer.engaged

    @property
    def openings(self) -> dict[str, float]:
        """The commanded openings of the grippers."""
        return {side: float(self.puppeteer._target[place]) for side, place in zip(SIDES, GRIPPERS, strict=True)}

    def hear(self, now: float) -> None:
        """The page is alive, which does not matter here: the leaders are watched."""

    def excuse(self, seconds: float) -> None:
        """The loop was late; the leaders are watched by their own clock."""

    def engage(self, qpos: np.ndarray, now: float) -> None:
        """The page engages the clutch, as a squeeze does."""
        if not self.engaged:
            self.puppeteer.engage()

    def release(self) -> None:
        self.puppeteer.release()

    def aim(self, side: str, pose: Any, now: float) -> None:
        """A gizmo was dragged; leader arms have none."""

    def grip(self, side: str, opening: float, now: float) -> None:
        """A key for a gripper was pressed; the leaders' own grippers decide."""

    def stand_by(self, action: np.ndarray) -> None:
        self.puppeteer.stand_by(action)

    def present(self, now: float) -> bool:
        return self.puppeteer.present(now)

    def drives(self, now: float) -> bool:
        return self.puppeteer.drives(now)

    def goals(self, qpos: np.ndarray) -> Mapping[str, Any]:
        """Where the page draws the hands.

        A session that waits for the first move of an episode asks for no action, but it draws: so this looks for a
        squeeze, too, unless an action has just looked.
        """
        now = time.monotonic()
        if not self.engaged and now - self._looked > CONTROL_TIMESTEP:
            self._looked = now
            self.puppeteer.watch(self.leaders.read(), now)
        return self._hands(qpos)

    def action(self, qpos: np.ndarray, now: float) -> np.ndarray:
        """Targets (14,) float32 for this control step. Raises HardwareError when a leader arm is lost."""
        self._looked = time.monotonic()
        return self.puppeteer.target(self.leaders.read(), now)
