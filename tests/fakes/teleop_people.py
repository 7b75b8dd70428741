"""Simulated browsers and operators: a client of viser's protocol, a headless Chromium, and a skilled operator."""

import contextlib
import functools
import re
import shutil
import socket
import threading
import time
from typing import Any, ClassVar

import msgspec
import viser
import zstandard
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from sim_envs import experts
from sim_envs.robot import SIDES
from sim_envs.teleop.link import PageProcess
from sim_envs.teleop.session import Session, numbers_of


class FakeBrowser:
    """A client of viser's protocol without rendering: it answers the page's requests, drags gizmos, presses buttons."""

    def __init__(self, url):
        self.answering = True
        self.buttons, self.nodes, self.texts, self.owner = {}, set(), {}, ""
        protocol = Subprotocol(f"viser-v{viser.__version__}")
        self._socket = connect(url.replace("http", "ws"), subprotocols=[protocol], compression=None, max_size=None)
        threading.Thread(target=self._listen, daemon=True).start()
        camera = {"wxyz": (1, 0, 0, 0), "position": (0, 0, 1), "fov": 1.0, "near": 0.01, "far": 10.0}
        camera |= {"image_height": 600, "image_width": 800, "look_at": (0, 0, 0), "up_direction": (0, 0, 1)}
        self.send("ViewerCameraMessage", **camera)

    def send(self, kind, **values):
        self.send_bytes(msgspec.msgpack.encode({"type": kind, **values}))

    def send_bytes(self, data):
        with contextlib.suppress(ConnectionClosed):  # the page closes the connection after nonsense
            self._socket.send(data)

    def grab(self, side):
        self.send("TransformControlsDragStartMessage", name=f"/{side}_hand", owner=self.owner)

    def drag(self, poses):
        """Drags the gizmos to poses: side -> x y z [m], quaternion wxyz."""
        for side, numbers in poses.items():
            pose = {"position": numbers[:3], "wxyz": numbers[3:]}
            self.send("TransformControlsUpdateMessage", name=f"/{side}_hand", owner=self.owner, **pose)

    def press(self, label):
        """Presses the button whose label begins with a match of the pattern."""
        uuid = next(uuid for uuid, shown in list(self.buttons.items()) if re.match(label, shown))
        self.send("GuiUpdateMessage", uuid=uuid, updates={"value": True})

    def vanish(self):
        """Breaks the connection without a closing message, as a killed browser does."""
        self._socket.socket.shutdown(socket.SHUT_RDWR)

    def close(self):
        self._socket.close()

    def text(self):
        return "\n".join(map(str, list(self.texts.values())))

    def ready(self):
        return len(self.nodes) == 2 and any(label.startswith("Record") for label in list(self.buttons.values()))

    def _listen(self):
        with contextlib.suppress(ConnectionClosed, OSError):
            while True:
                self._read(self._socket.recv())

    def _read(self, data):
        size = int.from_bytes(data[8:16], "little")
        batch = msgspec.msgpack.decode(zstandard.ZstdDecompressor().decompress(data[16 : 16 + size]))
        for message in batch["messages"]:
            kind = message["type"]
            if kind == "GuiButtonMessage":
                self.buttons[message["uuid"]] = message["props"]["label"]
            elif kind == "TransformControlsMessage":
                self.nodes.add(message["name"])
                self.owner = message.get("owner", "")
            elif kind == "GuiMarkdownMessage":
                self.texts[message["uuid"]] = message["props"]["_markdown"]
            elif kind == "GuiUpdateMessage" and message["uuid"] in self.buttons:
                self.buttons[message["uuid"]] = message["updates"].get("label", self.buttons[message["uuid"]])
            elif kind == "GuiUpdateMessage" and message["uuid"] in self.texts:
                self.texts[message["uuid"]] = message["updates"].get("_markdown", self.texts[message["uuid"]])
            elif kind == "LocalStorageGetItemRequestMessage" and self.answering:
                answer = {"request_uuid": message["request_uuid"], "value": None, "error": None}
                self.send("LocalStorageGetItemResponseMessage", **answer)


