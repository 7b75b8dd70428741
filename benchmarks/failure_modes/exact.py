"""The failures in closed form, without learning: what must be true if the explanations are right."""

from collections.abc import Sequence

import numpy as np

from act.runtime.agents import PolicyAgent
from act.types import Observation

PAUSE_AT, PAUSE, LENGTH = 25, 20, 50  # the demonstration goes 0, 1, ..., 25, waits 20 steps, goes on to 50


def cliff_cost(horizon: int, error: float, recovers: bool) -> float:
    """Returns the expected cost of T steps on the cliff chain (Ross & Bagnell 2010, "Efficient reductions for
    imitation learning").

    The learner errs with probability `error` per step where the expert has been. Without recovery every step after the
    first error costs 1, which is about error T^2 / 2 in all; with recovery (DAgger) only the error costs 1.
    """
    if recovers:
        return error * horizon
    return horizon - float(np.sum((1 - error) ** np.arange(1, horizon + 1)))


def simulated_cliff_cost(horizon: int, error: float, recovers: bool, n: int, rng: np.random.Generator) -> float:
    """Returns the mean cost of n simulated episodes."""
    errs = rng.random((n, horizon)) < error
    return float((errs if recovers else np.logical_or.accumulate(errs, axis=1)).sum(axis=1).mean())


class PausePolicy:
    """The best policy for one demonstration with a pause.

    It answers a position with the median (L1) or the mean (L2) of all chunks that follow it in the demonstration.
    """

    n_obs_steps, needs_images = 1, False

    def __init__(self, chunk_size: int, loss: str):
        self.chunk_size = chunk_size
        self.centre = {"l1": np.median, "l2": np.mean}[loss]
        self.path = np.concatenate([np.arange(PAUSE_AT), np.full(PAUSE, PAUSE_AT), np.arange(PAUSE_AT, LENGTH + 1)])
        followed = np.minimum(np.arange(len(self.path))[:, None] + np.arange(1, chunk_size + 1), len(self.path) - 1)
        self.chunks = self.path[followed].astype(float)  # (T, K)

    def predict_chunk(self, histories: Sequence[Sequence[Observation]]) -> np.ndarray:
        positions = [history[-1]["qpos"][0] for history in histories]
        nearest = [np.abs(self.path - position).min() for position in positions]
        same = [np.abs(self.path - p) <= d + 1e-6 for p, d in zip(positions, nearest, strict=True)]
        return np.stack([self.centre(self.chunks[rows], axis=0) for rows in same])[..., None]


def steps_past_pause(chunk_size: int, loss: str, execution: str, limit: int = 400) -> int | None:
    """Returns the control steps to the end of the path; None when there are more than `limit`.

    execution: "chunk" (open loop), "first" (one action of every chunk) or "ensemble" (temporal ensembling, m = 0.01).
    """
    policy = PausePolicy(chunk_size, loss)
    agent = PolicyAgent(policy, {"first": 1}.get(execution), 0.01 if execution == "ensemble" else None)
    agent.reset(1)
    position = np.zeros(1)
    for t in range(1, limit + 1):
        position = agent.select_action([{"qpos": position}])[0]
        if position[0] >= LENGTH - 0.5:
            return t
    return None


def delusion(n_goals: int, horizon: int, n: int, rng: np.random.Generator) -> dict[str, float]:
    """A learner that sees its own past actions but not the goal. It counts, and learns that actions are repeated.

    The expert's action is the number of the goal at every step. Returns "nll" of held-out demonstrations per step
    [nats], about ln(n_goals) / horizon, and "success" of n rollouts, about 1 / n_goals.
    """
    demos = rng.integers(n_goals, size=n)
    first = (np.bincount(demos, minlength=n_goals) + 1e-3) / (n + n_goals * 1e-3)
    again = np.eye(n_goals) * (n * (horizon - 1) / n_goals) + 1e-3
    again /= again.sum(axis=1, keepdims=True)
    held_out = rng.integers(n_goals, size=n)
    log_p = np.log(first[held_out]) + (horizon - 1) * np.log(again[held_out, held_out])
    chosen, goals = rng.choice(n_goals, size=n, p=first), rng.integers(n_goals, size=n)
    for _ in range(horizon - 1):
        draw = rng.random(n)[:, None]
        chosen = (draw > again.cumsum(axis=1)[chosen]).sum(axis=1).clip(max=n_goals - 1)
    return {"nll": float(-log_p.mean() / horizon), "success": float((chosen == goals).mean())}


CHAIN_ERROR, CHAIN_HORIZONS = 0.001, (10, 30, 100, 300, 1000)
CHUNK_SIZES = (1, 2, 5, 8, 10, 11, 12, 15, 20, 25, 30, 40, 50, 70, 100)
EXECUTIONS = ("first", "chunk", "ensemble")
DELUSION_HORIZONS = (2, 5, 10, 20, 50, 100)


def outcomes(seed: int, n: int) -> dict[str, dict[str, float]]:
    """Returns all of the above by condition, with n random episodes; a path that is never finished has -1 steps."""
    rng = np.random.default_rng(seed)
    found: dict[str, dict[str, float]] = {}
    for name, recovers in (("cliff chain, cloned", False), ("cliff chain, recovers", True)):
        exact = {f"cost at {t}": cliff_cost(t, CHAIN_ERROR, recovers) for t in CHAIN_HORIZONS}
        counted = {f"simulated at {t}": simulated_cliff_cost(t, CHAIN_ERROR, recovers, n, rng) for t in CHAIN_HORIZONS}
        slope = np.log10(exact["cost at 100"] / exact["cost at 10"])
        found[name] = {**exact, **counted, "slope": float(slope)}
    for loss in ("l1", "l2"):
        for execution in EXECUTIONS:
            steps = {f"steps at {k}": steps_past_pause(k, loss, execution) for k in CHUNK_SIZES}
            found[f"pause, {loss}, {execution}"] = {key: -1 if s is None else s for key, s in steps.items()}
    for horizon in DELUSION_HORIZONS:
        found[f"delusion, {horizon} steps"] = delusion(4, horizon, n, rng)
    return found
