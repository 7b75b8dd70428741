"""The messages between the page and the 50 Hz loop, and the filter that checks what browsers send.

The loop sends the next `PageState` when the page has drawn the last one, so a slow page is only drawn less often. The
page sends commands that have passed its `CommandFilter`. Neither can make the loop wait.
"""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from sim_envs.robot import SIDES
from sim_envs.teleop.operator import checked_opening, checked_pose

WITHOUT_VALUES = ("beat", "engage", "release", "record", "save", "discard", "redo", "take_over", "hand_back")
MAX_RATE = 200  # commands of one browser in one second; dragging sends 20
PREVIEW = (120, 160)  # (H, W) [pixels] of the camera images beside the scene
Command = tuple[Any, ...]  # a name and its values: ("grip", "left", 1.0), ("aim", "left", Pose), ("save",)
log = logging.getLogger("sim_envs.teleop")


@dataclass(frozen=True)
class PageConfig:
    """What the page must know before it opens."""

    task: str
    scene: Path  # MJCF
    stage_names: tuple[str, ...]
    cameras: tuple[str, ...]  # whose images are shown beside the scene
    gated: bool  # whether an agent drives and the operator corrects it
    host: str = "127.0.0.1"
    port: int = 8080
    token: str = ""


@dataclass(frozen=True)
class PageState:
    """What the page shows at one moment."""

    qpos: np.ndarray  # (nq,) of the whole simulation
    gizmos: Mapping[str, np.ndarray]  # side -> x y z [m], quaternion wxyz
    openings: Mapping[str, float]  # side -> commanded opening of the gripper, 0..1
    mode: str  # idle, ready, recording; with an agent autonomous, paused, correcting
    engaged: bool  # the clutch
    t: int  # control steps recorded
    stage: int  # the best reached so far
    saved: int  # episodes
    wanted: int  # episodes
    note: str  # what happened last
    timing: str  # how well the loop keeps its deadlines
    images: Mapping[str, np.ndarray] = field(default_factory=dict)  # new ones, (H, W, 3) uint8


class PageLink(Protocol):
    """How the loop and a page exchange messages."""

    def commands(self) -> list[Command]:
        """The commands that have arrived since the last call."""
        ...

    def show(self, state: PageState) -> None:
        """Draws the state, or drops it if the page is still drawing the last one."""
        ...


class CommandFilter:
    """Passes the valid commands of one browser, the one that drives, on to `send`.

    Everything else is dropped with a log line, at most one per second and browser.
    """

    def __init__(self, send: Callable[[Command], None], clock: Callable[[], float] = time.monotonic):
        self.driver: int | None = None  # number of the browser that drives
        self._send, self._clock = send, clock
        self._second, self._count = 0, 0
        self._complained: dict[int, float] = {}  # browser -> time of the last log line

    def grant(self, client: int) -> bool:
        """Lets a browser drive unless another one does; returns whether it drives now."""
        self.driver = client if self.driver is None else self.driver
        return self.driver == client

    def leave(self, client: int) -> None:
        """A browser has left; if it drove, the arms hold still at once."""
        self._complained.pop(client, None)
        if client == self.driver:
            self.driver = None
            self._send(("release",))

    def receive(self, client: int | None, name: str, *values: Any) -> bool:
        """Takes one message of a browser; returns whether it was passed on."""
        if client is None or client != self.driver:
            return self._drop(client, f"{name}: another browser drives")
        second = int(self._clock())
        self._count = self._count + 1 if second == self._second else 1
        self._second = second
        if self._count > MAX_RATE:
            return self._drop(client, f"{name}: more than {MAX_RATE} messages in one second")
        try:
            self._send(checked(name, values))
        except ValueError as error:
            return self._drop(client, f"{name}: {error}")
        return True

    def _drop(self, client: int | None, reason: str) -> bool:
        now = self._clock()
        if now - self._complained.get(client or 0, -np.inf) >= 1.0:
            self._complained[client or 0] = now
            log.warning("dropped a message of browser %s: %s", client, reason)
        return False


def checked(name: str, values: tuple[Any, ...]) -> Command:
    """The command that a browser sent; ValueError, which says why, if it is none."""
    if name in WITHOUT_VALUES and not values:
        return (name,)
    if name in ("aim", "grip") and values and values[0] in SIDES:
        if name == "aim" and len(values) == 3:
            return name, values[0], checked_pose(*values[1:])
        if name == "grip" and len(values) == 2:
            return name, values[0], checked_opening(values[1])
    raise ValueError(f"no such command with the values {values!r:.80}")
