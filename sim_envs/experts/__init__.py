"""Closed-loop scripted experts: one file per task, by its name. `make_agent` drives a batch of environments with them."""

import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

STYLES = ("scripted", "human")


def available() -> tuple[str, ...]:
    """Names of the tasks that have an expert."""
    return tuple(sorted(m.name for m in pkgutil.iter_modules(__path__) if m.name != "expert"))


def make_agent(task: str, style: str = "scripted", seed: int = 0) -> "ExpertAgent":
    """An agent that does the task. `style`: "scripted" (one clean way) or "human" (a new manner in every episode).

    One environment: its manner depends on `seed` alone; environment i of several has the manner of `seed + i`. Every
    further `reset` draws new manners.
    """
    if task not in available():
        raise ValueError(f"task {task!r} has no expert; choose one of {', '.join(available())}")
    if style not in STYLES:
        raise ValueError(f"style {style!r} is unknown; choose one of {', '.join(STYLES)}")
    return ExpertAgent(importlib.import_module(f"sim_envs.experts.{task}").Expert, style, seed)


class ExpertAgent:
    """One expert per environment; see act.types.Agent."""

    def __init__(self, expert: type, style: str, seed: int):
        self._expert, self._style, self._seed = expert, style, seed
        self._experts: list[Any] = []

    def reset(self, num_envs: int) -> None:
        self._experts = [self._expert() for _ in range(num_envs)]

    def needs_images(self) -> bool:
        return False

    def select_action(self, observations: Sequence[Mapping[str, Any]]) -> np.ndarray:
        """(B, 14) float32 joint targets."""
        return np.stack([expert.action(obs) for expert, obs in zip(self._experts, observations, strict=True)])
