"""The command line of eval.py: groups of flags, each with the checks of its own, which name what would have worked."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import FlagCreatePairsOff, OmitArgPrefixes, Positional, arg

from act.command_line import refuse_without_effect
from act.evaluation.execution import MODES, PAPER_M, Execution, Mode
from act.evaluation.run import RolloutPlan
from act.workers import available_cores


def _default(text: str, metavar: str) -> object:
    """How the help shows a flag whose default depends on other things."""
    return arg(help_behavior_hint=f"(default: {text})", metavar=metavar)


@dataclass(frozen=True)
class ExecutionOptions:
    """How the policy's chunks are executed."""

    modes: Annotated[tuple[Mode, ...], _default("both", "{chunk,ensemble}")] = ()
    """Evaluate each of these: whole chunks one after another, and the temporal ensemble of overlapping chunks."""
    temporal_agg: FlagCreatePairsOff[bool] = False
    """The original's name of --modes ensemble."""
    n_action_steps: Annotated[int | None, _default("a whole chunk; 1 in an ensemble", "N")] = None
    """Control steps between two queries of the policy, in every mode. An ensemble queries at every step by default, so
    that 4 instead is much faster for a policy that looks through cameras."""
    ensemble_m: float = PAPER_M
    """Weights exp(-m i) of the chunks in an ensemble, i = 0 the oldest chunk; a negative m prefers the newest."""

    def check(self) -> None:
        """Raises ValueError for flags that contradict each other, and for flags that have no effect."""
        given = f"--modes {' '.join(self.modes)}"
        if self.temporal_agg and self.modes not in ((), ("ensemble",)):
            raise ValueError(f"--temporal_agg means --modes ensemble, but {given} is given; leave one of them out")
        if repeated := [mode for mode, count in Counter(self.modes).items() if count > 1]:
            raise ValueError(f"{given}: give {repeated[0]} once")
        if "ensemble" not in self._modes:
            refuse_without_effect(self, ExecutionOptions(), {"ensemble_m": "with --modes ensemble"})
        self.executions()

    @property
    def _modes(self) -> tuple[Mode, ...]:
        return ("ensemble",) if self.temporal_agg else self.modes or MODES

    def executions(self) -> list[Execution]:
        """What to evaluate, in this order."""
        m = {"chunk": PAPER_M, "ensemble": self.ensemble_m}
        return [Execution(mode, self.n_action_steps, m[mode]) for mode in self._modes]


@dataclass(frozen=True)
class MachineOptions:
    """What computes: processes, machines, engines."""

    num_envs: Annotated[int | None, _default("by cores and rollouts", "N")] = None
    """Environments side by side; they share every query of the policy."""
    num_workers: int = available_cores()
    """Processes that simulate."""
    ray: Annotated[str, _default("no cluster", "ADDRESS")] = ""
    """Ray cluster that runs the rollouts: auto, HOST:PORT, or local; see docs/cluster.md."""
    device: Annotated[str | None, _default("cuda if there is one, else cpu", "DEVICE")] = None
    """Where torch computes: cpu, cuda, or cuda:1."""
    engine: Annotated[str, arg(metavar="ENGINE")] = "torch"
    """What executes the policy: torch, onnx or int8 (from `python -m act export`), or ws://HOST:PORT (a server)."""

    def check(self) -> None:
        """Raises ValueError for a number that is too small, and for flags that contradict each other."""
        for name in ("num_envs", "num_workers"):
            if (number := getattr(self, name)) is not None and number < 1:
                raise ValueError(f"--{name} {number}: must be at least 1")
        if self.ray and "://" in self.engine:
            raise ValueError(
                f"--engine {self.engine} has no effect on machines of --ray {self.ray}; leave one of them out"
            )
        if self.engine != "torch":
            refuse_without_effect(self, MachineOptions(), {"device": "with --engine torch"})


@dataclass(frozen=True)
class Options:
    """One call of eval.py."""

    run: Annotated[Path | None, Positional, _default("give it, or --ckpt_dir", "RUN")] = None
    """Folder of the training run."""
    ckpt_dir: Annotated[Path | None, _default("none", "RUN")] = None
    """The original's name of RUN."""
    task_name: Annotated[str | None, _default("the task of the training", "TASK")] = None
    """Task to evaluate in, e.g. sim_insertion_scripted."""
    env: Annotated[str | None, _default("the simulated task", "ENV")] = None
    """Another environment to evaluate in: MODULE:FUNCTION, or a Gymnasium id such as gym_aloha/AlohaTransferCube-v0;
    see docs/your_own_environment.md."""
    out: Annotated[Path | None, _default("RUN", "DIR")] = None
    """Folder for the results and the report."""
    rollouts: OmitArgPrefixes[RolloutPlan] = field(default_factory=RolloutPlan)
    execution: OmitArgPrefixes[ExecutionOptions] = field(default_factory=ExecutionOptions)
    machine: OmitArgPrefixes[MachineOptions] = field(default_factory=MachineOptions)

    def check(self) -> None:
        """Raises ValueError where there is no run, or two, and what the groups refuse."""
        if self.run is None and self.ckpt_dir is None:
            raise ValueError("no run is given; give its folder: python eval.py runs/demo")
        if self.run is not None and self.ckpt_dir is not None:
            raise ValueError(f"two runs are given, {self.run} and --ckpt_dir {self.ckpt_dir}; leave one of them out")
        if self.env is not None and self.task_name is not None:
            raise ValueError(
                f"two environments are given, --env {self.env} and --task_name {self.task_name}; leave one of them out"
            )
        for group in (self.rollouts, self.execution, self.machine):
            group.check()

    @property
    def folder(self) -> Path:
        """The folder of the run."""
        folder = self.ckpt_dir if self.run is None else self.run
        assert folder is not None, "check() has refused it"
        return folder
