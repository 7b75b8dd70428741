"""What the browser shows: the live scene, a gizmo per gripper, buttons and keys, stages, camera images. Needs viser.

Scene, status and images are everybody's; gizmos and buttons exist only in the browser that holds the lease.
"""

import asyncio
import contextlib
import functools
import io
import logging
import signal
import socket
import sys
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import mujoco
import numpy as np
import viser
from mjviser import ViserMujocoScene

from sim_envs.kinematics import CONTROL_TIMESTEP
from sim_envs.robot import SIDES
from sim_envs.teleop.access_proxy import AccessProxy
from sim_envs.teleop.messages import PREVIEW, Command, CommandFilter, PageConfig, PageState

BEAT = 0.03  # [s] pause between two questions whether the browser is there
PATIENCE = 5.0  # [s] for its answer; the arms hold still long before
GIZMO = 0.13  # [m] length of its arrows
CAMERA = (0.0, -0.5, 0.62), (0.0, 0.5, 0.13)  # [m] where one looks from, and at
GRIP_KEYS = "FJ"  # where the index fingers lie; W A S D Q E and the arrows move viser's camera
HELP = """Drag the arrows and arcs at a hand: it follows, at its own pace. Grabbing one takes the **clutch**; **C**
takes it, or lets it go: then the arms hold still. **F** and **J** open and close the left and the right hand."""
GATED_HELP = HELP + " **T** stops the policy: correct it, then hand back with **T**."
log = logging.getLogger("sim_envs.teleop")


class OneLine(logging.Formatter):
    """Log lines without tracebacks: what a browser sent wrong is no error of ours."""

    def formatException(self, ei: Any) -> str:
        return f"{ei[0].__name__}: {ei[1]}"


class Server(viser.ViserServer):
    """viser without its tunnel to the internet, which any browser could ask for."""

    def request_share_url(self, verbose: bool = True) -> str | None:
        log.warning("dropped a request to share the page on the internet")
        return None


