"""A follower arm: six joints and a gripper that hold, and that follow targets no faster than a limit per step."""

import contextlib
import math
import time

import numpy as np

from real_envs.arm import Arm, Reading, signed
from real_envs.bus import ANSWER_TIME, HardwareError
from real_envs.description import GRIPPER, ArmDescription
from real_envs.motors import (
    BUS_WATCHDOG,
    CURRENT_BASED_POSITION,
    CURRENT_LIMIT,
    EXTENDED_POSITION,
    GOAL_CURRENT,
    GOAL_POSITION,
    POSITION_D,
    POSITION_I,
    POSITION_P,
    PRESENT_POSITION,
    PROFILE_ACCELERATION,
    PROFILE_VELOCITY,
    RAD_PER_TICK,
    TORQUE,
    VELOCITY_LIMIT,
    VELOCITY_UNIT,
    Register,
)

CONTROL_TIMESTEP = 0.02  # [s]
WATCHDOG = 4  # [20 ms] the motors stop by themselves when no instruction has come for 0.08 s
LATE = 0.06  # [s] since the last instruction after which the motors may have stopped
SLOW = 0.3  # [rad/s] while torque is switched on, and on the way to a rest or start pose
FAR_BEHIND = 0.5  # [rad] of a joint behind its goal, for STALLED: something is in the way
STALLED = 0.5  # [s]


