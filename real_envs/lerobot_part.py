"""One LeRobot robot or teleoperator with its declaration: connecting, reading with patience, sending.

Nothing here imports LeRobot: the methods are those that its `Robot` and `Teleoperator` define, and it is needed only
where its devices are made.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from real_envs.errors import HardwareError
from real_envs.lerobot_body import Body

SILENCE = 0.05  # [s] from the first reading that failed until the device counts as lost
FAILURES = (OSError, RuntimeError)  # what LeRobot raises for a lost bus, a motor's error, a camera that is late


class Part:
    """A LeRobot device and its declaration.

    Args:
        device: a robot or teleoperator.
        body: what its numbers mean.
        features: those that LeRobot names for its joints.
        ask: LeRobot's method that reads the device.

    Raises ValueError, in one sentence, if the declaration does not fit the device.
    """

    def __init__(self, device: Any, body: Body, features: Mapping[str, Any], ask: Callable[[], Mapping[str, Any]]):
        body.check(device, features)
        self.device, self.body, self._ask = device, body, ask
        self.name = str(getattr(device, "name", type(device).__name__))
        self._failed_since: float | None = None

    def connect(self) -> None:
        """Connects the device, unless it is connected, and checks where its joints are."""
        with self._named_errors():
            if not self.device.is_connected:
                self.device.connect(calibrate=False)
            if not self.device.is_calibrated:
                raise HardwareError(f"{self.name} is not calibrated; run lerobot-calibrate first")
            self.body.check_reading(self.body.values(self._ask()))

    def disconnect(self) -> None:
        with contextlib.suppress(*FAILURES):
            if self.device.is_connected:
                self.device.disconnect()

    def read(self) -> Mapping[str, Any] | None:
        """What LeRobot gives, or None if that failed this time.

        Raises HardwareError, in one sentence, when readings have failed for `SILENCE`.
        """
        asked = time.monotonic()
        try:
            numbers = self._ask()
        except FAILURES as error:
            if self._failed_since is None:
                self._failed_since = asked
            elif time.monotonic() - self._failed_since > SILENCE:
                raise HardwareError(self._sentence(error)) from None
            return None
        self._failed_since = None
        return numbers

    def send(self, values: np.ndarray) -> bool:
        """Sends targets (n,); returns whether LeRobot sent just these. Raises HardwareError if it cannot."""
        numbers = self.body.numbers(values)
        with self._named_errors():
            sent = self.device.send_action(dict(numbers))
        return all(abs(float(sent.get(name, number)) - number) < 1e-3 for name, number in numbers.items())

    @contextlib.contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except HardwareError:
            raise
        except FAILURES as error:
            raise HardwareError(self._sentence(error)) from None

    def _sentence(self, error: Exception) -> str:
        why = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        return f"{self.name}: {why}; check the cables and the power supply"
