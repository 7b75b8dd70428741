"""A gamepad at the machine that runs the loop: its sticks move the hands, in addition to the page's gizmos.

A page cannot read a gamepad through viser, but Linux can: /dev/input/js0 delivers events of 8 bytes (kernel
documentation, "Joystick API", and linux/joystick.h). Buttons and axes go by the kernel's names ("Linux Gamepad
Specification"). What a gamepad commands passes the same limits, clutch and watchdog as what the page commands.

    stick of a hand      left, right, away, near        with the trigger held: turn about the vertical; up, down
                                                        with the lower button held: roll, tilt
    shoulder of a hand   open or close it
    start, select        record, discard                right button: save; with a policy: take over, hand back
"""

import array
import contextlib
import fcntl
import logging
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from sim_envs.experts.expert import SPEED, TURNING
from sim_envs.kinematics import CONTROL_TIMESTEP, Pose, pose_of, rotation_matrix
from sim_envs.teleop.messages import Command, PageLink, PageState
from sim_envs.teleop.operator import WORKSPACE

EVENT = struct.Struct("<IhBB")  # time [ms], value, type, number
BUTTON, AXIS = 0x01, 0x02  # types of events; 0x80 is added for the state when the device was opened
NAME_REQUEST, AXES_REQUEST, BUTTONS_REQUEST = 0x80806A13, 0x80406A32, 0x84006A34  # JSIOCGNAME(128), ...AXMAP, ...BTNMAP
STICKS = {"left": (0x00, 0x01), "right": (0x03, 0x04)}  # ABS_X, ABS_Y; ABS_RX, ABS_RY
TRIGGERS = {"left": 0x02, "right": 0x05}  # ABS_Z, ABS_RZ
SHOULDERS = {0x136: "left", 0x137: "right"}  # BTN_TL, BTN_TR
LOWER, RIGHT, SELECT, START = 0x130, 0x131, 0x13A, 0x13B  # BTN_SOUTH, BTN_EAST, ...
USUAL_AXES = list(range(8))  # of a device whose driver does not answer: the numbers of the driver xpad
USUAL_BUTTONS = [0x130, 0x131, 0x133, 0x134, 0x136, 0x137, 0x13A, 0x13B, 0x13C, 0x13D, 0x13E]
DEAD_ZONE = 0.15  # share of a stick's travel that moves nothing
SPEED_SHARE = 0.5  # of the hand's largest speed and turning, when a stick is pushed all the way
log = logging.getLogger("sim_envs.teleop")


def find_gamepad(path: str) -> "Gamepad | None":
    """The gamepad at `path`, the first one found ("auto"), or None ("none"); ValueError if `path` cannot be opened."""
    if path == "none":
        return None
    for candidate in sorted(Path("/dev/input").glob("js*")) if path == "auto" else [Path(path)]:
        try:
            return Gamepad(os.open(candidate, os.O_RDONLY | os.O_NONBLOCK))
        except OSError as error:
            if path != "auto":
                raise ValueError(f"--gamepad {path}: {error.strerror}; give /dev/input/js0, auto or none") from None
            log.warning("the gamepad at %s cannot be opened: %s", candidate, error.strerror)
    return None


