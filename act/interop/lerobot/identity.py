"""Recognises an episode by its numbers, so that what LeRobot's format has no place for finds its episode again.

meta/act_episodes.jsonl holds one line per exported episode: its identity and its attributes (seed, success, versions).
Joint positions and actions survive every conversion bit by bit, so deleting or merging episodes breaks nothing.
"""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from act.interop.lerobot.layout import read_json_lines

ATTRIBUTES = "meta/act_episodes.jsonl"


def identity(qpos: np.ndarray, action: np.ndarray) -> str:
    """Returns 16 hexadecimal digits of joint positions (T, W) and actions (T, A), taken as float32."""
    digest = hashlib.sha256()
    for values in (qpos, action):
        digest.update(np.ascontiguousarray(values, "<f4").tobytes())
    return digest.hexdigest()[:16]


def read_attributes(root: Path) -> dict[str, dict[str, Any]]:
    """Returns the attributes of episodes by their identity; empty for a data set that this project did not write."""
    if not (root / ATTRIBUTES).is_file():
        return {}
    lines = read_json_lines(root / ATTRIBUTES)
    return {str(line.get("identity")): line["attrs"] for line in lines if isinstance(line.get("attrs"), dict)}
