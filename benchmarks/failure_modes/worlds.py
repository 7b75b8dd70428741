"""Three worlds whose states are a few numbers; n episodes run side by side, and t is the control step.

reset(n, rng)                     the first states (n, S) float64
observe(state, t)                 (qpos (n, Q), env_state (n, E)), which is all that a learner sees
expert(state, t)                  the right actions (n, A) here and now; the expert sees the whole state
step(state, action, noise, rng)   the next states, disturbed with standard deviation `noise`
failed(state)                     (n,) bool: beyond repair; such an episode stays where it is
measure(states)                   rates over episodes of states (n, T + 1, S), "success" among them
episode_len, noise                control steps; disturbance while a learner acts
"""

from dataclasses import dataclass

import numpy as np

Array = np.ndarray


@dataclass(frozen=True)
class Road:
    """Keep a car on a winding road: lateral offset e, heading psi, place on the road phi.

    e' = v sin psi, psi' = u - kappa v + noise, kappa = 0.5 sin phi; v = 1 m/s, 0.1 s per step. |u| is at
    most 4 rad/s. The car is lost when |e| > 1 m or when it stands across the road. The expert steers u = kappa v - e
    - 1.5 psi, so that it never leaves the middle without noise: its demonstrations do not show what to do elsewhere.
    """

    episode_len: int = 100
    noise: float = 0.01  # of the heading [rad per step]

    HORIZONS = (10, 25, 50, 100, 200, 400)

    def reset(self, n: int, rng: np.random.Generator) -> Array:
        return np.stack([np.zeros(n), np.zeros(n), rng.uniform(0, 2 * np.pi, n)], axis=1)

    def observe(self, state: Array, t: int) -> tuple[Array, Array]:
        return state[:, :2], np.stack([np.sin(state[:, 2]), np.cos(state[:, 2])], axis=1)

    def expert(self, state: Array, t: int) -> Array:
        e, psi, phi = state.T
        return (0.5 * np.sin(phi) - e - 1.5 * psi)[:, None]

    def step(self, state: Array, action: Array, noise: float, rng: np.random.Generator) -> Array:
        e, psi, phi = state.T
        turned = (
            psi + 0.1 * (np.clip(action[:, 0], -4, 4) - 0.5 * np.sin(phi)) + noise * rng.standard_normal(len(state))
        )
        return np.stack([e + 0.1 * np.sin(psi), turned, phi + 0.1], axis=1)

    def failed(self, state: Array) -> Array:
        return (np.abs(state[..., 0]) > 1) | (np.abs(state[..., 1]) > np.pi / 2)

    def measure(self, states: Array) -> dict[str, float]:
        """ "alive at T": share still on the road after T steps, for HORIZONS as far as the episodes go."""
        on_road = 1 - self.failed(states).mean(axis=0)
        alive = {f"alive at {t}": float(on_road[t]) for t in self.HORIZONS if t < len(on_road)}
        return {"success": float(on_road[-1]), **alive}


@dataclass(frozen=True)
class Detour:
    """Go from (-1, 0) to x = 1 round a disc on the axis; two of three experts pass above it.

    A state is x, y, the disc's x, the side (+1 above, -1 below) and how far out. Actions are the next position, at most
    0.1 away. The observation does not show how far out the expert goes, nor, without `side_visible`, on which side.
    """

    episode_len: int = 40
    noise: float = 0.0
    share_above: float = 2 / 3
    side_visible: bool = False

    RADIUS, REACH = 0.3, 0.1  # of the disc; the farthest that one step goes

    def reset(self, n: int, rng: np.random.Generator) -> Array:
        side = np.where(rng.permutation(n) < round(self.share_above * n), 1.0, -1.0)
        return np.stack([-np.ones(n), np.zeros(n), rng.uniform(-0.1, 0.1, n), side, rng.uniform(0.45, 0.6, n)], axis=1)

    def observe(self, state: Array, t: int) -> tuple[Array, Array]:
        return state[:, :2], state[:, 2:4] if self.side_visible else state[:, 2:3]

    def expert(self, state: Array, t: int) -> Array:
        x, _, disc, side, out = state.T
        ahead = np.minimum(x + 0.053, 1.0)
        bump, start = (np.cos(0.5 * np.pi * np.clip(at - disc, -1, 1)) ** 2 for at in (ahead, -1))  # 1 beside the disc
        return np.stack([ahead, side * out * np.maximum(bump - start, 0)], axis=1)

    def step(self, state: Array, action: Array, noise: float, rng: np.random.Generator) -> Array:
        way = action - state[:, :2]
        way *= np.minimum(1, self.REACH / np.maximum(np.linalg.norm(way, axis=1), 1e-9))[:, None]
        position = state[:, :2] + way + noise * rng.standard_normal(way.shape)
        return np.concatenate([position, state[:, 2:]], axis=1)

    def failed(self, state: Array) -> Array:
        return np.hypot(state[..., 0] - state[..., 2], state[..., 1]) < self.RADIUS

    def measure(self, states: Array) -> dict[str, float]:
        """ "above", "below": shares that arrived on that side; "coverage": 1 - total variation distance between the
        learner's outcomes (above, below, not arrived) and the experts'."""
        end = states[:, -1]
        arrived = (end[:, 0] > 0.9) & ~self.failed(end)
        beside = np.argmin(np.abs(states[:, :, 0] - states[:, :, 2]), axis=1)
        is_above = states[np.arange(len(states)), beside, 1] > 0
        above, below = float((arrived & is_above).mean()), float((arrived & ~is_above).mean())
        coverage = min(above, self.share_above) + min(below, 1 - self.share_above)
        return {"success": above + below, "above": above, "below": below, "coverage": coverage}


@dataclass(frozen=True)
class Corridor:
    """Move sideways to the goal at +0.5 or -0.5 before the corridor ends; the expert always knows which it is.

    A state is y, the goal and the control step. The learner sees the goal only while t is in `shown`. Expert and
    learner wait `wait` steps, then move at most 0.05 a step.
    """

    shown: tuple[int, int] = (0, 40)  # first step, and the step after the last
    wait: int = 0
    episode_len: int = 40
    noise: float = 0.005

    GOAL, RATE, NEAR = 0.5, 0.05, 0.1

    def reset(self, n: int, rng: np.random.Generator) -> Array:
        goal = np.where(rng.permutation(n) < n / 2, self.GOAL, -self.GOAL)
        return np.stack([np.zeros(n), goal, np.zeros(n)], axis=1)

    def observe(self, state: Array, t: int) -> tuple[Array, Array]:
        y, goal, step = state.T
        visible = float(self.shown[0] <= t < self.shown[1])
        return y[:, None], np.stack([step / self.episode_len, visible * goal, np.full(len(y), visible)], axis=1)

    def expert(self, state: Array, t: int) -> Array:
        return (t >= self.wait) * np.clip(state[:, 1] - state[:, 0], -self.RATE, self.RATE)[:, None]

    def step(self, state: Array, action: Array, noise: float, rng: np.random.Generator) -> Array:
        y, goal, t = state.T
        moved = np.clip(action[:, 0], -self.RATE, self.RATE) + noise * rng.standard_normal(len(y))
        return np.stack([y + np.where(t >= self.wait, moved, 0), goal, t + 1], axis=1)

    def failed(self, state: Array) -> Array:
        return np.zeros(len(state), bool)

    def measure(self, states: Array) -> dict[str, float]:
        return {"success": float((np.abs(states[:, -1, 0] - states[:, -1, 1]) < self.NEAR).mean())}


World = Road | Detour | Corridor