class Gamepad:
    """The state of a gamepad. `device` is a file descriptor, opened without blocking; `close` closes it."""

    def __init__(self, device: int):
        self.axes: dict[int, float] = {}  # kernel's name -> -1..1
        self.held: set[int] = set()  # buttons, by the kernel's names
        self._device: int | None = device
        self._axes = list(self._ask(AXES_REQUEST, "B", 0x40) or USUAL_AXES)
        self._buttons = list(self._ask(BUTTONS_REQUEST, "H", 0x200) or USUAL_BUTTONS)
        name = self._ask(NAME_REQUEST, "B", 128)
        self.name = bytes(name).split(b"\0")[0].decode(errors="replace") if name else "gamepad"

    def _ask(self, request: int, kind: str, length: int) -> "array.array[int] | None":
        """The numbers that the driver answers; None if it answers nothing."""
        assert self._device is not None
        answer = array.array(kind, [0] * length)
        try:
            fcntl.ioctl(self._device, request, answer)
        except OSError:
            return None
        return answer

    def pressed(self) -> list[int]:
        """Updates `axes` and `held`; returns the buttons that went down since the last call.

        When the gamepad is unplugged, all sticks and buttons count as released.
        """
        down = []
        for value, kind, number in self._events():
            if kind & AXIS and number < len(self._axes):
                self.axes[self._axes[number]] = value / 32767
            elif kind & BUTTON and number < len(self._buttons):
                button = self._buttons[number]
                (self.held.add if value else self.held.discard)(button)
                if value and kind == BUTTON:
                    down.append(button)
        return down

    def _events(self) -> Iterator[tuple[int, int, int]]:
        """Yields (value, type, number) of every new event."""
        while self._device is not None:
            try:
                data = os.read(self._device, 64 * EVENT.size)
            except BlockingIOError:
                return
            except OSError:  # unplugged
                data = b""
            if not data:
                log.warning("the gamepad was unplugged; the page goes on without it")
                self.close()
            for _, value, kind, number in EVENT.iter_unpack(data[: len(data) // EVENT.size * EVENT.size]):
                yield value, kind, number

    def deflection(self, side: str) -> np.ndarray:
        """How far that side's stick is pushed to the right and away, (2,) in -1..1.

        It is 0 in the dead zone and grows with the square of the distance from it, so that small motions are precise.
        """
        x, y = (self.axes.get(axis, 0.0) for axis in STICKS[side])
        push = np.array([x, -y])
        length = min(float(np.linalg.norm(push)), 1.0)
        share = max(0.0, length - DEAD_ZONE) / (1 - DEAD_ZONE)
        return push / max(length, 1e-9) * share**2

    def close(self) -> None:
        self.axes, self.held = {}, set()
        if self._device is not None:
            os.close(self._device)
            self._device = None


class LinkWithGamepad:
    """A `PageLink` whose commands come from a page and from a gamepad.

    While a stick moves a hand, the hand ignores its gizmo.
    """

    def __init__(self, link: PageLink, gamepad: Gamepad):
        self._link, self._gamepad = link, gamepad
        self._state: PageState | None = None
        self._goals: dict[str, Pose] = {}  # wanted poses of the hands that sticks move

    def show(self, state: PageState) -> None:
        self._state = state
        self._link.show(state)

    def commands(self) -> list[Command]:
        pressed, state = self._gamepad.pressed(), self._state
        if state is None:
            return self._link.commands()
        from_buttons = [command for button in pressed for command in self._button_commands(button, state)]
        from_sticks = self._stick_commands(state)
        from_page = [c for c in self._link.commands() if c[0] != "aim" or c[1] not in self._goals]
        return [*from_page, *from_buttons, *from_sticks]

    def _button_commands(self, button: int, state: PageState) -> Iterator[Command]:
        if button in SHOULDERS:
            side = SHOULDERS[button]
            yield "grip", side, 0.0 if state.openings[side] > 0.5 else 1.0
        elif button == RIGHT:
            by_mode = {"autonomous": "take_over", "paused": "hand_back", "correcting": "hand_back"}
            yield (by_mode.get(state.mode, "save"),)
        elif button in (START, SELECT):
            yield ("record" if button == START else "discard",)

    def _stick_commands(self, state: PageState) -> list[Command]:
        """Moves the wanted poses of the hands by one control step.

        They start again at the hands after somebody else drove, or after the scene was reset.
        """
        if state.mode == "autonomous" or not state.engaged:
            self._goals = {}
        if state.mode == "autonomous":
            return []
        pushes = {side: self._gamepad.deflection(side) for side in STICKS}
        pushes = {side: push for side, push in pushes.items() if push.any()}
        goals = {side: self._goals.get(side) or pose_of(state.gizmos[side]) for side in pushes}
        self._goals = {side: self._moved(side, goal, pushes[side]) for side, goal in goals.items()}
        if not self._goals:
            return []
        return [("engage",), *(("aim", side, goal) for side, goal in self._goals.items())]

    def _moved(self, side: str, goal: Pose, push: np.ndarray) -> Pose:
        """The wanted pose after one control step of a stick that is pushed (2,)."""
        aside, ahead = SPEED_SHARE * CONTROL_TIMESTEP * push
        if LOWER in self._gamepad.held:  # about the hand's own axes
            turn = rotation_matrix(TURNING * np.array([aside, ahead, 0.0]))
            return Pose(goal.position, goal.rotation @ turn)
        if self._gamepad.axes.get(TRIGGERS[side], -1.0) > 0:
            turn = rotation_matrix(TURNING * np.array([0.0, 0.0, -aside]))
            return Pose(_within(goal.position + SPEED * np.array([0.0, 0.0, ahead])), turn @ goal.rotation)
        return Pose(_within(goal.position + SPEED * np.array([aside, ahead, 0.0])), goal.rotation)


def _within(position: np.ndarray) -> np.ndarray:
    """Limits a position to the workspace, so that a stick that was held at its edge works at once on the way back."""
    return np.clip(position, *WORKSPACE.T)


@contextlib.contextmanager
def with_gamepad(link: PageLink, gamepad: Gamepad | None) -> Iterator[PageLink]:
    """The link, joined by the gamepad if there is one; closes the gamepad in the end."""
    if gamepad is None:
        yield link
        return
    try:
        yield LinkWithGamepad(link, gamepad)
    finally:
        gamepad.close()
