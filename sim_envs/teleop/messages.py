"""What the page and the 50 Hz loop say to each other, and the filter that checks what browsers send.

The loop sends a `PageState` when the last one has been drawn, so a slow page is simply drawn less often; the page sends
commands, each checked at its `CommandFilter`. Neither can make the loop wait.
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

PLAIN = ("beat", "engage", "release", "record", "save", "discard", "redo", "take_over", "hand_back")  # without values
MAX_RATE = 200  # commands of one browser in one second; a drag makes 20
PREVIEW = (120, 160)  # (H, W) of the images beside the scene [pixels]
Command = tuple[Any, ...]  # a name, then what belongs to it: ("grip", "left", 1.0), ("aim", "left", Pose), ("save",)
log = logging.getLogger("sim_envs.teleop")


@dataclass(frozen=True)
class PageConfig:
    """What the page must know before it opens."""

    task: str
    scene: Path  # MJCF
    stage_names: tuple[str, ...]
    cameras: tuple[str, ...]  # of the small images beside the scene
    gated: bool  # an agent drives, the operator corrects it
    host: str = "127.0.0.1"
    port: int = 8080
    token: str = ""


@dataclass(frozen=True)
class PageState:
    """What the page shows at one moment."""

    qpos: np.ndarray  # of the whole physics, (nq,)
    gizmos: Mapping[str, np.ndarray]  # by side: x y z [m], quaternion wxyz
    openings: Mapping[str, float]  # commanded, by side
    mode: str  # idle, ready, recording; with an agent autonomous, paused, correcting
    engaged: bool
    t: int  # control steps recorded
    stage: int  # best so far
    saved: int
    wanted: int
    note: str
    timing: str
    images: Mapping[str, np.ndarray] = field(default_factory=dict)  # (H, W, 3) uint8, those that are new


class PageLink(Protocol):
    """How the loop talks to a page."""

    def commands(self) -> list[Command]:
        """What has arrived since the last call."""
        ...

    def show(self, view: PageState) -> None:
        """Draws the view, or forgets it if the page is still busy with the last one."""
        ...


class CommandFilter:
    """Where messages of browsers arrive: one of them holds the lease, and only its well-formed commands pass.

    Everything else is dropped with a log line, at most one a second for each browser.
    """

    def __init__(self, send: Callable[[Command], None], clock: Callable[[], float] = time.monotonic):
        self.holder: int | None = None  # number of the browser that drives
        self._send, self._clock = send, clock
        self._second, self._count = 0, 0
        self._complained: dict[int, float] = {}  # browser -> time of the last log line

    def grant(self, client: int) -> bool:
        """Gives the lease to a browser unless another has it; whether it has it now."""
        self.holder = client if self.holder is None else self.holder
        return self.holder == client

    def leave(self, client: int) -> None:
        """A browser is gone; if it drove, the arms hold still at once."""
        self._complained.pop(client, None)
        if client == self.holder:
            self.holder = None
            self._send(("release",))

    def receive(self, client: int | None, name: str, *values: Any) -> bool:
        """Takes one message; whether it was passed on."""
        if client is None or client != self.holder:
            return self._drop(client, f"{name}: somebody else is driving")
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
    """The command, if it is one; else ValueError with the reason."""
    if name in PLAIN and not values:
        return (name,)
    if name in ("aim", "grip") and values and values[0] in SIDES:
        if name == "aim" and len(values) == 3:
            return name, values[0], checked_pose(*values[1:])
        if name == "grip" and len(values) == 2:
            return name, values[0], checked_opening(values[1])
    raise ValueError(f"no such command with {values!r:.80}")
