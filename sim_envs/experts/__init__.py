"""Provides a closed-loop scripted expert for each task; `make_agent` drives a batch of environments with them."""

import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import sim_envs
from sim_envs import STYLES
from sim_envs.experts.expert import SCRIPTED, Expert, HumanVariation
from sim_envs.kinematics import Kinematics


def available() -> tuple[str, ...]:
    """Returns the names of the tasks that have an expert."""
    files = {module.name for module in pkgutil.iter_modules(__path__)}
    return tuple(task for task in sim_envs.available() if task in files)


def make_agent(task: str, style: str = "scripted", seed: int = 0) -> "ExpertAgent":
    """Makes an agent that performs the task. `style` is "scripted" or "human" (a new variation in every episode).

    Variations depend only on `seed`, the index of the environment and the number of resets. To make an episode depend
    only on its own seed, make a new agent with that seed for it.

    Raises ValueError for a task without an expert and for an unknown style.
    """
    if task not in available():
        raise ValueError(f"task {task!r} has no expert; available: {', '.join(available())}")
    if style not in STYLES:
        raise ValueError(f"unknown style {style!r}; available: {', '.join(STYLES)}")
    return ExpertAgent(importlib.import_module(f"sim_envs.experts.{task}").Expert, style, seed)


class ExpertAgent:
    """Has one expert per environment; they share a `Kinematics`. The interface is act.types.Agent."""

    def __init__(self, expert: type[Expert], style: str, seed: int):
        self._make, self._style, self._seed = expert, style, seed
        self._kinematics = Kinematics()
        self._resets = 0
        self.experts: list[Expert] = []

    def reset(self, num_envs: int) -> None:
        """Starts `num_envs` new episodes, each with a new variation in the human style."""
        self.experts = [self._make(self._variation(index), self._kinematics) for index in range(num_envs)]
        self._resets += 1

    def needs_images(self) -> bool:
        """Returns False: experts use qpos and env_state."""
        return False

    def select_action(self, observations: Sequence[Mapping[str, Any]]) -> np.ndarray:
        """Returns joint targets (B, 14) float32 for B observations."""
        return np.stack([expert.action(obs) for expert, obs in zip(self.experts, observations, strict=True)])

    def _variation(self, index: int) -> HumanVariation:
        if self._style == "scripted":
            return SCRIPTED
        # NumPy ignores zeros at the end of a seed. Without the 4, (seed, 0, 0) would be the stream that places objects.
        return HumanVariation.sample(np.random.default_rng((self._seed, 4, index, self._resets)))
