"""The files of a run folder. Each is written whole or not at all, and none is a pickle.

RUN/config.json           TrainConfig
RUN/metrics.jsonl         one line per Metrics
RUN/policy.safetensors    the weights that are deployed, and the normalizer
RUN/policy.json           policy name, config, data spec, step, seed, git, versions, digest of the weights
RUN/last/state.safetensors   everything that resuming needs; step, config and digest are in its header
RUN/.lock                 held by the process that trains here
"""

import dataclasses
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from act.files import full_disk_names, whole_file
from act.nn.tensors import check_finite, check_form, read_with_digest, write_with_digest
from act.policies.base.policy import Policy
from act.run_folder import RunFolder
from act.training.config import MAY_CHANGE, TrainConfig
from act.training.trainer import Trainer

OF_EPISODES = ("dataset_dir",)  # compared by the digest of the episodes, not by the spelling of a path
PATHS = ("scenes", "warm_start", "trunk", *OF_EPISODES)  # other paths may be spelled in other ways


@dataclass
class State:
    """Everything that a resumed run continues from; batches and noise follow from (seed, step)."""

    step: int  # number of steps done
    tensors: dict[str, Tensor]
    best_success: float | None = None  # of the weights in policy.safetensors, if rollouts choose them
    episodes: str = ""  # digest of the episodes (preparation.episodes_digest)


def save_state(run: Path, state: State, config: TrainConfig) -> None:
    """Writes RUN/last. Raises OSError naming the file when the disk is full."""
    header = {"step": state.step, "best_success": state.best_success, "episodes": state.episodes}
    header |= {"config": config.to_json()}
    write_with_digest(RunFolder(run).last_state, state.tensors, {"state": json.dumps(header)})


def load_state(run: Path, config: TrainConfig) -> State | None:
    """The state to resume from; None for a new run.

    Raises ValueError naming the fields that differ when the run was started with another configuration, and naming the
    file when it is damaged. `check_state` says whether it is complete.
    """
    path = RunFolder(run).last_state
    if not path.exists():
        return None
    try:
        tensors, texts = read_with_digest(path)
        header = _read_header(texts)
    except ValueError as error:
        reason = str(error).removeprefix(f"{path} cannot be read: ")
        raise ValueError(f"{path} cannot be read ({reason}); delete {path.parent} to start again") from error
    changed = differences(header["config"], config, with_episodes=not header.get("episodes"))
    if changed:
        raise ValueError(f"{run} was trained with {'; '.join(changed)}; {_way_out(changed, run)}")
    if config.steps < header["step"]:
        raise ValueError(
            f"{run} has {header['step']} steps already, more than --steps {config.steps}; choose another --run_dir"
        )
    return State(header["step"], tensors, header["best_success"], header.get("episodes", ""))


def _read_header(texts: Mapping[str, str]) -> dict[str, Any]:
    """What the header of a state says. Raises ValueError when it is none."""
    try:
        header = json.loads(texts["state"])
        step, best, config = header["step"], header["best_success"], header["config"]
        sound = type(step) is int and step >= 0 and isinstance(config["policy"], dict)
        sound &= best is None or math.isfinite(best)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"its header describes no state of a training: {error!r}") from error
    if not sound or not isinstance(header.get("episodes", ""), str):
        raise ValueError("its header describes no state of a training")
    return header


def check_state(run: Path, state: State, policy: Policy, config: TrainConfig) -> None:
    """Raises ValueError unless the weights of `policy`, and their average, are all in the state, and finite.

    `act.training.optimizer_state.restore_optimizer` does the same for the optimizer.
    """
    expected = policy.state_dict()
    for part in ("policy.", "deployed.") if config.ema_decay else ("policy.",):
        found = {name.removeprefix(part): value for name, value in state.tensors.items() if name.startswith(part)}
        try:
            check_form(found, expected)
            check_finite(found, expected)
        except ValueError as error:
            path = RunFolder(run).last_state
            reason = f"the weights ({part[:-1]}) are not those of this policy: {error}"
            raise ValueError(f"{path} cannot be continued: {reason}; delete {path.parent} to start again") from None


