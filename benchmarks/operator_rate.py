"""The same operator at 50 Hz and at 5 Hz, as in Fig. 8d of Zhao et al. 2023: `python -m benchmarks.operator_rate`

A script at two leader arms sees everything 0.2 s late; the followers get its joints at each rate (real_envs.puppeteer).
"""

import sys
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from tqdm import tqdm

import sim_envs
from act.files import write_json
from act.provenance import provenance
from act.runtime.envs import SerialEnvs
from act.runtime.rollout import rollout
from benchmarks.programs import check_values, main
from real_envs.puppeteer import GRIPPERS, SIDES, Puppeteer
from sim_envs.experts import make_agent
from sim_envs.experts.expert import Goal, step
from sim_envs.kinematics import CONTROL_TIMESTEP, MAX_SPEED, Kinematics, Pose

RATES = (50, 5)  # [Hz]
FIRST_SEED = 3_200_000  # nobody looked at these while the operator was written
LONGEST, DELAY = 1500, 10  # [control steps] 30 s until an operator gives up; 0.2 s until a quick person reacts
FASTEST = 2 * CONTROL_TIMESTEP * np.tile([*MAX_SPEED, np.inf], 2)  # (14,) of the leaders, as of the page's operator
LEARNING = 0.04  # share per control step of what is noticed about how far the followers stay behind: 0.5 s


@dataclass(frozen=True)
class Options:
    """Tasks, and the number of episodes per task and rate."""

    tasks: tuple[str, ...] = ("transfer_cube",)
    num: int = 20


class UntilDone(gymnasium.Wrapper):
    """Ends an episode with its success."""

    def step(self, action: Any) -> Any:
        obs, reward, terminated, truncated, info = super().step(action)
        return obs, reward, terminated or reward == self.get_wrapper_attr("env_spec").max_reward, truncated, info


class ScriptedOperator:
    """Moves leader arms; the agent of one environment, whose followers get the joints every `hold` control steps."""

    def __init__(self, task: str, hold: int):
        self._task, self._hold, self._kinematics = task, hold, Kinematics()

    def reset(self, num_envs: int) -> None:
        (agent := make_agent(self._task)).reset(num_envs)
        self._expert = agent.experts[0]
        self._phases = {phase.name: phase for phase in self._expert.make_phases()}
        self._seen: deque[tuple[Any, np.ndarray]] = deque(maxlen=DELAY + 1)
        self._behind = {side: np.zeros(3) for side in SIDES}  # [m] followers behind the leaders
        self._puppeteer, self._t = Puppeteer(), 0

    def needs_images(self) -> bool:
        return False

    def select_action(self, observations: Sequence[dict[str, Any]]) -> np.ndarray:
        """Targets (1, 14) of the followers."""
        if not self._t:
            self._leaders = self._read = np.asarray(observations[0]["qpos"], np.float64)
            self._puppeteer.stand_by(self._leaders)
            self._puppeteer.engage()
        self._read = self._read if self._t % self._hold else self._leaders
        self._seen.append((observations[0], self._leaders))
        self._leaders = self._moved(*self._seen[0])
        self._t += 1
        return self._puppeteer.target(self._read, self._t * CONTROL_TIMESTEP)[None]

    def _moved(self, obs: dict[str, Any], leaders: np.ndarray) -> np.ndarray:
        """The leader arms (14,) one control step later, after having seen `obs` when they were at `leaders`."""
        self._expert.action(obs)  # follows the phases
        scene, then = self._expert.read(obs), self._kinematics.hands(leaders)
        goals = self._phases[str(self._expert.phase)].goals(scene)
        now, poses = self._kinematics.hands(self._leaders), {}
        for side, goal in goals.items():
            gap = then[side].position - scene.hands[side].position
            self._behind[side] += LEARNING * (gap - self._behind[side])
            aim = Pose(goal.pose.position + self._behind[side], goal.pose.rotation)
            poses[side] = step(now[side], Goal(aim, goal.opening, goal.speed))
        way = self._kinematics.solve(self._leaders, poses, iterations=1) - self._leaders
        moved = self._leaders + way * min(1.0, float((FASTEST / np.maximum(np.abs(way), 1e-9)).min()))
        moved[GRIPPERS] = [goals[side].opening for side in SIDES]
        return moved


def measure(task: str, rate: int, num: int) -> dict[str, Any]:
    """Returns the seconds until success of every episode (null without one), and how many reached each stage."""
    env: Any = sim_envs.make(task, cameras=())
    env.env_spec = replace(env.env_spec, episode_len=LONGEST)
    agent, seeds = ScriptedOperator(task, round(1 / CONTROL_TIMESTEP / rate)), range(FIRST_SEED, FIRST_SEED + num)
    results = list(tqdm(rollout(SerialEnvs([UntilDone(env)]), agent, seeds=seeds), total=num, desc=f"{task} {rate}"))
    reached = {name: sum(r.stages[k] is not None for r in results) for k, name in enumerate(env.env_spec.stage_names)}
    seconds = [r.stages[-1] and round(CONTROL_TIMESTEP * r.stages[-1], 2) for r in results]
    return {"reached": reached, "seconds": seconds}


def work(options: Options) -> None:
    check_values(options, ("num",), ("tasks",))
    report: dict[str, Any] = {**asdict(options), "first_seed": FIRST_SEED, "provenance": provenance()}
    for task in options.tasks:
        found: dict[str, Any] = {str(rate): measure(task, rate, options.num) for rate in RATES}
        both = [pair for pair in zip(*(cell["seconds"] for cell in found.values()), strict=True) if None not in pair]
        report[task] = found | {"finished": len(both), "mean_seconds": np.mean(both, 0).tolist() if both else None}
        print(task, report[task])
        write_json(Path(__file__).parent / "results" / "operator_rate.json", report)


if __name__ == "__main__":
    sys.exit(main("operator_rate", Options, work, __doc__, "docs/lecture.md"))
