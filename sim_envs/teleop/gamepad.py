"""A gamepad at the machine that runs the loop: sticks move the hands, beside the page's gizmos and through its checks.

viser gives a page no access to one, Linux does: /dev/input/js0 tells events of 8 bytes (kernel documentation,
"Joystick API", and linux/joystick.h), its buttons and axes by the kernel's names ("Linux Gamepad Specification").

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
BUTTON, AXIS = 0x01, 0x02  # types; with 0x80 an event tells how things stood when the device was opened
NAME_REQUEST, AXES_REQUEST, BUTTONS_REQUEST = 0x80806A13, 0x80406A32, 0x84006A34  # JSIOCGNAME(128), ...AXMAP, ...BTNMAP
STICKS = {"left": (0x00, 0x01), "right": (0x03, 0x04)}  # ABS_X, ABS_Y; ABS_RX, ABS_RY
TRIGGERS = {"left": 0x02, "right": 0x05}  # ABS_Z, ABS_RZ
SHOULDERS = {0x136: "left", 0x137: "right"}  # BTN_TL, BTN_TR
LOWER, RIGHT, SELECT, START = 0x130, 0x131, 0x13A, 0x13B  # BTN_SOUTH, BTN_EAST, ...
USUAL_AXES = list(range(8))  # of a device that does not tell: as the driver xpad numbers them
USUAL_BUTTONS = [0x130, 0x131, 0x133, 0x134, 0x136, 0x137, 0x13A, 0x13B, 0x13C, 0x13D, 0x13E]
DEAD_ZONE = 0.15  # of a stick's way
PACE = 0.5  # of the hand's largest speed and turning, at the end of the way
log = logging.getLogger("sim_envs.teleop")


def find_gamepad(path: str) -> "Gamepad | None":
    """The gamepad at `path`, the first there is ("auto"), or None ("none"); ValueError when `path` cannot be opened."""
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
    """What is held and moved on a device that was opened without blocking; closes it."""

    def __init__(self, device: int):
        self.axes: dict[int, float] = {}  # kernel's name -> -1..1
        self.held: set[int] = set()  # buttons, by the kernel's names
        self._device: int | None = device
        self._axes = list(self._ask(AXES_REQUEST, "B", 0x40) or USUAL_AXES)
        self._buttons = list(self._ask(BUTTONS_REQUEST, "H", 0x200) or USUAL_BUTTONS)
        name = self._ask(NAME_REQUEST, "B", 128)
        self.name = bytes(name).split(b"\0")[0].decode(errors="replace") if name else "gamepad"

    def _ask(self, request: int, kind: str, length: int) -> "array.array[int] | None":
        """Numbers that the driver tells; None where it tells none."""
        assert self._device is not None
        answer = array.array(kind, [0] * length)
        try:
            fcntl.ioctl(self._device, request, answer)
        except OSError:
            return None
        return answer

    def pressed(self) -> list[int]:
        """Brings `axes` and `held` up to date; buttons that went down since the last call. Unplugged, all is let go."""
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
        """(value, type, number) of what has happened."""
        while self._device is not None:
            try:
                data = os.read(self._device, 64 * EVENT.size)
            except BlockingIOError:
                return
            except OSError:  # the kernel's word for unplugged
                data = b""
            if not data:
                log.warning("the gamepad is gone; the page goes on")
                self.close()
            for _, value, kind, number in EVENT.iter_unpack(data[: len(data) // EVENT.size * EVENT.size]):
                yield value, kind, number

    def deflection(self, side: str) -> np.ndarray:
        """(2,) of that side's stick, to the right and away, -1..1: nothing in the dead zone, gentle next to it."""
        x, y = (self.axes.get(axis, 0.0) for axis in STICKS[side])
        way = np.array([x, -y])
        length = min(float(np.linalg.norm(way)), 1.0)
        share = max(0.0, length - DEAD_ZONE) / (1 - DEAD_ZONE)
        return way / max(length, 1e-9) * share**2

    def close(self) -> None:
        self.axes, self.held = {}, set()
        if self._device is not None:
            os.close(self._device)
            self._device = None


class LinkWithGamepad:
    """A page's `PageLink` with a gamepad beside it. A hand whose stick is moved does not listen to its gizmo."""

    def __init__(self, link: PageLink, gamepad: Gamepad):
        self._link, self._gamepad = link, gamepad
        self._view: PageState | None = None
        self._goals: dict[str, Pose] = {}  # of the hands whose sticks are moved

    def show(self, view: PageState) -> None:
        self._view = view
        self._link.show(view)

    def commands(self) -> list[Command]:
        pressed, view = self._gamepad.pressed(), self._view
        if view is None:
            return self._link.commands()
        told = [command for button in pressed for command in self._order(button, view)]
        moved = self._move(view)
        theirs = [c for c in self._link.commands() if c[0] != "aim" or c[1] not in self._goals]
        return [*theirs, *told, *moved]

    def _order(self, button: int, view: PageState) -> Iterator[Command]:
        """What a button says."""
        if button in SHOULDERS:
            side = SHOULDERS[button]
            yield "grip", side, 0.0 if view.openings[side] > 0.5 else 1.0
        elif button == RIGHT:
            turns = {"autonomous": "take_over", "paused": "hand_back", "correcting": "hand_back"}
            yield (turns.get(view.mode, "save"),)
        elif button in (START, SELECT):
            yield ("record" if button == START else "discard",)

    def _move(self, view: PageState) -> list[Command]:
        """Where the sticks lead the hands in one control step, from where they are wanted now.

        What was wanted before somebody else drove, or the scene was set anew, is forgotten.
        """
        if view.mode == "autonomous" or not view.engaged:
            self._goals = {}
        if view.mode == "autonomous":
            return []
        moves = {side: self._gamepad.deflection(side) for side in STICKS}
        moves = {side: move for side, move in moves.items() if move.any()}
        goals = {side: self._goals.get(side) or pose_of(view.gizmos[side]) for side in moves}
        self._goals = {side: self._led(side, goal, moves[side]) for side, goal in goals.items()}
        if not self._goals:
            return []
        return [("engage",), *(("aim", side, goal) for side, goal in self._goals.items())]

    def _led(self, side: str, goal: Pose, move: np.ndarray) -> Pose:
        aside, ahead = PACE * CONTROL_TIMESTEP * move
        if LOWER in self._gamepad.held:  # about the hand's own axes
            turn = rotation_matrix(TURNING * np.array([aside, ahead, 0.0]))
            return Pose(goal.position, goal.rotation @ turn)
        if self._gamepad.axes.get(TRIGGERS[side], -1.0) > 0:
            turn = rotation_matrix(TURNING * np.array([0.0, 0.0, -aside]))
            return Pose(_within(goal.position + SPEED * np.array([0.0, 0.0, ahead])), turn @ goal.rotation)
        return Pose(_within(goal.position + SPEED * np.array([aside, ahead, 0.0])), goal.rotation)


def _within(position: np.ndarray) -> np.ndarray:
    """A stick that is held at the edge does not have to be held as long on the way back."""
    return np.clip(position, *WORKSPACE.T)


@contextlib.contextmanager
def beside(link: PageLink, gamepad: Gamepad | None) -> Iterator[PageLink]:
    """The link, with the gamepad if there is one, which is closed in the end."""
    if gamepad is None:
        yield link
        return
    try:
        yield LinkWithGamepad(link, gamepad)
    finally:
        gamepad.close()
