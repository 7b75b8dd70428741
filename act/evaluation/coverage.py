"""How near the starts of rollouts are to demonstrated ones, and how success depends on it."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from act.evaluation.page import heads, row, section, table
from act.evaluation.rates import Rate
from act.evaluation.results import Evaluation

EDGES = (0.01, 0.02, 0.03)  # [m] between two ranges of distances
NOTE = (
    "The distance of a rollout is that of its object that starts farthest from where it began in training. "
    "Misses far from the demonstrations ask for more of them there; misses near them have other causes."
)


def distances(results: Mapping[str, Any], starts: Sequence[Sequence[float]]) -> np.ndarray:
    """Returns how far each rollout's start is from the demonstrated ones, (n,) [m]; empty where they do not fit.

    starts: `env_state` of the training episodes at their beginning, 7 numbers per object: x y z [m] and a quaternion.
    For each object, the nearest training episode counts; the farthest object is that of the rollout.
    """
    rollouts = [episode["env_state0"] for episode in results["episodes"]]
    sizes = {len(start) for start in (*rollouts, *starts)}
    if not rollouts or not starts or len(sizes) != 1 or (size := sizes.pop()) < 7 or size % 7:
        return np.empty(0)
    here, there = (np.reshape(some, (-1, size // 7, 7))[..., :2] for some in (rollouts, starts))
    return np.linalg.norm(here[:, None] - there[None], axis=-1).min(axis=1).max(axis=-1)


def rates(results: Mapping[str, Any], starts: Sequence[Sequence[float]]) -> list[Rate]:
    """Returns success for each range of distances that has rollouts, from near to far."""
    away, found = distances(results, starts), []
    for low, high in zip((0.0, *EDGES), (*EDGES, math.inf), strict=True):
        chosen = [
            episode["success"] for episode, far in zip(results["episodes"], away, strict=False) if low <= far < high
        ]
        name = f"{100 * low:g} to {100 * high:g} cm" if high < math.inf else f"over {100 * low:g} cm"
        found += [Rate.of(name, chosen)] if chosen else []
    return found


def coverage(evaluations: Sequence[Evaluation]) -> str:
    """The section of a report; empty where no run says where its training episodes began."""
    lines = [
        row(f"{escape(evaluation.name)} <small>{rate.name}</small>", [str(rate)])
        for evaluation in evaluations
        for rate in rates(evaluation.results, evaluation.starts)
    ]
    header = heads("distance to the nearest demonstrated start", "success")
    return section("Success by distance from the demonstrations", table([header, *lines]), NOTE) if lines else ""