class Page:
    """The page on a viser server. `send` takes the commands that pass the desk; `show` draws."""

    def __init__(self, server: viser.ViserServer, about: PageConfig, send: Callable[[Command], None]):
        self.desk = CommandFilter(send)
        self._server, self._about = server, about
        self._model = mujoco.MjModel.from_xml_path(str(about.scene))
        self._data = mujoco.MjData(self._model)
        self._controls: Controls | None = None  # of the browser that drives
        self._waiting: dict[int, Any] = {}  # browser -> its banner and button
        self._lock = threading.RLock()  # browsers come and go while a view is drawn
        self._draw_scene()
        self._draw_panel()
        server.on_client_connect(self.join)
        server.on_client_disconnect(self.leave)

    def show(self, view: PageState) -> None:
        """Draws one moment."""
        self._data.qpos[:] = view.qpos
        mujoco.mj_kinematics(self._model, self._data)
        self._scene.update_from_mjdata(self._data)
        self._status.content = self._headline(view)
        self._stages.content = stage_list(self._about.stage_names, view.stage)
        self._timing.content = view.timing
        for camera, image in view.images.items():
            self._tiles[self._about.cameras.index(camera)] = image
            self._mosaic.image = mosaic(self._tiles)
        with self._lock:
            if self._controls is not None:
                self._show_controls(self._controls, view)

    def _show_controls(self, controls: "Controls", view: PageState) -> None:
        try:
            controls.show(view)
        except Exception as error:  # viser keeps whatever a browser says of its gizmos and buttons, and stumbles later
            log.warning("browser %s does not drive any more, its controls broke: %s", self.desk.holder, error)
            self._controls = None
            self.desk.leave(self.desk.holder or 0)

    # -- browsers -----------------------------------------------------------------------------------------------------

    async def join(self, client: viser.ClientHandle) -> None:
        """A browser has opened the page: it drives if nobody else does, else it watches."""
        with self._lock:
            if self.desk.grant(client.client_id):
                for old in self._waiting.pop(client.client_id, ()):
                    old.remove()
                self._controls = Controls(client, self.desk, self._about.gated)
                threading.Thread(target=self._listen, args=(client,), daemon=True).start()
            elif client.client_id not in self._waiting:
                banner = client.gui.add_markdown("### Someone else is driving\nYou are watching.", order=-1)
                button = client.gui.add_button("Drive, if nobody does", order=-0.5)
                self._waiting[client.client_id] = (banner, button)

                @button.on_click
                async def _(_: Any) -> None:
                    await self.join(client)

    async def leave(self, client: viser.ClientHandle) -> None:
        with self._lock:
            self._waiting.pop(client.client_id, None)
            if client.client_id == self.desk.holder:
                self._controls = None
            self.desk.leave(client.client_id)

    def _listen(self, client: viser.ClientHandle) -> None:
        """Asks the browser again and again; its answers, made between two of its frames, are the signs of life."""
        while client.client_id == self.desk.holder:
            try:
                client.local_storage.get_item("beat", timeout=PATIENCE)
            except TimeoutError:
                continue
            except RuntimeError as error:  # gone; or it keeps no local storage, which is an answer, too
                if "Failed to read" not in str(error):
                    return
            self.desk.receive(client.client_id, "beat")
            time.sleep(BEAT)

    # -- drawing ------------------------------------------------------------------------------------------------------

    def _draw_scene(self) -> None:
        scene = self._server.scene
        self._scene = ViserMujocoScene(self._server, self._model, 1)
        self._scene.camera_tracking_enabled = False
        scene.configure_environment_map("studio", environment_intensity=0.35)
        scene.world_axes.visible = False
        self._server.initial_camera.position, self._server.initial_camera.look_at = CAMERA
        self._server.initial_camera.fov = np.radians(50)

    def _draw_panel(self) -> None:
        gui = self._server.gui
        gui.configure_theme(control_layout="fixed", control_width="medium", show_logo=False, show_share_button=False)
        gui.set_panel_label(self._about.task.replace("_", " "))
        self._status = gui.add_markdown("", order=0)
        self._stages = gui.add_markdown("", order=1)
        self._tiles = [np.zeros((*PREVIEW, 3), np.uint8) for _ in self._about.cameras]
        if self._tiles:
            names = ", ".join(self._about.cameras)
            self._mosaic = gui.add_image(mosaic(self._tiles), label=names, format="jpeg", order=50)
        with gui.add_folder("Help", order=60, expand_by_default=False):
            gui.add_markdown(GATED_HELP if self._about.gated else HELP)
        self._timing = gui.add_markdown("", order=70)

    def _headline(self, view: PageState) -> str:
        told = f"episode {view.saved + 1} of {view.wanted}" if view.saved < view.wanted else f"{view.saved} episodes"
        clutch = " · clutch engaged" if view.engaged else ""
        seconds = view.t * CONTROL_TIMESTEP
        return f"### {view.mode.upper()} {seconds:.1f} s\n{told} · {view.saved} saved{clutch}\n\n{view.note}"


