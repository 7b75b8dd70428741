"""Imitation learning with a supervisor who watches the policy: who drives, and which actions become labels.

DAgger (Ross, Gordon, Bagnell 2011, arXiv 1011.0686): expert and policy alternate, and the expert labels every state
that was visited. Human-gated DAgger (Kelly et al. 2019, arXiv 1810.02890): the policy drives, and an operator takes
over when it goes wrong. Operators are in act/runtime/operators.py, the weights of labels in act/data/labels.py.

Both need environments that put the expert's actions into the observation, in addition to what act/types.py lists:

    obs["expert_action"]   (A,)      the expert's action at this state
    obs["expert_chunk"]    (K, A)    only at some control steps: this action and those that the expert would do next

A policy that predicts chunks needs the second as its label. The expert's actions of the next K control steps are no
substitute, because they are for states to which the policy has driven by then.
"""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from act.runtime.agents import ChunkPolicy, PolicyAgent
from act.runtime.gated_control import GatedControl, Mode
from act.runtime.limits import towards
from act.runtime.operators import Operator
from act.types import Observation


# ------------------------------------------------------------------------------------------------------------- DAgger
@dataclass(frozen=True)
class BetaSchedule:
    """Beta, the share of the expert, in round 1, 2, ...

    "first": 1, then 0. "linear:N": falls from 1 to 0 in round N. "power:P": 1, P, P^2, ... "constant:P": always P.
    """

    kind: str
    number: float = 0.0

    @classmethod
    def parse(cls, text: str) -> "BetaSchedule":
        """Reads for example "first", "linear:15" or "power:0.5"; ValueError lists what is possible."""
        kind, _, number = text.partition(":")
        try:
            schedule = cls(kind, float(number or 0))
        except ValueError:
            schedule = cls("")
        is_share = 0 < schedule.number < 1
        ranges = {"first": not number, "linear": schedule.number > 1, "power": is_share, "constant": is_share}
        if not ranges.get(schedule.kind):
            shares = "power:P or constant:P with 0 < P < 1"
            raise ValueError(f"unknown beta schedule {text!r}; give first, linear:N with N > 1, {shares}")
        return schedule

    def __call__(self, round_: int) -> float:
        """Beta of round 1, 2, ..."""
        if self.kind in ("power", "constant"):
            return self.number ** (round_ - 1 if self.kind == "power" else 1)
        return max(0.0, 1 - (round_ - 1) / (self.number - 1)) if self.kind == "linear" else float(round_ == 1)


class MixtureAgent:
    """DAgger's beta * expert + (1 - beta) * policy: a coin decides who drives for a whole chunk of `n_action_steps`.

    Ross et al. toss it at every control step. Here the coin falls when the policy is asked, since the rest of a chunk
    is useless once the expert has moved the robot elsewhere.

    Args:
        policy: the agent that drives when the expert does not.
        beta: probability (0 to 1) that the expert drives a chunk.
        seeds: of the episodes to come, in order. An episode's coins depend on its seed alone, not on its batch.
        to_the_end: an expert who has begun to drive drives until the episode ends. That gives a demonstration that
            begins where the policy has been, with a training sample for every label.

    `intervention` (B,) says in which environments the last action was the expert's.
    """

    def __init__(self, policy: PolicyAgent, beta: float, seeds: Iterable[int] | None = None, to_the_end: bool = False):
        if not 0 <= beta <= 1:
            raise ValueError(f"beta {beta}: must be 0 to 1; it is the share of the expert")
        if policy.ensemble is not None and beta > 0:
            raise ValueError(
                f"ensemble_m {policy.ensemble.m} with a beta of {beta:g}: the ensemble would average chunks from "
                "before the expert drove; leave ensemble_m out, or choose a round whose beta is 0"
            )
        self.policy, self.beta, self.to_the_end = policy, beta, to_the_end
        self._seeds = itertools.count() if seeds is None else iter(seeds)
        self.intervention = np.zeros(0, bool)

    def reset(self, num_envs: int) -> None:
        self.policy.reset(num_envs)
        # A random stream of their own: the environment draws its objects from the seed alone.
        self._coins, self._t = [np.random.default_rng((next(self._seeds), 2)) for _ in range(num_envs)], 0
        self.intervention = np.zeros(num_envs, bool)

    def needs_images(self) -> bool:
        return self.policy.needs_images()

    def select_action(self, observations: Sequence[Observation]) -> np.ndarray:
        if self._t % self.policy.n_action_steps == 0:
            heads = np.array([coin.random() < self.beta for coin in self._coins])
            self.intervention = self.to_the_end & self.intervention | heads
        self._t += 1
        own = self.policy.select_action(observations)
        return np.where(self.intervention[:, None], [obs["expert_action"] for obs in observations], own)


