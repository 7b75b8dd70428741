"""The process that the page runs in, as a `PageLink` of the 50 Hz loop."""

import importlib.util
import multiprocessing
from typing import Any

from sim_envs.teleop.access_proxy import check_address
from sim_envs.teleop.messages import Command, PageConfig, PageState

START = 120.0  # [s] the page may take to start


class PageProcess:
    """The page in a process of its own, as a `PageLink`; use as a context manager. `url` is what to open.

    ValueError if the address cannot be opened, RuntimeError if the process dies.
    """

    def __init__(self, about: PageConfig):
        check_address(about.host, about.token)
        if missing := [name for name in ("viser", "mjviser") if importlib.util.find_spec(name) is None]:
            raise ValueError(f"the page needs {missing[0]}: pip install -e '.[teleop]'")
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_open_page, args=(theirs, about), daemon=True)
        self._process.start()
        theirs.close()
        self._idle = True  # the page has drawn the last view
        if not self._connection.poll(START):
            self.close()
            raise RuntimeError(f"the page did not start within {START:.0f} s")
        kind, self.url = self._receive()
        if kind != "ready":
            self.close()
            raise ValueError(self.url)

    def commands(self) -> list[Command]:
        commands = []
        while self._connection.poll():
            message = self._receive()
            if message == ("shown",):
                self._idle = True
            else:
                commands.append(message)
        return commands

    def show(self, view: PageState) -> None:
        if self._idle:
            self._idle = False
            self._connection.send(view)

    def close(self) -> None:
        self._connection.close()
        self._process.join(timeout=2)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def __enter__(self) -> "PageProcess":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _receive(self) -> Command:
        try:
            return self._connection.recv()
        except (EOFError, ConnectionResetError):
            raise RuntimeError("the process of the page died; finished episodes are saved") from None


def _open_page(connection: Any, about: PageConfig) -> None:
    from sim_envs.teleop.page import serve  # only here: the loop needs no web

    serve(connection, about)
