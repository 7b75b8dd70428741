"""Learning from a teacher who is watching: who drives, and what is labelled.

Who watches is act/runtime/operators.py, what a label weighs act/data/labels.py.

DAgger (Ross, Gordon, Bagnell 2011, arXiv 1011.0686): expert and policy take turns, the expert labels what was visited.
Human-gated DAgger (Kelly et al. 2019, arXiv 1810.02890): the policy drives, an operator takes over when it goes wrong.
Environments for either put what the expert would do into the observation, beside what act/types.py draws:

    obs["expert_action"]   (14,)     asked at this state
    obs["expert_chunk"]    (K, 14)   only at some control steps: this action and those the expert would do next

The second is what a policy of chunks has to learn. The labels of the next K control steps are no substitute: they were
asked at states to which somebody else, the policy, has driven.
"""

import enum
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from act.runtime.agents import ChunkPolicy, PolicyAgent
from act.runtime.operators import Operator
from act.types import ACTION_DIM, GRIPPERS, Observation

TURN = 0.06  # [rad] per control step: as fast as the experts ever move a joint
CLOSE = 0.2  # the same for an opening


# ------------------------------------------------------------------------------------------------------------- DAgger
@dataclass(frozen=True)
class BetaSchedule:
    """Share of the expert in round 1, 2, ...: "first" (1, then 0), "linear:N" (0 from round N on), "power:P" or
    "constant:P"."""

    kind: str
    number: float = 0.0

    @classmethod
    def parse(cls, text: str) -> "BetaSchedule":
        """Of "first", "linear:15" or "power:0.5"; ValueError says so for anything else."""
        kind, _, number = text.partition(":")
        try:
            schedule = cls(kind, float(number or 0))
        except ValueError:
            schedule = cls("")
        is_share = 0 < schedule.number < 1
        ranges = {"first": not number, "linear": schedule.number > 1, "power": is_share, "constant": is_share}
        if not ranges.get(schedule.kind):
            shares = "power:P or constant:P with 0 < P < 1"
            raise ValueError(f"no beta schedule {text!r}; give first, linear:N with N > 1, {shares}")
        return schedule

    def __call__(self, round_: int) -> float:
        """Beta of round 1, 2, ..."""
        if self.kind in ("power", "constant"):
            return self.number ** (round_ - 1 if self.kind == "power" else 1)
        return max(0.0, 1 - (round_ - 1) / (self.number - 1)) if self.kind == "linear" else float(round_ == 1)


class MixtureAgent:
    """beta * expert + (1 - beta) * policy, decided by a coin for a whole chunk of `n_action_steps` at a time.

    Not per control step, as in Ross et al.: the rest of a chunk is a plan from where the policy was asked, of no use
    once somebody else has driven. So the coin falls when the policy is asked, and whoever wins drives until the next.
    With `to_the_end` an expert who has won once drives until the episode ends: a demonstration that begins where the
    policy has been, with a sample for every label.
    `seeds`: of the episodes to come, in order; an episode's coins follow from its seed, whatever runs beside it.
    `intervention` (B,) says for the last action of which environments it was the expert's.
    """

    def __init__(self, policy: PolicyAgent, beta: float, seeds: Iterable[int] | None = None, to_the_end: bool = False):
        if not 0 <= beta <= 1:
            raise ValueError(f"beta {beta}: must be 0 to 1, the share of the expert")
        if policy.ensemble is not None and beta > 0:
            raise ValueError(
                f"ensemble_m {policy.ensemble.m} with a beta of {beta:g}: an average has no use for plans from before "
                "the expert drove; leave it out, or choose a round whose beta is 0"
            )
        self.policy, self.beta, self.to_the_end = policy, beta, to_the_end
        self._seeds = itertools.count() if seeds is None else iter(seeds)
        self.intervention = np.zeros(0, bool)

    def reset(self, num_envs: int) -> None:
        self.policy.reset(num_envs)
        # A stream of its own: the seed alone is what the environment draws its objects from.
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
class Mode(enum.Enum):
    """Who drives an environment."""

    AUTONOMOUS = "the policy"
    PAUSED = "nobody: the arms keep their last targets"
    CORRECTING = "the operator"


class GatedAgent:
    """AUTONOMOUS -> PAUSED -> CORRECTING -> AUTONOMOUS, for every environment by itself.

    A take-over begins with `pause` control steps in which the arms hold their targets (a person grips the handles).
    The policy comes back with a fresh plan. After either hand-over targets move from the last ones to the new driver's
    no faster than `TURN` and `CLOSE`, until they have met: nothing jumps.
    `intervention` (B,) says for the last action of which environments the operator made it; a pause is not his.
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
        self._make()  # refuses impossible numbers now
        self.policy, self.operator, self.pause = policy, operator, pause
        self.reset(0)

    def reset(self, num_envs: int) -> None:
        self.drivers = [self._make() for _ in range(num_envs)]  # of their own: they are handed back at different times
        for driver in self.drivers:
            driver.reset(1)
        if num_envs:
            self.operator.reset(num_envs)
        self.modes = [Mode.AUTONOMOUS] * num_envs
        self._paused = [0] * num_envs
        self._catching_up = [False] * num_envs
        self._last: list[np.ndarray | None] = [None] * num_envs

    @property
    def intervention(self) -> np.ndarray:
        return np.array([mode is Mode.CORRECTING for mode in self.modes])

    def needs_images(self) -> bool:
        if self.operator.needs_images():
            return True
        busy = any(mode is not Mode.AUTONOMOUS for mode in self.modes)  # asked at every step what it would do
        return self.policy.needs_images and (busy or any(driver.needs_images() for driver in self.drivers))

    def select_action(self, observations: Sequence[Observation]) -> np.ndarray:
        return np.stack([self._drive(index, obs) for index, obs in enumerate(observations)])

    def _drive(self, index: int, obs: Observation) -> np.ndarray:
        driver, last = self.drivers[index], self._last[index]
        last = np.asarray(obs["qpos"], np.float32) if last is None else last
        if self.modes[index] is not Mode.AUTONOMOUS:
            driver.replan()
        intended = driver.select_action([obs])[0]
        self._change_mode(index, self.operator.wants_control(index, obs, intended))
        mode = self.modes[index]
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
        """One transition at most; whoever comes next starts from the last targets."""
        mode = self.modes[index]
        if mode is Mode.AUTONOMOUS and wanted:
            self._paused[index], mode = 0, Mode.PAUSED
        if mode is Mode.PAUSED:
            self._paused[index] += 1
            mode = Mode.CORRECTING if self._paused[index] > self.pause else mode
        if mode is not Mode.AUTONOMOUS and not wanted:
            mode = Mode.AUTONOMOUS
        self._catching_up[index] |= mode is not self.modes[index]
        self.modes[index] = mode


def towards(last: np.ndarray, action: np.ndarray) -> np.ndarray:
    """The action (14,) itself, or what of it is within TURN and CLOSE of the last one."""
    reach = np.full(ACTION_DIM, TURN, np.float32)
    reach[list(GRIPPERS)] = CLOSE
    return np.where(np.abs(action - last) <= reach, action, last + np.clip(action - last, -reach, reach))
