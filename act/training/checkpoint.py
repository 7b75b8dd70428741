"""The files of a run folder. Each is written whole or not at all, and none is a pickle.

RUN/config.json           TrainConfig
RUN/metrics.jsonl         one line per Metrics
RUN/policy.safetensors    the weights that are deployed, and the normalizer
RUN/policy.json           policy name, config, data spec, step, seed, git, backbone_weights, versions
RUN/last/state.safetensors   everything that resuming needs; step and config are in its header
RUN/.lock                 held by the process that trains here
"""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from act.files import whole_file
from act.run_folder import RunFolder
from act.training.config import MAY_CHANGE, TrainConfig


@dataclass
class State:
    """Everything that a resumed run continues from; batches and noise follow from (seed, step)."""

    step: int  # number of steps done
    tensors: dict[str, Tensor]
    best_success: float | None = None  # of the weights in policy.safetensors, if rollouts choose them
    episodes: str = ""  # digest of the episodes (preparation.episodes_digest)


def save_state(run: Path, state: State, config: TrainConfig) -> None:
    header = {"step": state.step, "best_success": state.best_success, "episodes": state.episodes}
    header |= {"config": config.to_json()}
    tensors = {key: value.detach().contiguous() for key, value in state.tensors.items()}
    with whole_file(run / "last" / "state.safetensors") as temporary:
        save_file(tensors, temporary, metadata={"state": json.dumps(header)})


def load_state(run: Path, config: TrainConfig) -> State | None:
    """The state to resume from; None for a new run.

    Raises ValueError naming the fields that differ when the run was started with another configuration.
    """
    path = run / "last" / "state.safetensors"
    if not path.exists():
        return None
    try:
        with safe_open(path, "pt") as file:
            header = json.loads(file.metadata()["state"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, TypeError) as error:
        raise ValueError(f"{path} cannot be read ({error}); delete {path.parent} to start again") from error
    changed = differences(header["config"], config)
    if changed:
        raise ValueError(
            f"{run} was trained with {'; '.join(changed)}; repeat that to resume, or choose another --run_dir"
        )
    return State(header["step"], tensors, header["best_success"], header.get("episodes", ""))


def differences(saved: dict[str, Any], config: TrainConfig) -> list[str]:
    """The fields that must not change but differ, as "lr 0.001, not 0.0001".

    A field that the saved configuration lacks is newer than the run, which therefore had its default.
    """
    defaults = {f.name: f.default for part in (config, config.policy) for f in dataclasses.fields(part)}
    wanted, existing = _flat(json.loads(json.dumps(config.to_json()))), _flat(saved)
    existing = {key: existing.get(key, defaults.get(key)) for key in wanted | existing}
    keys = sorted(existing.keys() - set(MAY_CHANGE))
    return [f"{k} {existing[k]}, not {wanted.get(k)}" for k in keys if existing[k] != wanted.get(k)]


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
        with self.path.open("a") as file:
            file.write(json.dumps(values) + "\n")
        if self.writer is not None:
            for key, value in values.items():
                if key != "step" and value is not None:
                    self.writer.add_scalar(key, value, values["step"])

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()
