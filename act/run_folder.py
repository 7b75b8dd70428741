"""The folder of one training run: where its files lie, and what they say. It needs no torch.

    run = RunFolder("runs/demo")
    print(run.task_name(), run.digest(), run.metrics()[-1]["step"])

RUN/config.json              options of the training
RUN/metrics.jsonl            one line per act.training.fit.Metrics
RUN/policy.json              policy name and config, PolicySpec, step, seed, git, training options, digest of weights
RUN/policy.safetensors       weights of the deployed policy, normalizer included
RUN/starts.json              poses of the objects (7 numbers each) at the beginning of every training episode
RUN/last/state.safetensors   what a resumed training continues from
RUN/eval/NAME/               results.json, episodes.jsonl and videos of one evaluation
RUN/report.html              all evaluations on one page
"""

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from act.files import check_regular, read_json, read_text


@dataclass(frozen=True)
class RunFolder:
    """Properties are paths, which need not exist; methods read a file at every call, because the run may be training.

    Example:
        weights = RunFolder("runs/demo").weights      # runs/demo/policy.safetensors
    """

    path: Path

    def __init__(self, path: Path | str):
        object.__setattr__(self, "path", Path(path))

    @property
    def weights(self) -> Path:
        return self.path / "policy.safetensors"

    @property
    def last_state(self) -> Path:
        return self.path / "last" / "state.safetensors"

    @property
    def metrics_file(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def starts_file(self) -> Path:
        return self.path / "starts.json"

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    def evaluation(self, name: str) -> Path:
        """Folder of one evaluation; act.evaluation.execution.Execution.folder() spells its name."""
        return self.path / "eval" / name

    def about(self) -> dict[str, Any]:
        """What policy.json holds. Raises ValueError where there is none, or where it is broken.

        While a training replaces the weights, policy.json describes both the new and the old ones ("before"); the
        answer is about those that are there.
        """
        try:
            about = read_json(self.path / "policy.json")
        except FileNotFoundError:
            raise ValueError(f"{self.path} holds no trained policy (no policy.json); train one with train.py") from None
        before = about.pop("before", None)
        if isinstance(before, dict) and self.weights.is_file() and self.digest() == before.get("weights"):
            about |= before
        return about

    def task_name(self) -> str:
        """The --task_name of the training, e.g. "sim_insertion_scripted". Raises ValueError where it is unknown."""
        train = self.about().get("train")
        if not isinstance(train, dict) or not isinstance(train.get("task_name"), str):
            raise ValueError(
                f"{self.path}/policy.json does not say which task it was trained on: did train.py write it?"
            )
        return train["task_name"]

    def config(self) -> dict[str, Any]:
        """The options of the training, as config.json holds them. Raises ValueError where there is none."""
        try:
            return read_json(self.path / "config.json")
        except FileNotFoundError:
            raise ValueError(f"{self.path} holds no config.json; train.py writes it") from None

    def starts(self) -> list[list[float]]:
        """The lists in starts.json; none where there is no such file. Raises ValueError for a file of another form."""
        if not self.starts_file.exists():
            return []
        starts: Any = read_json(self.starts_file).get("train")
        lists = isinstance(starts, list) and all(isinstance(start, list) for start in starts)
        numbers = [value for start in starts for value in start] if lists else [None]
        if not all(isinstance(value, (int, float)) and math.isfinite(value) for value in numbers):
            raise ValueError(f"{self.starts_file} holds no lists of numbers; delete it, and train.py writes it again")
        return starts

    def digest(self) -> str:
        """`file_digest` of the weights. Raises FileNotFoundError where there are none."""
        return file_digest(self.weights)

    def metrics(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl, none where there is no such file; a last line that was cut off is left out.

        Raises ValueError for a file that is no text.
        """
        lines = []
        for line in read_text(self.metrics_file).splitlines() if self.metrics_file.exists() else ():
            try:
                values = json.loads(line)
            except (ValueError, RecursionError):
                break
            if not isinstance(values, dict) or not isinstance(values.get("step"), int):
                break
            lines.append(values)
        return lines


def file_digest(path: Path) -> str:
    """The first 16 hexadecimal digits of a file's SHA-256. Raises ValueError for what is no regular file."""
    check_regular(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