class Controls:
    """Gizmos, buttons and keys in the one browser that drives."""

    def __init__(self, client: viser.ClientHandle, desk: CommandFilter, gated: bool):
        self._client, self._desk = client, desk
        self._engaged = self._correcting = False
        self._openings: dict[str, float] = dict.fromkeys(SIDES, 0.0)
        self._dragged: set[str] = set()
        self._gizmos = {side: self._add_gizmo(side) for side in SIDES}
        gui = client.gui
        with gui.add_folder("Episode", order=10):
            self._add_button("Record", "R", lambda: self.tell("record"), "player-record", "red")
            self._enders = [
                self._add_button(name, key, functools.partial(self.tell, name.lower()), icon, None)
                for name, key, icon in (
                    ("Save", "V", "device-floppy"),
                    ("Discard", "X", "trash"),
                    ("Redo", "Z", "rotate"),
                )
            ]
        with gui.add_folder("Arms", order=20):
            self._turn = None
            if gated:
                self._turn = self._add_button("Take over", "T", self.take_turns, "hand-stop", "orange")
            self._clutch = self._add_button("Take the clutch", "C", self.toggle_clutch, "link", "blue")
            self._grips = {
                side: self._add_button(f"Open {side} hand", key, functools.partial(self.toggle_grip, side), None, None)
                for side, key in zip(SIDES, GRIP_KEYS, strict=True)
            }

    def tell(self, name: str, *values: Any) -> None:
        self._desk.receive(self._client.client_id, name, *values)

    def toggle_clutch(self) -> None:
        self.tell("release" if self._engaged else "engage")

    def toggle_grip(self, side: str) -> None:
        self._openings[side] = 0.0 if self._openings[side] > 0.5 else 1.0
        self.tell("grip", side, self._openings[side])

    def take_turns(self) -> None:
        self.tell("hand_back" if self._correcting else "take_over")

    def show(self, view: PageState) -> None:
        """Brings gizmos and labels up to date; a gizmo in the operator's hand is left alone."""
        self._engaged, self._correcting = view.engaged, view.mode in ("paused", "correcting")
        self._openings = dict(view.openings)
        self._clutch.label = "Let the clutch go  [C]" if view.engaged else "Take the clutch  [C]"
        for (side, button), key in zip(self._grips.items(), GRIP_KEYS, strict=True):
            button.label = f"{'Close' if view.openings[side] > 0.5 else 'Open'} {side} hand  [{key}]"
        if self._turn is not None:
            self._turn.label = "Hand back  [T]" if self._correcting else "Take over  [T]"
        for button in self._enders:
            button.disabled = view.mode == "idle"
        for side, gizmo in self._gizmos.items():
            gizmo.visible = view.mode != "autonomous"
            if side not in self._dragged or not view.engaged:
                gizmo.position, gizmo.wxyz = view.gizmos[side][:3], view.gizmos[side][3:]

    def _add_gizmo(self, side: str) -> viser.TransformControlsHandle:
        gizmo = self._client.scene.add_transform_controls(f"/{side}_hand", scale=GIZMO, depth_test=False, line_width=3)

        @gizmo.on_update
        async def _(event: viser.TransformControlsEvent) -> None:
            if event.phase == "start":
                self._dragged.add(side)
                self.tell("engage")
            elif event.phase == "update":
                self.tell("aim", side, event.target.position, event.target.wxyz)
            else:
                self._dragged.discard(side)

        return gizmo

    def _add_button(self, label: str, key: Any, act: Callable[[], None], icon: Any, color: Any) -> Any:
        """A button, and the key that does the same."""
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


def stage_list(names: tuple[str, ...], reached: int) -> str:
    return "  \n".join(f"{'●' if k < reached else '○'} {name}" for k, name in enumerate(names))


def mosaic(tiles: Sequence[np.ndarray]) -> np.ndarray:
    """Images (H, W, 3) as one, in rows of two."""
    tiles = [*tiles, *[np.zeros_like(tiles[0])] * (len(tiles) % 2)]
    return np.vstack([np.hstack(tiles[k : k + 2]) for k in range(0, len(tiles), 2)])


def serve(connection: Any, about: PageConfig) -> None:
    """What the page's process does: answers ("ready", url) or ("failed", reason), then draws views until the end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the loop decides what Ctrl-C means
    handler = logging.StreamHandler()
    handler.setFormatter(OneLine("teleoperation: %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    warnings.filterwarnings("ignore", "Queued a .* on a closed connection")  # browsers come and go
    lock = threading.Lock()  # callbacks and this thread send

    def send(message: Any) -> None:
        with lock, contextlib.suppress(OSError):  # the loop is gone: so are we, soon
            connection.send(message)

    sys.stdout = io.StringIO()  # viser prints an address that nobody should open
    gate = AccessProxy(about.token)
    with gate.only_through():
        server = Server(host="127.0.0.1", port=0, verbose=False)
    opening = gate.serve(about.host, about.port, server.get_port())
    try:
        door = asyncio.run_coroutine_threadsafe(opening, server.get_event_loop()).result()
    except OSError as error:
        send(("failed", f"cannot open {about.host}, port {about.port}: {error.strerror}; give another --port"))
        return
    page = Page(server, about, send)
    host = socket.gethostname() if about.host in ("0.0.0.0", "::") else about.host
    host = f"[{host}]" if ":" in host else host
    query = f"?token={about.token}" if about.token else ""
    send(("ready", f"http://{host}:{door.sockets[0].getsockname()[1]}/{query}"))
    with contextlib.suppress(EOFError, ConnectionResetError):
        while True:
            page.show(connection.recv())
            send(("shown",))
    server.stop()
