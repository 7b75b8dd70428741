"""What the browser shows: the live scene, gizmos and buttons (controls.py), stages, camera images. It needs viser.

Every browser sees the scene, the status and the images; gizmos and buttons exist only in the browser that drives.
"""

import asyncio
import contextlib
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
from sim_envs.teleop.access_proxy import AccessProxy
from sim_envs.teleop.controls import Controls
from sim_envs.teleop.messages import PREVIEW, Command, CommandFilter, PageConfig, PageState

BEAT = 0.03  # [s] between an answer of the browser and the next question whether it is alive
ANSWER_TIMEOUT = 5.0  # [s] for its answer; the arms hold still long before
CAMERA = (0.0, -0.5, 0.62), (0.0, 0.5, 0.13)  # [m] position and look-at point of the first view
HELP = """Drag the arrows and arcs at a hand: the hand follows at its own speed. Grabbing one engages the **clutch**.
**C** releases the clutch, so that the arms hold still, or engages it. **F** and **J** open and close the left and the
right hand."""
GATED_HELP = HELP + " **T** stops the policy. Correct it, then press **T** again to hand back."
log = logging.getLogger("sim_envs.teleop")


class OneLine(logging.Formatter):
    """Log lines without tracebacks: a wrong message of a browser is no error of this program."""

    def formatException(self, ei: Any) -> str:
        return f"{ei[0].__name__}: {ei[1]}"


class Server(viser.ViserServer):
    """viser without its tunnel to the internet, which any browser could request."""

    def request_share_url(self, verbose: bool = True) -> str | None:
        log.warning("dropped a request to share the page on the internet")
        return None


class Page:
    """The page on a viser server. `send` receives the commands that pass the filter; `show` draws."""

    def __init__(self, server: viser.ViserServer, config: PageConfig, send: Callable[[Command], None]):
        self.filter = CommandFilter(send)
        self._server, self._config = server, config
        self._model = mujoco.MjModel.from_xml_path(str(config.scene))
        self._data = mujoco.MjData(self._model)
        self._controls: Controls | None = None  # of the browser that drives
        self._waiting: dict[int, Any] = {}  # browser that does not drive -> its banner and button
        self._lock = threading.RLock()  # browsers join and leave while a state is drawn
        self._draw_scene()
        self._draw_panel()
        server.on_client_connect(self.join)
        server.on_client_disconnect(self.leave)

    def show(self, state: PageState) -> None:
        """Draws one state."""
        self._data.qpos[:] = state.qpos
        mujoco.mj_kinematics(self._model, self._data)
        self._scene.update_from_mjdata(self._data)
        self._status.content = self._headline(state)
        self._stages.content = stage_list(self._config.stage_names, state.stage)
        self._timing.content = state.timing
        for camera, image in state.images.items():
            self._tiles[self._config.cameras.index(camera)] = image
            self._mosaic.image = mosaic(self._tiles)
        with self._lock:
            if self._controls is not None:
                self._show_controls(self._controls, state)

    def _show_controls(self, controls: Controls, state: PageState) -> None:
        try:
            controls.show(state)
        except Exception as error:  # viser stores whatever a browser sends for its gizmos and buttons, and fails here
            log.warning("browser %s may not drive any more, its controls are broken: %s", self.filter.driver, error)
            self._controls = None
            self.filter.leave(self.filter.driver or 0)

    # -- browsers -----------------------------------------------------------------------------------------------------

    async def join(self, client: viser.ClientHandle) -> None:
        """A browser has opened the page; it drives if no other one does, else it watches."""
        with self._lock:
            if self.filter.grant(client.client_id):
                for old in self._waiting.pop(client.client_id, ()):
                    old.remove()
                self._controls = Controls(client, self.filter, self._config.gated)
                threading.Thread(target=self._listen, args=(client,), daemon=True).start()
            elif client.client_id not in self._waiting:
                banner = client.gui.add_markdown("### Someone else is driving\nYou are watching.", order=-1)
                button = client.gui.add_button("Drive, if nobody else does", order=-0.5)
                self._waiting[client.client_id] = (banner, button)

                @button.on_click
                async def _(_: Any) -> None:
                    await self.join(client)

    async def leave(self, client: viser.ClientHandle) -> None:
        """A browser has closed the page, or its connection is lost."""
        with self._lock:
            self._waiting.pop(client.client_id, None)
            if client.client_id == self.filter.driver:
                self._controls = None
            self.filter.leave(client.client_id)

    def _listen(self, client: viser.ClientHandle) -> None:
        """Asks the browser again and again; its answers, given between two of its frames, are the signs of life."""
        while client.client_id == self.filter.driver:
            try:
                client.local_storage.get_item("beat", timeout=ANSWER_TIMEOUT)
            except TimeoutError:
                continue
            except RuntimeError as error:  # it has left; or it has no local storage, which is an answer, too
                if "Failed to read" not in str(error):
                    return
            self.filter.receive(client.client_id, "beat")
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
        gui.set_panel_label(self._config.task.replace("_", " "))
        self._status = gui.add_markdown("", order=0)
        self._stages = gui.add_markdown("", order=1)
        self._tiles = [np.zeros((*PREVIEW, 3), np.uint8) for _ in self._config.cameras]
        if self._tiles:
            names = ", ".join(self._config.cameras)
            self._mosaic = gui.add_image(mosaic(self._tiles), label=names, format="jpeg", order=50)
        with gui.add_folder("Help", order=60, expand_by_default=False):
            gui.add_markdown(GATED_HELP if self._config.gated else HELP)
        self._timing = gui.add_markdown("", order=70)

    def _headline(self, state: PageState) -> str:
        done = state.saved >= state.wanted
        progress = f"{state.saved} episodes" if done else f"episode {state.saved + 1} of {state.wanted}"
        clutch = " · clutch engaged" if state.engaged else ""
        seconds = state.t * CONTROL_TIMESTEP
        return f"### {state.mode.upper()} {seconds:.1f} s\n{progress} · {state.saved} saved{clutch}\n\n{state.note}"