class Follower(Arm):
    """A follower arm. It holds still until `aim` and `send` move it.

    Example:
        with Follower(load(Path("left_follower.yaml"))) as arm:
            arm.aim(arm.read().qpos + [0.1, 0, 0, 0, 0, 0, 0])
            arm.send()  # moves 0.06 rad, the limit of one step
    """

    def __init__(self, description: ArmDescription, answer_time: float = ANSWER_TIME):
        super().__init__(description, answer_time)
        self._step = math.floor(description.speed * CONTROL_TIMESTEP / RAD_PER_TICK)  # [ticks] per control step
        self._limits = description.limits.T

    # -- connecting ---------------------------------------------------------------------------------------------------

    def mode(self, motor: int) -> int:
        return EXTENDED_POSITION if self.models[motor].current_unit is None else CURRENT_BASED_POSITION

    def settings(self, motor: int) -> dict[Register, int]:
        settings = {**super().settings(motor), VELOCITY_LIMIT: self._velocity(self.description.speed)}
        limit = self.models[motor].largest_current
        return settings | ({CURRENT_LIMIT: limit} if limit else {})

    def set_up(self) -> None:
        """Sets gains and current limits. An arm that holds itself, or was stopped by its watchdogs, goes on holding."""
        self.write_settings()
        self._set_speed(SLOW)
        self._set_all(BUS_WATCHDOG, 0)
        arm = self.description
        for motor, current in self._currents().items():
            gains = {POSITION_P: arm.p_gain, POSITION_I: arm.i_gain, POSITION_D: arm.d_gain, PROFILE_ACCELERATION: 0}
            for register, value in gains.items():
                self.bus.write(motor, register, value)
            if unit := self.models[motor].current_unit:
                self.bus.write(motor, GOAL_CURRENT, min(round(current / unit), self.models[motor].largest_current))

    def _start_reading(self) -> None:
        super()._start_reading()
        self._measure_shadows()
        self._switch_on()

    def _measure_shadows(self) -> None:
        """Measures where a shadow is when its joint's motor is at 0 ticks; the two face each other, turning opposite.

        A calibrated offset could be wrong, and the motors would pull against each other.
        """
        self._shadow_zeros = {}
        for shadow, place in self.description.shadows.items():
            self._shadow_zeros[shadow] = self._present(shadow) + self._present(self.description.motors[place])

    def _present(self, motor: int) -> int:
        return signed(self.bus.read(motor, PRESENT_POSITION))

    def _switch_on(self) -> None:
        """Moves slowly to the present pose, which means that nothing moves, and only then allows the full speed."""
        self._goal = self.ticks.copy()
        self.send()
        self._set_all(TORQUE, 1)
        self.wake()

    def wake(self) -> None:
        """Starts the motors' own watchdogs, also after they have stopped the motors. The arm holds where it is.

        From now on the motors stop when nobody has read or moved the arm for 0.08 s, and the next `aim` wakes them. A
        motor that was stopped may go on to its old goal until it gets a new one, so it is slow meanwhile.
        """
        self._set_speed(SLOW)
        self._set_all(BUS_WATCHDOG, 0)
        self.read()
        self._goal = self.ticks.copy()
        self._behind_since: float | None = None
        self.send()
        self._set_all(BUS_WATCHDOG, WATCHDOG)
        self._set_speed(self.description.speed)
        self._spoken = time.monotonic()

    def _set_speed(self, speed: float) -> None:
        self._set_all(PROFILE_VELOCITY, self._velocity(speed))

    def _set_all(self, register: Register, value: int) -> None:
        self.bus.set_all(register, {motor: value for _, motor in self.description.named()})

    @staticmethod
    def _velocity(speed: float) -> int:
        """A speed [rad/s] in units of a velocity register."""
        return math.ceil(speed / RAD_PER_TICK / VELOCITY_UNIT)

    def _currents(self) -> dict[int, int]:
        """The limit of the current [mA] of every motor."""
        arm = self.description
        currents = {joint.motor: joint.current for joint in arm.joints} | {arm.gripper.motor: arm.gripper.current}
        return currents | {shadow: arm.joints[place].current for shadow, place in arm.shadows.items()}

    # -- moving -------------------------------------------------------------------------------------------------------

    @property
    def goal(self) -> np.ndarray:
        """The present goal (7,) [rad, opening]."""
        return self.scale.values(self._goal)

    def aim(self, target: np.ndarray, speed: float | None = None) -> None:
        """Sets the goal of this control step: towards target (7,), within the joint limits and the limit per step.

        The limit per step is `speed` [rad/s], at most the arm's own, times 0.02 s; the gripper's motor has the same.
        Raises ValueError for a target that is not seven finite numbers, and leaves the goal as it is.
        """
        if time.monotonic() - self._spoken > LATE:
            self.wake()
        target = np.asarray(target, np.float64)
        if target.shape != (7,) or not np.all(np.isfinite(target)):
            raise ValueError(f"{self.name}: target {target.tolist()} is not seven finite numbers")
        wanted = np.rint(self.scale.ticks(np.clip(target, *self._limits))).astype(np.int64)
        most = self._step if speed is None else min(self._step, max(1, int(speed * CONTROL_TIMESTEP / RAD_PER_TICK)))
        self._goal = self._goal + np.clip(wanted - self._goal, -most, most)

    def send(self) -> None:
        """Sends the goal to all motors, with one packet."""
        goals = dict(zip(self.description.motors, map(int, self._goal), strict=True))
        for shadow, place in self.description.shadows.items():
            goals[shadow] = self._shadow_zeros[shadow] - int(self._goal[place])
        self.bus.sync_write(GOAL_POSITION, goals)
        self._spoken = time.monotonic()

    def ask(self) -> None:
        super().ask()
        self._spoken = time.monotonic()

    def reading(self) -> Reading:
        """As of every arm; HardwareError, too, if a joint has been far behind its goal for half a second."""
        reading = super().reading()
        behind = np.abs(self.goal - reading.qpos)[:GRIPPER]
        now = time.monotonic()
        if behind.max() < FAR_BEHIND or not reading.fresh:
            self._behind_since = None
        elif self._behind_since is None:
            self._behind_since = now
        elif now - self._behind_since > STALLED:
            joint, motor = list(self.description.named())[int(behind.argmax())]
            raise HardwareError(
                f"{self.name}, {joint}: motor {motor} is {behind.max():.2f} rad behind its goal; "
                "see whether something is in its way"
            )
        return reading

    def hold(self) -> None:
        """Makes the arm stay where it was last seen, as well as the bus allows; it never raises HardwareError."""
        if self._bus is not None:
            with contextlib.suppress(HardwareError):
                self._goal = self.ticks.copy()
                self.send()

    def hold_for_good(self) -> None:
        """Makes the arm stay where it is without this program: torque stays on, the watchdogs are off."""
        self.hold()
        with contextlib.suppress(HardwareError):
            self._set_speed(SLOW)
            self._set_all(BUS_WATCHDOG, 0)
            self.send()

    def let_go(self) -> None:
        """Switches torque off: the arm drops, unless it is in its rest pose or somebody supports it."""
        self._set_all(BUS_WATCHDOG, 0)
        self._set_all(TORQUE, 0)
