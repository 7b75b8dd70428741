"""The one loop: `rollout(envs, agent, observers, seeds=...)` over B environments in lockstep. A robot is B = 1.

The loop does not know whether environments are simulated in this process (`SerialEnvs`), in worker processes
(`ParallelEnvs`), or are a robot (`RobotEnvs`).
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from act.runtime.agents import spec_of_policy
from act.runtime.checks import check_fits
from act.runtime.envs import Change, Envs
from act.types import Agent, EnvSpec, Info, Observation, Observer, RolloutResult


@dataclass
class _Lane:
    """One running episode."""

    seed: int
    obs: Observation
    info: Info
    images: dict[str, np.ndarray] | None = None  # the last ones that were rendered
    rewards: list[float] = field(default_factory=list)
    live: bool = True
    was_success: bool = False  # whether info["is_success"], as other projects call it, was true at any control step

    def change(self, change: Change) -> None:
        self.obs, reward, terminated, truncated, self.info = change
        self.rewards.append(reward)
        self.was_success |= bool(self.info.get("is_success"))
        self.images = self.obs.get("images", self.images)
        self.live = not (terminated or truncated)

    def observed(self) -> Observation:
        """What the agent gets; an episode that has ended repeats its last images, because the agent may need some."""
        return self.obs if self.live or self.images is None else {**self.obs, "images": self.images}

    def result(self, spec: EnvSpec, env_state0: list[float]) -> RolloutResult:
        best = max(self.rewards)
        reached = [(np.asarray(self.rewards) >= r).nonzero()[0] for r in range(1, spec.max_reward + 1)]
        last_stage = self.was_success or (spec.max_reward > 0 and best >= spec.max_reward)
        success = bool(self.info.get("success", last_stage))
        return RolloutResult(
            seed=self.seed,
            length=len(self.rewards),
            max_reward=best,
            episode_return=float(sum(self.rewards)),
            success=success,
            strict_success=bool(self.info.get("strict_success", self.info.get("is_success", success))),
            stages=[int(at[0]) if len(at) else None for at in reached],
            env_state0=env_state0,
            clipped=int(self.info.get("clipped", 0)),
        )


def rollout(
    envs: Envs,
    agent: Agent,
    observers: Sequence[Observer] = (),
    *,
    seeds: Sequence[int],
    options: Sequence[dict | None] | None = None,
) -> Iterator[RolloutResult]:
    """One episode per seed, in waves of `envs.num_envs`; yields the results of a wave in the order of its seeds.

    `options[i]` goes to the reset of episode i. An episode that ends early is not stepped until its wave has ended.

    Raises ValueError before the first control step when the agent's policy and the environments have different sizes or
    cameras, and at any control step when the agent does not answer one action per environment.
    """
    if options is not None and len(options) != len(seeds):
        raise ValueError(f"{len(options)} options for {len(seeds)} seeds; give one (or None) per seed")
    for start in range(0, len(seeds), envs.num_envs):
        wave = slice(start, start + envs.num_envs)
        yield from _run_wave(envs, agent, observers, seeds[wave], options[wave] if options is not None else None)


def _run_wave(
    envs: Envs,
    agent: Agent,
    observers: Sequence[Observer],
    seeds: Sequence[int],
    options: Sequence[dict | None] | None,
) -> list[RolloutResult]:
    agent.reset(len(seeds))
    _seed_noise(seeds[0])
    starts = envs.reset(seeds, options, _images_due(agent, observers))
    lanes = [_Lane(int(s), obs, info, obs.get("images")) for s, (obs, info) in zip(seeds, starts, strict=True)]
    env_states0 = [np.asarray(lane.obs.get("env_state", ())).tolist() for lane in lanes]
    results: dict[int, RolloutResult] = {}
    spec = spec_of_policy(agent)
    if spec is not None:
        check_fits(spec, lanes[0].obs, getattr(envs, "action_dim", None), envs.env_spec.task_name)
    for index, lane in enumerate(lanes):
        for observer in observers:
            observer.on_reset(index, lane.seed, lane.obs, lane.info)
    t = 0
    while len(results) < len(lanes):
        actions = _checked_actions(agent.select_action([lane.observed() for lane in lanes]), len(lanes))
        changes = envs.step(actions, _images_due(agent, observers))
        for index, lane in enumerate(lanes):
            if index in results:
                continue
            obs = lane.obs
            lane.change(changes[index])
            for observer in observers:
                action = lane.info.get("sent", actions[index])  # a robot may be sent another target than the agent's
                observer.on_step(index, t, obs, action, lane.obs, lane.rewards[-1], lane.info)
            if not lane.live:
                results[index] = lane.result(envs.env_spec, env_states0[index])
                for observer in observers:
                    observer.on_end(index, results[index])
        t += 1
    return [results[index] for index in range(len(lanes))]


def _checked_actions(answer: np.ndarray, num_envs: int) -> np.ndarray:
    actions = np.asarray(answer)
    if actions.ndim != 2 or len(actions) != num_envs:
        raise ValueError(f"the agent answered actions of shape {actions.shape}, expected ({num_envs}, A)")
    return actions


def _seed_noise(seed: int) -> None:
    """Seeds torch if an agent has loaded it, so that a policy that samples is repeatable, wave by wave."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.manual_seed(seed)


def _images_due(agent: Agent, observers: Sequence[Observer]) -> bool:
    return agent.needs_images() or any(observer.needs_images() for observer in observers)
