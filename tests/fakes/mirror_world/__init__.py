"""A simulator without physics whose toy task is symmetrical: what `python -m act episodes mirror` asks of a package."""

from typing import Any

from tests.fakes.toy_env import ToyEnv


class World(ToyEnv):
    """A ToyEnv that takes the pose of its goal, as simulators with objects do."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        goal = {"goal": options["env_state"][0]} if options else None
        return super().reset(seed=seed, options=goal)


def make(task: str, cameras: tuple[str, ...], image_size: tuple[int, int], quality: str) -> World:
    assert task == "toy" and quality == "fast"
    return World(cameras, image_size)
