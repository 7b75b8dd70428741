"""Closed-loop scripted experts, one file per task; `make_agent` drives a batch of environments with them."""

import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sim_envs import STYLES
from sim_envs.experts.expert import SCRIPTED, Expert, HumanVariation
from sim_envs.kinematics import Kinematics


def available() -> tuple[str, ...]:
    """Names of the tasks that have an expert."""
    return tuple(sorted(m.name for m in pkgutil.iter_modules(__path__) if m.name != "expert"))


def make_agent(task: str, style: str = "scripted", seed: int = 0) -> "ExpertAgent":
    """An agent that does the task. `style`: "scripted" (one clean way) or "human" (a new variation in every episode).

    Variations follow from `seed` alone: the same seed gives the same one in environment i after the r-th `reset`.
    To make an episode depend on nothing but its own seed, make an agent with that seed for it.
    """
    if task not in available():
        raise ValueError(f"task {task!r} has no expert; choose one of {', '.join(available())}")
    if style not in STYLES:
        raise ValueError(f"style {style!r} is unknown; choose one of {', '.join(STYLES)}")
    return ExpertAgent(importlib.import_module(f"sim_envs.experts.{task}").Expert, style, seed)


class ExpertAgent:
    """One expert per environment, all with one `Kinematics`; see act.types.Agent."""

    def __init__(self, expert: type[Expert], style: str, seed: int):
        self._make, self._style, self._seed = expert, style, seed
        self._kinematics = Kinematics()
        self._resets = 0
        self.experts: list[Expert] = []

    def reset(self, num_envs: int) -> None:
        self.experts = [self._make(self._variation(index), self._kinematics) for index in range(num_envs)]
        self._resets += 1

    def needs_images(self) -> bool:
        return False

    def select_action(self, observations: Sequence[Mapping[str, Any]]) -> np.ndarray:
        """(B, 14) float32 joint targets."""
        return np.stack([expert.action(obs) for expert, obs in zip(self.experts, observations, strict=True)])

    def _variation(self, index: int) -> HumanVariation:
        if self._style == "scripted":
            return SCRIPTED
        # Zeros at the end of a seed do not count: without the 4, (seed, 0, 0) is the stream that places the objects.
        return HumanVariation.draw(np.random.default_rng((self._seed, 4, index, self._resets)))
