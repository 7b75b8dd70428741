"""How a policy's chunks are executed: one after another, or as the temporal ensemble of all that overlap.

    execution = Execution("ensemble", n_action_steps=4)
    agent = execution.agent(policy)
    folder = RunFolder("runs/demo").evaluation(execution.folder())      # runs/demo/eval/test_ensemble_every4

Nothing else spells or parses the name of such a folder.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from act.runtime.agents import ChunkPolicy, PolicyAgent

Mode = Literal["chunk", "ensemble"]
MODES: tuple[Mode, ...] = get_args(Mode)
PAPER_M = 0.01  # of the temporal ensemble, in the ACT paper


@dataclass(frozen=True)
class Execution:
    """How chunks become actions.

    mode: "chunk" executes a chunk open loop; "ensemble" executes the weighted mean of all chunks that cover a control
        step, with weights exp(-m i), i = 0 the oldest.
    n_action_steps: control steps between two queries of the policy. None: a whole chunk, or 1 in an ensemble.
    ensemble_m: m of the weights; only an ensemble has one. A negative m prefers the newest chunks.

    Raises ValueError for an unknown mode, for n_action_steps below 1, and for an m that is not finite or given without
    an ensemble.
    """

    mode: Mode
    n_action_steps: int | None = None
    ensemble_m: float = PAPER_M

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ValueError(f"unknown mode {self.mode!r}; available: {', '.join(MODES)}")
        if self.n_action_steps is not None and self.n_action_steps < 1:
            raise ValueError(f"n_action_steps {self.n_action_steps}: give at least 1, at most the policy's chunk_size")
        if not math.isfinite(self.ensemble_m):
            raise ValueError(f"ensemble_m {self.ensemble_m}: give a finite number, e.g. {PAPER_M}")
        if self.mode != "ensemble" and self.ensemble_m != PAPER_M:
            raise ValueError(f"ensemble_m {self.ensemble_m:g} has an effect only with mode 'ensemble'; leave it out")

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> "Execution":
        """The execution that the settings of a results.json describe.

        They hold the number of action steps that was used, never None; the default number becomes None again.
        """
        mode, steps, m = settings["mode"], settings.get("n_action_steps"), settings.get("ensemble_m")
        default_steps = settings.get("chunk_size") if mode == "chunk" else 1
        return cls(mode, None if steps == default_steps else steps, PAPER_M if m is None else m)

    @property
    def m(self) -> float | None:
        """m of the temporal ensemble; None where there is no ensemble."""
        return self.ensemble_m if self.mode == "ensemble" else None

    def agent(self, policy: ChunkPolicy) -> PolicyAgent:
        """The agent that executes this policy; ValueError when its chunks are shorter than n_action_steps."""
        return PolicyAgent(policy, self.n_action_steps, self.m)

    def folder(self, seed_set: str = "test", engine: str = "torch", other_task: str = "") -> str:
        """Name of the folder of results inside RUN/eval; only what differs from the defaults is in it.

        engine: "torch", "onnx", "int8" or "remote". other_task: the task, if it is not the one of the training.
        """
        every = f"_every{self.n_action_steps}" if self.n_action_steps else ""
        weight = f"_m{self.ensemble_m:g}" if self.ensemble_m != PAPER_M else ""
        engine = "" if engine == "torch" else f"_{engine}"
        task = f"_{other_task}" if other_task else ""
        return f"{seed_set}_{self.mode}{every}{weight}{engine}{task}"

    def __str__(self) -> str:
        """As tables name it: "chunk", "chunk, every 20 steps", "ensemble, every 4 steps, m 0.1"."""
        every = f", every {self.n_action_steps} steps" if self.n_action_steps else ""
        return f"{self.mode}{every}" + (f", m {self.ensemble_m:g}" if self.ensemble_m != PAPER_M else "")
