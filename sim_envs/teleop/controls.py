"""Gizmos, buttons and keys of the browser that drives. It needs viser."""

import functools
from collections.abc import Callable
from typing import Any

import viser

from sim_envs.robot import SIDES
from sim_envs.teleop.messages import CommandFilter, PageState

GIZMO = 0.13  # [m] length of its arrows
GRIP_KEYS = "FJ"  # under the index fingers; W A S D Q E and the arrow keys move viser's camera


class Controls:
    """The controls in one browser. They send their commands through the filter."""

    def __init__(self, client: viser.ClientHandle, filter_: CommandFilter, gated: bool):
        self._client, self._filter = client, filter_
        self._engaged = self._correcting = False
        self._openings: dict[str, float] = dict.fromkeys(SIDES, 0.0)
        self._dragged: set[str] = set()
        self._gizmos = {side: self._add_gizmo(side) for side in SIDES}
        gui = client.gui
        with gui.add_folder("Episode", order=10):
            self._add_button("Record", "R", lambda: self.send("record"), "player-record", "red")
            self._episode_buttons = [
                self._add_button(name, key, functools.partial(self.send, name.lower()), icon, None)
                for name, key, icon in (
                    ("Save", "V", "device-floppy"),
                    ("Discard", "X", "trash"),
                    ("Redo", "Z", "rotate"),
                )
            ]
        with gui.add_folder("Arms", order=20):
            self._driver_button = None
            if gated:
                self._driver_button = self._add_button("Take over", "T", self.toggle_driver, "hand-stop", "orange")
            self._clutch = self._add_button("Engage the clutch", "C", self.toggle_clutch, "link", "blue")
            self._grips = {
                side: self._add_button(f"Open {side} hand", key, functools.partial(self.toggle_grip, side), None, None)
                for side, key in zip(SIDES, GRIP_KEYS, strict=True)
            }

    def send(self, name: str, *values: Any) -> None:
        self._filter.receive(self._client.client_id, name, *values)

    def toggle_clutch(self) -> None:
        self.send("release" if self._engaged else "engage")

    def toggle_grip(self, side: str) -> None:
        self._openings[side] = 0.0 if self._openings[side] > 0.5 else 1.0
        self.send("grip", side, self._openings[side])

    def toggle_driver(self) -> None:
        self.send("hand_back" if self._correcting else "take_over")

    def show(self, state: PageState) -> None:
        """Updates gizmos and labels; a gizmo that the operator drags is not moved."""
        self._engaged, self._correcting = state.engaged, state.mode in ("paused", "correcting")
        self._openings = dict(state.openings)
        self._clutch.label = "Release the clutch  [C]" if state.engaged else "Engage the clutch  [C]"
        for (side, button), key in zip(self._grips.items(), GRIP_KEYS, strict=True):
            button.label = f"{'Close' if state.openings[side] > 0.5 else 'Open'} {side} hand  [{key}]"
        if self._driver_button is not None:
            self._driver_button.label = "Hand back  [T]" if self._correcting else "Take over  [T]"
        for button in self._episode_buttons:
            button.disabled = state.mode == "idle"
        for side, gizmo in self._gizmos.items():
            gizmo.visible = state.mode != "autonomous"
            if side not in self._dragged or not state.engaged:
                gizmo.position, gizmo.wxyz = state.gizmos[side][:3], state.gizmos[side][3:]

    def _add_gizmo(self, side: str) -> viser.TransformControlsHandle:
        gizmo = self._client.scene.add_transform_controls(f"/{side}_hand", scale=GIZMO, depth_test=False, line_width=3)

        @gizmo.on_update
        async def _(event: viser.TransformControlsEvent) -> None:
            if event.phase == "start":
                self._dragged.add(side)
                self.send("engage")
            elif event.phase == "update":
                self.send("aim", side, event.target.position, event.target.wxyz)
            else:
                self._dragged.discard(side)

        return gizmo

    def _add_button(self, label: str, key: Any, act: Callable[[], None], icon: Any, color: Any) -> Any:
        """A button, and a key that does the same."""
        gui = self._client.gui
        shown = f"{label}  [{key}]"
        button = gui.add_button(shown, icon=icon, color=color)
        command = gui.add_command(label, hotkey=key)

        @button.on_click
        async def _(_: Any) -> None:
            act()

        @command.on_trigger
        async def _(_: Any) -> None:
            act()

        return button