class Chromium:
    """A headless Chromium that renders the page, with the methods of FakeBrowser.

    It presses real keys. A drag sends the messages that viser's gizmo would send, because a mouse cannot reach a pose
    exactly. The page's connection is in a web worker, so `LISTEN` replaces the class of workers.
    """

    FLAGS = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    FLAGS += " --disable-component-update --disable-sync --use-gl=angle --use-angle=swiftshader"
    FLAGS += " --enable-unsafe-swiftshader"
    LISTEN = """
        const Plain = window.Worker;
        window.Worker = class extends Plain {
            constructor(...given) {
                super(...given);
                this.addEventListener("message", (event) => {
                    const gizmos = (event.data.messages ?? []).filter((m) => m.type === "TransformControlsMessage");
                    for (const gizmo of gizmos) window.gizmos = {worker: this, owner: gizmo.owner};
                });
            }
        };
        window.send = (messages) => messages.forEach((message) =>
            window.gizmos.worker.postMessage({type: "send", message: {...message, owner: window.gizmos.owner}}));
    """
    KEYS: ClassVar = {"Record": "r", "(Open|Close) left": "f", "(Open|Close) right": "j"}

    def __init__(self, url):
        from playwright.sync_api import sync_playwright

        self._playwright = sync_playwright().start()
        program = shutil.which("chromium")
        self._chromium = self._playwright.chromium.launch(executable_path=program, args=self.FLAGS.split())
        self.page = self._chromium.new_page(viewport={"width": 320, "height": 240})
        self.page.add_init_script(self.LISTEN)
        self.page.goto(url, timeout=120_000)  # [ms], for a busy machine

    def ready(self):
        return self.page.evaluate("'gizmos' in window")

    def grab(self, side):
        self._send([{"type": "TransformControlsDragStartMessage", "name": f"/{side}_hand"}])

    def drag(self, poses):
        kind = "TransformControlsUpdateMessage"
        named = [(f"/{side}_hand", numbers[:3], numbers[3:]) for side, numbers in poses.items()]
        self._send([{"type": kind, "name": name, "position": position, "wxyz": q} for name, position, q in named])

    def press(self, label):
        self.page.keyboard.press(self.KEYS[label])

    def text(self):
        return self.page.inner_text("body")

    def close(self):
        self._chromium.close()
        self._playwright.stop()

    def _send(self, messages):
        self.page.evaluate("messages => window.send(messages)", messages)


class Demonstrator:
    """An operator who drags both gizmos through the task, to the poses that the scripted expert wants for the hands.

    A slow page may show an old state, so a key is not pressed again within 0.5 s.
    """

    def __init__(self, session, task):
        self._session = session
        self._agent = experts.make_agent(task)
        self._agent.reset(1)
        self._pressed: dict[str, float] = dict.fromkeys(SIDES, 0.0)  # [s] when the key was pressed last

    @functools.cached_property
    def _phases(self):
        return {phase.name: phase for phase in self._agent.experts[0].make_phases()}

    def act(self, browser):
        """Does one step of the demonstration in the browser."""
        session = self._session
        if not session.t:
            self._agent.reset(1)
        if not session.operator.engaged:
            browser.grab("left")
            return
        self._agent.select_action([session.obs])
        expert = self._agent.experts[0]
        assert expert.phase is not None
        goals = self._phases[expert.phase].goals(expert.read(session.obs))
        browser.drag({side: numbers_of(goal.pose).tolist() for side, goal in goals.items()})
        for side, goal in goals.items():
            wrong = (session.operator.openings[side] > 0.5) != (goal.opening > 0.5)
            if wrong and time.monotonic() - self._pressed[side] > 0.5:
                browser.press(f"(Open|Close) {side}")
                self._pressed[side] = time.monotonic()


class Attended(Session):
    """A session with a Demonstrator at its page who records what the plan wants, in half the time."""

    browser_type: Any = FakeBrowser

    def run(self):
        assert isinstance(self.link, PageProcess)
        self.pace.period /= 2
        self.browser = self.browser_type(self.link.url)
        self.demonstrator = Demonstrator(self, self.env.env_spec.task_name)
        super().run()
        if self.saved > self.plan.saved:
            reached, shown = int(max(self._rewards)), self.browser.text()
            assert "saved, " in shown
            assert all(f"● {name}" in shown for name in self.env.env_spec.stage_names[:reached])
        self.browser.close()

    def tick(self, deadline):
        super().tick(deadline)
        failed = self.seed - self.plan.seeds.start - (self.saved - self.plan.saved)
        assert failed < 3, "three attempts failed"
        if self._steps % 8 or self.saved == self.plan.wanted:
            return
        if self.recording:
            self.demonstrator.act(self.browser)
        elif self.browser.ready():
            self.browser.press("Record")
