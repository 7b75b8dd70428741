"""A program whose policy never answers, in a thread, in a process, or behind a server that has gone silent."""

import contextlib
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from act import command_line
from act.runtime.realtime import AsyncAgent, PolicyProcess
from act.runtime.robot_envs import PacedEnvs
from act.runtime.rollout import rollout
from tests.fakes.constant_policy import ConstantPolicy


class Hanging(ConstantPolicy):
    """Says that it was asked, and never answers."""

    def __init__(self) -> None:
        super().__init__(0.0)

    def predict_chunk(self, histories: Sequence[Any]) -> np.ndarray:
        print("asked", flush=True)
        time.sleep(1000)
        raise AssertionError("nobody waits so long")


@contextlib.contextmanager
def policy_of(kind: str) -> Iterator[Any]:
    if kind == "thread":
        yield Hanging()
    elif kind == "process":
        with PolicyProcess(Hanging) as policy:
            yield policy
    else:
        from act.serving.client import RemotePolicy
        from act.serving.server import PolicyServer

        with PolicyServer(Hanging(), {}).listen() as server:
            serving = threading.Thread(target=server.serve_forever)
            serving.start()
            with RemotePolicy(f"ws://127.0.0.1:{server.socket.getsockname()[1]}", timeout=100) as policy:
                yield policy
            server.shutdown()


def run(kind: str, steps: int) -> None:
    from act.runtime.envs import SerialEnvs
    from tests.fakes.toy_env import ToyEnv

    with policy_of(kind) as policy:
        envs = PacedEnvs(SerialEnvs([ToyEnv(episode_len=steps)]))
        for _ in rollout(envs, AsyncAgent(policy, say=lambda _: None), seeds=[0]):
            print("rollout ended", flush=True)


def drive(kind: str, steps: int) -> None:
    sys.exit(command_line.run("hanging", lambda: run(kind, steps)))