def restore_state(run: Path, trainer: Trainer, state: State) -> None:
    """Continues a trainer from a state. Raises ValueError, with the path, when the optimizer's part is not complete."""
    try:
        trainer.restore(state.step, state.tensors)
    except ValueError as error:
        path = RunFolder(run).last_state
        raise ValueError(f"{path} cannot be continued: {error}; delete {path.parent} to start again") from error


def differences(saved: dict[str, Any], config: TrainConfig, with_episodes: bool = True) -> list[str]:
    """The fields that must not change but differ, as "lr 0.001, not 0.0001".

    A field that the saved configuration lacks is newer than the run, which therefore had its default. Without
    `with_episodes` the folders of the episodes may differ, because their digest says whether these are the same.
    """
    defaults = {f.name: f.default for part in (config, config.policy) for f in dataclasses.fields(part)}
    wanted, existing = _flat(json.loads(json.dumps(config.to_json()))), _flat(saved)
    existing = {key: existing.get(key, defaults.get(key)) for key in wanted | existing}
    may_change = {*MAY_CHANGE, *(() if with_episodes else OF_EPISODES)}
    if _same_up_to_here(existing, config):
        may_change.add("steps")
    return [
        f"{key} {existing[key]}, not {wanted.get(key)}"
        for key in sorted(existing.keys() - may_change)
        if _plain(key, existing[key]) != _plain(key, wanted.get(key))
    ]


def _same_up_to_here(saved: Mapping[str, Any], config: TrainConfig) -> bool:
    """Whether a run of `config.steps` has the same learning rates as the saved one, in all steps that both have."""
    steps = saved["steps"]
    warm_up = [min(config.warmup_steps, total // 2) for total in (steps, config.steps)] if type(steps) is int else []
    return config.schedule == "constant" and len(set(warm_up)) == 1


def _way_out(changed: list[str], run: Path) -> str:
    if not any(field.startswith("steps ") for field in changed):
        return "repeat that to resume, or choose another --run_dir"
    return (
        "repeat that to resume. The number of steps may change only where the learning rate does not depend on it "
        f"(--schedule constant); to train these weights further, give --warm_start {run} and another --run_dir"
    )


def _plain(key: str, value: Any) -> Any:
    """A value in the form that is compared: paths without links and `..`."""
    if key not in PATHS or not value:
        return value
    return [os.path.realpath(path) for path in ([value] if isinstance(value, str) else value)]


def _flat(values: dict[str, Any]) -> dict[str, Any]:
    return {**{k: v for k, v in values.items() if k != "policy"}, **values["policy"]}


class MetricsLog:
    """Writes metrics.jsonl and TensorBoard's event files; removes lines of an interrupted run after step `start`."""

    def __init__(self, run: Path, start: int = 0, tensorboard: bool = True):
        self.path = RunFolder(run).metrics_file
        run.mkdir(parents=True, exist_ok=True)
        kept = [line for line in RunFolder(run).metrics() if line["step"] <= start]
        with whole_file(self.path) as temporary:
            temporary.write_text("".join(json.dumps(line) + "\n" for line in kept))
        self.writer = None
        if tensorboard:
            from torch.utils.tensorboard import SummaryWriter  # here, because the import is slow

            self.writer = SummaryWriter(str(run / "tensorboard"), purge_step=start + 1)

    def write(self, values: dict[str, Any]) -> None:
        with full_disk_names(self.path), self.path.open("a") as file:
            file.write(json.dumps(values) + "\n")
        if self.writer is not None:
            for key, value in values.items():
                if key != "step" and value is not None:
                    self.writer.add_scalar(key, value, values["step"])

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()
