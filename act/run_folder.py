"""RUN/metrics.jsonl, one line per act.training.fit.Metrics, as everybody reads it who shows or resumes a run."""

import hashlib
import json
from pathlib import Path
from typing import Any

FILE = "metrics.jsonl"


def read_metrics(run: Path | str) -> list[dict[str, Any]]:
    """Its lines, none where there is no file; a last line that is still being written, or was cut off, is ignored."""
    path = Path(run) / FILE
    lines = []
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            lines.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return lines


def read_about(run: Path | str) -> dict[str, Any]:
    """policy.json of a run. Raises ValueError saying how to make one."""
    path = Path(run) / "policy.json"
    try:
        about = json.loads(path.read_text())
    except FileNotFoundError:
        raise ValueError(f"{run} holds no trained policy (no policy.json); train one with train.py.") from None
    except (OSError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    if not isinstance(about, dict):
        raise ValueError(f"{path} tells of no policy: it was not written by train.py of this repository")
    return about


def trained_on(run: Path | str) -> str:
    """The task_name a run was trained on; ValueError where policy.json does not tell."""
    train = read_about(run).get("train")
    if not isinstance(train, dict) or "task_name" not in train:
        raise ValueError(f"{run} does not tell what it was trained on: train.py of this repository did not make it")
    return train["task_name"]


def fingerprint(path: Path) -> str:
    """The first 16 hexadecimal digits of a file's SHA-256."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