# -------------------------------------------------------------------------------------------------------- human-gated
class GatedAgent:
    """The policy drives until the operator takes over: AUTONOMOUS -> PAUSED -> CORRECTING -> AUTONOMOUS.

    Every environment has a mode of its own (act/runtime/gated_control.py). A take-over begins with `pause` control
    steps in which the arms hold their targets, because a person needs time to grip the controls. The policy comes back
    with a new chunk. After a change of control, targets move from the last ones to the new driver's by no more than
    `MAX_ARM_STEP` and `MAX_GRIPPER_STEP` (limits.py) per control step until they have met, so nothing jumps.

    `intervention` (B,) says in which environments the last action was the operator's; a pause is not.
    """

    def __init__(
        self,
        policy: ChunkPolicy,
        operator: Operator,
        n_action_steps: int | None = None,
        ensemble_m: float | None = None,
        pause: int = 5,
    ):
        self._make = lambda: PolicyAgent(policy, n_action_steps, ensemble_m)
        self._make()  # raises ValueError now if the numbers are impossible
        self.policy, self.operator, self.pause = policy, operator, pause
        self.reset(0)

    def reset(self, num_envs: int) -> None:
        self.drivers = [self._make() for _ in range(num_envs)]  # one each: control comes back at different times
        for driver in self.drivers:
            driver.reset(1)
        if num_envs:
            self.operator.reset(num_envs)
        self._controls = [GatedControl() for _ in range(num_envs)]
        self._wanted_for = [0] * num_envs  # control steps in which the operator has wanted control
        self._catching_up = [False] * num_envs
        self._last: list[np.ndarray | None] = [None] * num_envs

    @property
    def modes(self) -> list[Mode]:
        """Who drives in each environment."""
        return [control.mode for control in self._controls]

    @property
    def intervention(self) -> np.ndarray:
        return np.array([mode is Mode.CORRECTING for mode in self.modes])

    def needs_images(self) -> bool:
        if self.operator.needs_images():
            return True
        gated = any(mode is not Mode.AUTONOMOUS for mode in self.modes)  # then the policy is asked at every step
        return self.policy.needs_images and (gated or any(driver.needs_images() for driver in self.drivers))

    def select_action(self, observations: Sequence[Observation]) -> np.ndarray:
        return np.stack([self._drive(index, obs) for index, obs in enumerate(observations)])

    def _drive(self, index: int, obs: Observation) -> np.ndarray:
        driver, last = self.drivers[index], self._last[index]
        last = np.asarray(obs["qpos"], np.float32) if last is None else last
        if self._controls[index].mode is not Mode.AUTONOMOUS:
            driver.replan()
        intended = driver.select_action([obs])[0]
        self._change_mode(index, self.operator.wants_control(index, obs, intended))
        mode = self._controls[index].mode
        action = last if mode is Mode.PAUSED else intended
        if mode is Mode.CORRECTING:
            action = np.asarray(self.operator.action(index, obs), np.float32)
        if self._catching_up[index]:
            near = towards(last, action)
            self._catching_up[index] = mode is Mode.PAUSED or not np.array_equal(near, action)
            action = near
        self._last[index] = action
        return action

    def _change_mode(self, index: int, wanted: bool) -> None:
        """Turns the operator's wish into commands of the state machine; a new driver starts from the last targets."""
        control = self._controls[index]
        before = control.mode
        if wanted:
            control.take_over()
            control.clutch(self._wanted_for[index] >= self.pause)
            self._wanted_for[index] += 1
        else:
            control.hand_back()
            self._wanted_for[index] = 0
        self._catching_up[index] |= control.mode is not before
