"""The process in which the page runs, as a `PageLink` of the 50 Hz loop."""

import importlib.util
import multiprocessing
from typing import Any

from sim_envs.teleop.access_proxy import check_address
from sim_envs.teleop.messages import Command, PageConfig, PageState

START_TIMEOUT = 120.0  # [s]


class PageProcess:
    """The page in a process of its own, as a `PageLink`; use it as a context manager. `url` is the address to open.

    Raises ValueError if the address cannot be opened, and RuntimeError if the process dies.
    """

    # This is no act.workers.Worker: sim_envs never imports act, and a worker answers calls one by one, while page and
    # loop both send whenever they have something to say.
    def __init__(self, config: PageConfig):
        check_address(config.host, config.token)
        if missing := [name for name in ("viser", "mjviser") if importlib.util.find_spec(name) is None]:
            raise ValueError(f"the page needs {missing[0]}; install it with: pip install -e '.[teleop]'")
        context = multiprocessing.get_context("spawn")
        self._connection, connection_of_page = context.Pipe()
        self._process = context.Process(target=_open_page, args=(connection_of_page, config), daemon=True)
        self._process.start()
        connection_of_page.close()
        self._idle = True  # whether the page has drawn the last state
        if not self._connection.poll(START_TIMEOUT):
            self.close()
            raise RuntimeError(f"the page did not start within {START_TIMEOUT:.0f} s")
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

    def show(self, state: PageState) -> None:
        if self._idle:
            self._idle = False
            self._connection.send(state)

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
            raise RuntimeError(
                "the process of the page died; finished episodes are saved, and the same command continues"
            ) from None


def _open_page(connection: Any, config: PageConfig) -> None:
    from sim_envs.teleop.page import serve  # here, because the loop needs no viser

    serve(connection, config)
