"""What leader and follower arms share: connecting, and reading seven joints at 50 Hz with patience for a poor bus."""

import time
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from real_envs.bus import ANSWER_TIME, Bus, HardwareError
from real_envs.description import ArmDescription, Scale
from real_envs.motors import (
    DRIVE_MODE,
    HARDWARE_ERROR,
    HOMING_OFFSET,
    MODELS,
    OPERATING_MODE,
    PRESENT_POSITION,
    RETURN_DELAY,
    SECONDARY_ID,
    TORQUE,
    VELOCITY_AND_POSITION,
    VELOCITY_UNIT,
    Model,
    Register,
    reported,
)

SILENCE = 0.05  # [s] from the first question that a motor did not answer until the arm counts as lost
CURE = "check the cables and the power supply"
MOST_LOST = 10  # of the last 100 readings that may need a second attempt; on a sound bus none does


@dataclass(frozen=True)
class Reading:
    """The seven joints of an arm. `fresh` is False when a motor did not answer and the values are the last ones."""

    qpos: np.ndarray  # (7,) six joints [rad], gripper [0 closed, 1 open]
    qvel: np.ndarray  # (7,) [rad/s], [1/s]
    fresh: bool = True


class Arm:
    """An arm on a bus. Subclasses say what their motors shall be set to; `connect` comes first.

    Args:
        description: ids, signs, zeros and limits.
        answer_time: [s] that an answer of a motor may take.
    """

    def __init__(self, description: ArmDescription, answer_time: float = ANSWER_TIME):
        description.check()
        self.description, self.name = description, description.name
        self._answer_time = answer_time
        self._bus: Bus | None = None
        self.models: dict[int, Model] = {}

    @property
    def bus(self) -> Bus:
        """The bus; HardwareError if the arm is not connected."""
        if self._bus is None:
            raise HardwareError(f"{self.name} is not connected; call connect() first")
        return self._bus

    def connect(self) -> Self:
        """Opens the bus, finds every motor and sets it up.

        Raises HardwareError, which names the motor, if one does not answer, reports an error or is of an unknown model.
        """
        self._bus = Bus(self.description.port, self.description.baudrate, self._answer_time)
        try:
            for joint, motor in self.description.named():
                self.models[motor] = self._found(joint, motor)
            self.set_up()
            self._start_reading()
        except BaseException:
            self.disconnect()
            raise
        return self

    def disconnect(self) -> None:
        """Closes the port and changes nothing else."""
        if self._bus is not None:
            self._bus.close()
            self._bus = None

    def set_up(self) -> None:
        """Sets the motors up; the torque is as it was before."""
        raise NotImplementedError

    def settings(self, motor: int) -> dict[Register, int]:
        """What a motor keeps without power, so that ticks mean the same whoever has used the arm before."""
        return {DRIVE_MODE: 0, HOMING_OFFSET: 0, SECONDARY_ID: 255, RETURN_DELAY: 0, OPERATING_MODE: self.mode(motor)}

    def mode(self, motor: int) -> int:
        """The operating mode of a motor."""
        raise NotImplementedError

    # -- reading ------------------------------------------------------------------------------------------------------

    def ask(self) -> None:
        """Asks for the joints and returns at once, so that another arm can be asked meanwhile."""
        self._asked = time.monotonic()
        self.bus.ask(self.description.motors, VELOCITY_AND_POSITION)

    def reading(self) -> Reading:
        """The joints that `ask` asked for.

        If a motor stays silent after all attempts, the last reading is repeated. Raises HardwareError, in one sentence,
        when that has lasted `SILENCE`, when more than `MOST_LOST` readings lost packets, and when a motor has a fault.
        """
        answers = self.bus.answers()
        if self.bus.alerts:
            raise HardwareError(self._fault(min(self.bus.alerts)))
        if len(answers) == len(self.description.motors):
            self._silent_since, self._reading = None, self._decoded(answers)
        else:
            self._reading = replace(self._reading, fresh=False)
            self._check_silence()
        self._check_losses()
        return self._reading

    def read(self) -> Reading:
        """The joints now."""
        self.ask()
        return self.reading()

    def _decoded(self, answers: dict[int, bytes]) -> Reading:
        numbers = np.array([np.frombuffer(answers[motor], "<i4") for motor in self.description.motors])
        self.ticks = numbers[:, 1].astype(np.int64)
        return Reading(self.scale.values(self.ticks), numbers[:, 0] * VELOCITY_UNIT * self.scale.unit)

    def _check_silence(self) -> None:
        """A program that was late itself does not count as a silent arm: two questions in a row must be unanswered."""
        if self._silent_since is None:
            self._silent_since = self._asked
        elif (silence := time.monotonic() - self._silent_since) > SILENCE:
            raise HardwareError(f"{self.name} on {self.bus.port} has not answered for {1e3 * silence:.0f} ms; {CURE}")

    def _check_losses(self) -> None:
        losses = self.bus.losses
        if losses.lost > MOST_LOST:
            share = f"{losses.lost} of its last {losses.asked} readings"
            raise HardwareError(f"{self.name} on {self.bus.port} lost packets in {share}; {CURE}")

    # -- connecting ---------------------------------------------------------------------------------------------------

    def _found(self, joint: str, motor: int) -> Model:
        """The model of a motor that is there and sound."""
        try:
            number = self.bus.ping(motor)
            error = self.bus.read(motor, HARDWARE_ERROR)
        except HardwareError as cause:
            raise HardwareError(f"{self.name}, {joint}: {cause}") from None
        if error:
            raise HardwareError(self._fault(motor))
        if number not in MODELS:
            known = ", ".join(f"{number} {model.name}" for number, model in MODELS.items())
            raise HardwareError(f"{self.name}, {joint}: motor {motor} is of model {number}; known are {known}")
        return MODELS[number]

    def _fault(self, motor: int) -> str:
        joint = next(joint for joint, other in self.description.named() if other == motor)
        return (
            f"{self.name}, {joint}: motor {motor} reports {reported(self.bus.read(motor, HARDWARE_ERROR))}; "
            "support the arm, switch its power off and on, and let it cool"
        )

    def write_settings(self) -> None:
        """Writes the settings that differ; HardwareError if a motor that holds torque would have to change them."""
        for joint, motor in self.description.named():
            present = {register: self.bus.read(motor, register) for register in self.settings(motor)}
            differing = dict(self.settings(motor).items() - present.items())
            if differing and self.bus.read(motor, TORQUE):
                raise HardwareError(
                    f"{self.name}, {joint}: motor {motor} holds torque with other settings; support the arm, "
                    "switch its power off and on, and connect again"
                )
            for register, value in differing.items():
                self.bus.write(motor, register, value)

    def _start_reading(self) -> None:
        ticks = np.array([signed(self.bus.read(motor, PRESENT_POSITION)) for motor in self.description.motors])
        self.scale, self.ticks, self._silent_since = Scale(self.description, ticks), ticks, None
        self._reading = Reading(self.scale.values(ticks), np.zeros(len(ticks)))

    def __enter__(self) -> Self:
        return self.connect()

    def __exit__(self, *_: object) -> None:
        self.disconnect()


def signed(value: int) -> int:
    """A 4-byte register as a signed number of ticks."""
    return (value + 2**31) % 2**32 - 2**31