def stage_list(names: tuple[str, ...], reached: int) -> str:
    """The stages as lines of Markdown, those that are reached with a filled bullet."""
    return "  \n".join(f"{'●' if k < reached else '○'} {name}" for k, name in enumerate(names))


def mosaic(tiles: Sequence[np.ndarray]) -> np.ndarray:
    """Images (H, W, 3) as one image, in rows of two."""
    tiles = [*tiles, *[np.zeros_like(tiles[0])] * (len(tiles) % 2)]
    return np.vstack([np.hstack(tiles[k : k + 2]) for k in range(0, len(tiles), 2)])


def serve(connection: Any, config: PageConfig) -> None:
    """Runs the page's process: sends ("ready", url) or ("failed", reason), then draws states until the loop ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the loop decides what Ctrl-C means
    _log_in_one_line()
    lock = threading.Lock()  # callbacks and this thread send

    def send(message: Any) -> None:
        with lock, contextlib.suppress(OSError):  # the loop has ended, and this process will
            connection.send(message)

    sys.stdout = io.StringIO()  # viser prints its own address, which answers nobody but the proxy
    proxy = AccessProxy(config.token)
    with proxy.accept_only_forwarded():
        server = Server(host="127.0.0.1", port=0, verbose=False)
    opening = proxy.serve(config.host, config.port, server.get_port())
    try:
        listener = asyncio.run_coroutine_threadsafe(opening, server.get_event_loop()).result()
    except OSError as error:
        send(("failed", f"cannot open {config.host}, port {config.port}: {error.strerror}; give another --port"))
        return
    page = Page(server, config, send)
    send(("ready", _url(config, listener.sockets[0].getsockname()[1])))
    with contextlib.suppress(EOFError, ConnectionResetError):
        while True:
            page.show(connection.recv())
            send(("shown",))
    proxy.refused.close()
    server.stop()


def _log_in_one_line() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(OneLine("teleoperation: %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    warnings.filterwarnings("ignore", "Queued a .* on a closed connection")  # normal when a browser leaves


def _url(config: PageConfig, port: int) -> str:
    """The address to open, under a name that other machines know if the page is for them, too."""
    host = socket.gethostname() if config.host in ("0.0.0.0", "::") else config.host
    host = f"[{host}]" if ":" in host else host
    query = f"?token={config.token}" if config.token else ""
    return f"http://{host}:{port}/{query}"
